"""The server's copy of every client's shared parameters, as rows of matrices that can be averaged.

Groups with equal layouts form a pool: one row per (client, group). All encoders of one architecture are a pool, and
so are all decoders of one architecture, whatever their task.

Shapes: N rows of a pool, D values of a row.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, NamedTuple, get_args

import numpy as np
import numpy.typing as npt
import torch

from fmtl_strategies.contract.groups import GroupKind, kind_of, task_of
from fmtl_strategies.contract.layout import FloatArray, GroupLayout
from fmtl_strategies.contract.profile import ClientProfile
from fmtl_strategies.maths.rows import as_tensor

# Rows are moved and averaged a block of columns at a time, so that the matrix is never there twice.
_BLOCK_COLUMNS = 65_536


class RowKey(NamedTuple):
    """One row of a pool: a client and one of its groups."""

    client: str
    group: str

    @property
    def task(self) -> str | None:
        """Task of the group; None for an encoder."""
        return task_of(self.group)


@dataclass
class PoolRound:
    """What a strategy sees of one pool in one round: the rows of the clients whose replies were admitted.

    Attributes:
        kind: `encoder`, `decoders`, `heads` or `buffers`.
        signature: hash of the layout; equal in every round.
        layout: arrays of a row.
        rows: keys of the N rows, sorted by client and group, so that arrival order changes nothing.
        parameters_nd: (N, D) float32, what was sent; the strategy overwrites it with what is sent next.
        updates_nd: (N, D) float32, parameters after local training minus before; the strategy may overwrite it.
        profiles: profiles by client name.
        away: keys of the pool's rows whose client did not answer.
        follow: for a row of `away`, the number of the arrived row whose new parameters it takes too; rows left out
            keep what they had.
        prefix: what tells its numbers in the record from those of other pools of its kind: `<signature>/`; empty as
            long as there is no other.
        gram_nn: (N, N) float64 Gram matrix of `updates_nd` as they came, where the defence has computed it already.
    """

    kind: GroupKind
    signature: str
    layout: GroupLayout
    rows: tuple[RowKey, ...]
    parameters_nd: FloatArray
    updates_nd: FloatArray
    profiles: Mapping[str, ClientProfile]
    away: tuple[RowKey, ...] = ()
    follow: dict[RowKey, int] = field(default_factory=dict)
    prefix: str = ""
    gram_nn: npt.NDArray[np.float64] | None = None

    def labelled(self, found: Mapping[str, float]) -> dict[str, float]:
        """Return numbers worth recording with the prefix before every name that does not begin with a client's."""
        clients = {key.client for key in self.rows}
        return {
            name if name.partition("/")[0] in clients else f"{self.prefix}{name}": value
            for name, value in found.items()
        }


class ArrivedRows(NamedTuple):
    """The updates of this round of one pool, before any strategy sees them.

    kind, signature: of the pool.
    rows: keys of the N rows, sorted.
    updates_nd: (N, D) float32, a view: what is written to it is what the strategy gets.
    """

    kind: GroupKind
    signature: str
    rows: tuple[RowKey, ...]
    updates_nd: FloatArray


