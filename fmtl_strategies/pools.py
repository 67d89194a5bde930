"""The server's copy of every client's shared parameters, as rows of matrices that can be averaged.

Groups with equal layouts form a pool: one row per (client, group). All encoders of one architecture are a pool, and
so are all decoders of one architecture, whatever their task.

Shapes: N rows of a pool, D values of a row.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from fmtl_strategies.contract.groups import GroupKind, kind_of, task_of
from fmtl_strategies.contract.layout import FloatArray, GroupLayout
from fmtl_strategies.contract.profile import ClientProfile


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
        kind: `encoder`, `decoders` or `heads`.
        signature: hash of the layout; equal in every round.
        layout: arrays of a row.
        rows: keys of the N rows, sorted by client and group, so that arrival order changes nothing.
        parameters_nd: (N, D) float32, what was sent; the strategy overwrites it with what is sent next.
        updates_nd: (N, D) float32, parameters after local training minus before; the strategy may overwrite it.
        profiles: profiles by client name.
    """

    kind: GroupKind
    signature: str
    layout: GroupLayout
    rows: tuple[RowKey, ...]
    parameters_nd: FloatArray
    updates_nd: FloatArray
    profiles: Mapping[str, ClientProfile]


@dataclass
class _Pool:
    kind: GroupKind
    layout: GroupLayout
    rows: list[RowKey] = field(default_factory=list)
    parameters_nd: FloatArray = field(default_factory=lambda: np.empty((0, 0), np.float32))
    updates_nd: FloatArray = field(default_factory=lambda: np.empty((0, 0), np.float32))
    arrived: list[RowKey] = field(default_factory=list)

    def insert(self, key: RowKey, flat: FloatArray) -> None:
        place = bisect_left(self.rows, key)
        old = self.parameters_nd.reshape(len(self.rows), self.layout.size)
        self.rows.insert(place, key)
        self.parameters_nd = np.concatenate([old[:place], flat[None], old[place:]])
        self.updates_nd = np.empty((0, 0), np.float32)

    def next_update_row(self) -> FloatArray:
        if self.updates_nd.shape != self.parameters_nd.shape:
            self.updates_nd = np.empty_like(self.parameters_nd)
        row: FloatArray = self.updates_nd[len(self.arrived)]
        return row


class ParameterStore:
    """All pools of a run, keyed by group kind and layout signature."""

    def __init__(self) -> None:
        self._pools: dict[tuple[str, str], _Pool] = {}
        self._place: dict[RowKey, tuple[str, str]] = {}

    def __contains__(self, key: RowKey) -> bool:
        return key in self._place

    def add(self, key: RowKey, layout: GroupLayout, flat: FloatArray) -> None:
        """Add a row: the parameters, (D,) float32, that a client starts from in one of its groups."""
        if key in self._place:
            raise ValueError(f"{key.client}/{key.group} is already known")
        place = (kind_of(key.group), layout.signature)
        pool = self._pools.setdefault(place, _Pool(kind_of(key.group), layout))
        pool.insert(key, flat)
        self._place[key] = place

    def remove_client(self, client: str) -> None:
        """Drop every row of a client that was refused after all."""
        for key in [key for key in self._place if key.client == client]:
            pool = self._pools[self._place.pop(key)]
            pool.parameters_nd = np.delete(pool.parameters_nd, pool.rows.index(key), axis=0)
            pool.updates_nd = np.empty((0, 0), np.float32)
            pool.rows.remove(key)

    def parameters(self, key: RowKey) -> FloatArray:
        """Return the row (D,) of a client's group as a view."""
        pool = self._pools[self._place[key]]
        row: FloatArray = pool.parameters_nd[pool.rows.index(key)]
        return row

    def start_for(self, group: str, layout: GroupLayout) -> FloatArray | None:
        """Return what a new client starts from: the mean of the rows that already serve the same purpose.

        Encoders: all of the same layout. Decoders and heads: those of the same task and layout. None where there is
        no such row.
        """
        pool = self._pools.get((kind_of(group), layout.signature))
        if pool is None:
            return None
        same = [i for i, key in enumerate(pool.rows) if key.task == task_of(group)]
        if not same:
            return None
        mean: FloatArray = pool.parameters_nd[same].mean(axis=0, dtype=np.float64).astype(np.float32)
        return mean

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

    def rounds(self, profiles: Mapping[str, ClientProfile]) -> Iterator[PoolRound]:
        """Yield every pool with at least one update; what the caller leaves in `parameters_nd` is kept."""
        for kind, signature in sorted(self._pools):
            pool = self._pools[kind, signature]
            if not pool.arrived:
                continue
            whole = pool.arrived == pool.rows
            index = [pool.rows.index(key) for key in pool.arrived]
            parameters_nd = pool.parameters_nd if whole else pool.parameters_nd[index]
            updates_nd = pool.updates_nd[: len(index)]
            yield PoolRound(pool.kind, signature, pool.layout, tuple(pool.arrived), parameters_nd, updates_nd, profiles)
            if not whole:
                pool.parameters_nd[index] = parameters_nd

    def arrays(self) -> dict[str, FloatArray]:
        """Return every row by `client/group`, for a checkpoint."""
        return {f"{key.client}/{key.group}": self.parameters(key) for key in sorted(self._place)}