@dataclass
class _Pool:
    """Rows of one kind and layout.

    Attributes:
        kind, layout: of the pool.
        rows: keys of the N rows, in the order in which they lie in `parameters_nd`.
        parameters_nd: (N, D) float32.
        updates_nd: (N, D) float32; only the first rows, one for each of `arrived`, are of this round.
        arrived: keys of this round's updates.
    """

    kind: GroupKind
    layout: GroupLayout
    rows: list[RowKey] = field(default_factory=list)
    parameters_nd: FloatArray = field(default_factory=lambda: np.empty((0, 0), np.float32))
    updates_nd: FloatArray = field(default_factory=lambda: np.empty((0, 0), np.float32))
    arrived: list[RowKey] = field(default_factory=list)

    def append(self, key: RowKey, flat: FloatArray) -> None:
        """Add a row behind the others."""
        old = self.parameters_nd.reshape(len(self.rows), self.layout.size)
        self.rows.append(key)
        self.parameters_nd = np.concatenate([old, flat[None]])
        self.updates_nd = np.empty((0, 0), np.float32)

    def remove(self, key: RowKey) -> None:
        """Take a row out."""
        self.parameters_nd = np.delete(self.parameters_nd, self.rows.index(key), axis=0)
        self.updates_nd = np.empty((0, 0), np.float32)
        self.rows.remove(key)

    def next_update_row(self) -> FloatArray:
        """Return the row (D,) for the next update, to be written to."""
        if self.updates_nd.shape != self.parameters_nd.shape:
            self.updates_nd = np.empty_like(self.parameters_nd)
        row: FloatArray = self.updates_nd[len(self.arrived)]
        return row

    def move_to_front(self, first: Sequence[RowKey]) -> None:
        """Move rows in place so that these lie first, in this order; the others follow in the order they had."""
        wanted = [*first, *(key for key in self.rows if key not in first)]
        sources = [self.rows.index(key) for key in wanted]
        places = [place for place, source in enumerate(sources) if place != source]
        taken = [sources[place] for place in places]
        for start in range(0, self.layout.size if places else 0, _BLOCK_COLUMNS):
            columns = slice(start, start + _BLOCK_COLUMNS)
            self.parameters_nd[places, columns] = self.parameters_nd[taken, columns]
        self.rows = wanted

    def mean_of(self, keys: Sequence[RowKey]) -> FloatArray:
        """Return the mean of these rows, (D,) float32."""
        mean: FloatArray = np.empty(self.layout.size, np.float32)
        places = [self.rows.index(key) for key in keys]
        for start in range(0, self.layout.size, _BLOCK_COLUMNS):
            columns = slice(start, start + _BLOCK_COLUMNS)
            mean[columns] = self.parameters_nd[places, columns].mean(axis=0, dtype=np.float64)
        return mean


class ParameterStore:
    """All pools of a run, keyed by group kind and layout signature."""

    def __init__(self) -> None:
        self._pools: dict[tuple[GroupKind, str], _Pool] = {}
        self._place: dict[RowKey, tuple[GroupKind, str]] = {}

    def __contains__(self, key: RowKey) -> bool:
        return key in self._place

    def add(self, key: RowKey, layout: GroupLayout, flat: FloatArray) -> None:
        """Add a row: the parameters, (D,) float32, that a client starts from in one of its groups."""
        if key in self._place:
            raise ValueError(f"{key.client}/{key.group} is already known")
        place = (kind_of(key.group), layout.signature)
        pool = self._pools.setdefault(place, _Pool(kind_of(key.group), layout))
        pool.append(key, flat)
        self._place[key] = place

    def remove_client(self, client: str) -> None:
        """Drop every row of a client that was refused after all."""
        for key in [key for key in self._place if key.client == client]:
            self._pools[self._place.pop(key)].remove(key)

    def parameters(self, key: RowKey) -> FloatArray:
        """Return the row (D,) of a client's group as a view. Do not keep it: `rounds` moves rows."""
        pool = self._pools[self._place[key]]
        row: FloatArray = pool.parameters_nd[pool.rows.index(key)]
        return row

    def start_for(self, group: str, layout: GroupLayout, of: Literal["group", "layout"] = "group") -> FloatArray | None:
        """Return what a new client starts from: the mean of the rows that already serve the same purpose.

        These are the rows of the same layout and, unless `of` is ``layout``, of groups of the same name. None where
        there is no such row.
        """
        pool = self._pools.get((kind_of(group), layout.signature))
        if pool is None:
            return None
        same = sorted(key for key in pool.rows if of == "layout" or key.group == group)
        return pool.mean_of(same) if same else None

    def open_round(self) -> None:
        """Forget the updates of the last round."""
        for pool in self._pools.values():
            pool.arrived = []

    def update_buffer(self, key: RowKey) -> FloatArray:
        """Return the (D,) row the next admitted update of this group's pool is written to."""
        return self._pools[self._place[key]].next_update_row()

    def commit_update(self, key: RowKey) -> None:
        """Keep what was written to `update_buffer(key)`. Call in sorted order of keys."""
        self._pools[self._place[key]].arrived.append(key)

    def discard_updates(self, client: str) -> None:
        """Drop what was committed for a client in this round (its reply turned out to be bad)."""
        for pool in self._pools.values():
            while pool.arrived and pool.arrived[-1].client == client:
                pool.arrived.pop()

    def arrived(self) -> Iterator[ArrivedRows]:
        """Yield the updates of every pool that has any, in the order of `rounds`."""
        for kind, signature in self._places():
            pool = self._pools[kind, signature]
            if pool.arrived:
                yield ArrivedRows(pool.kind, signature, tuple(pool.arrived), pool.updates_nd[: len(pool.arrived)])

    def take_back(self, keys: Collection[RowKey]) -> None:
        """Drop these updates of the round, as if their clients had not sent them."""
        for pool in self._pools.values():
            kept = [row for row, key in enumerate(pool.arrived) if key not in keys]
            for place, row in enumerate(kept):
                if place != row:
                    pool.updates_nd[place] = pool.updates_nd[row]
            pool.arrived = [pool.arrived[row] for row in kept]

    def _places(self) -> list[tuple[GroupKind, str]]:
        kinds = get_args(GroupKind)
        return sorted(self._pools, key=lambda place: (kinds.index(place[0]), place[1]))

    def rounds(self, profiles: Mapping[str, ClientProfile]) -> Iterator[PoolRound]:
        """Yield every pool with at least one update; what the caller leaves in `parameters_nd` is kept.

        Encoders come first, then decoders, heads and buffers. The rows that have an update are moved to the front of
        their pool: so they are a matrix by themselves, and nothing is copied for the sake of those that have none.
        """
        # All pools with rows, also those without an update: names must not change with who answers.
        pools_of_kind = Counter(kind for (kind, _), pool in self._pools.items() if pool.rows)
        for kind, signature in self._places():
            pool = self._pools[kind, signature]
            if not pool.arrived:
                continue
            count = len(pool.arrived)
            pool.move_to_front(pool.arrived)
            parameters_nd = pool.parameters_nd[:count]
            seen = PoolRound(
                kind=pool.kind,
                signature=signature,
                layout=pool.layout,
                rows=tuple(pool.arrived),
                parameters_nd=parameters_nd,
                updates_nd=pool.updates_nd[:count],
                profiles=profiles,
                away=tuple(sorted(pool.rows[count:])),
                prefix=f"{signature}/" if pools_of_kind[kind] > 1 else "",
            )
            yield seen
            if seen.parameters_nd is not parameters_nd:
                parameters_nd[:] = seen.parameters_nd
            for key, row in seen.follow.items():
                pool.parameters_nd[pool.rows.index(key)] = parameters_nd[row]

    def arrays(self) -> dict[str, FloatArray]:
        """Return every row by `client/group`, for a checkpoint."""
        return {f"{key.client}/{key.group}": self.parameters(key) for key in sorted(self._place)}


class NonFiniteModelError(ArithmeticError):
    """A strategy has left NaN or infinite values in a model; the text names strategy, round and group."""


def require_finite(pool: PoolRound, strategy: str, server_round: int) -> None:
    """Refuse what a strategy has written to a pool if any row of it holds NaN or infinite values.

    Args:
        pool: after its aggregation.
        strategy: name of the strategy, for the error.
        server_round: number of the round, for the error.

    Raises:
        NonFiniteModelError: such a row.
    """
    for key, row in zip(pool.rows, pool.parameters_nd, strict=True):
        if not _is_finite(row):
            count = int(row.size - np.count_nonzero(np.isfinite(row)))
            raise NonFiniteModelError(
                f"round {server_round}: strategy {strategy} left NaN or infinite values in {count} of {row.size} "
                f"values of {key.group} of client {key.client}; nothing of this round was sent. Its parameters do not "
                f"suit these updates: `fmtl settings {strategy}` prints their ranges and defaults"
            )


def _is_finite(row: FloatArray) -> bool:
    tensor = as_tensor(row)
    # One pass without an array of its own; the sum of squares of large but finite values may overflow.
    if math.isfinite(float(torch.dot(tensor, tensor))):
        return True
    return bool(np.isfinite(row).all())
