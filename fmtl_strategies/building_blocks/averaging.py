"""Averages over the rows of a pool: what FedAvg, FedPer and every baseline with plain means are made of."""

from collections.abc import Sequence
from typing import Literal

import numpy as np
import numpy.typing as npt

from fmtl_strategies.contract.groups import GroupKind
from fmtl_strategies.maths.combine import mix_rows
from fmtl_strategies.parameters import StrategyParameters, parameter
from fmtl_strategies.round.store import ArrivedRows, PoolRound, RowKey

Weighting = Literal["uniform", "examples"]
DecoderScope = Literal["all", "same-task"]
Follow = Literal["pool", "task", "group"]

SCOPE = "which decoders are averaged: `all` of one architecture whatever their task, or those of the `same-task`"
WEIGHTING = "weights of the mean: `uniform` over rows, or by number of training `examples`"


class MeanParameters(StrategyParameters):
    """Hyper-parameters of a method that averages as FedAvg does: no source says them of that method."""

    decoder_scope: DecoderScope = parameter("all", SCOPE, "ours, as in FedHCA2's code for fedavg")
    weighting: Weighting = parameter("uniform", WEIGHTING, "ours, as in FedHCA2's code for fedavg")

    def spans_tasks(self, kind: GroupKind) -> bool:
        """Whether one mean of this kind runs over all tasks."""
        return kind == "encoder" or (kind == "decoders" and self.decoder_scope == "all")


def average_rows(
    pool: PoolRound, groups: Sequence[Sequence[int]] | None, weighting: Weighting, *, follow: Follow = "pool"
) -> None:
    """Give every row the mean of the trained parameters of its group: theta <- sum_j p_j (theta_j + Delta_j).

    Rows that were away take the mean of the group they belong to, see `followed_rows`.

    Args:
        pool: its `parameters_nd` is overwritten.
        groups: row numbers of each group; every row stands in exactly one. None: one group of all.
        weighting: `uniform` (p_j = 1/n, as in FedHCA2's code, methods.md section 1) or by training images.
        follow: what tells to which group a row that was away belongs.
    """
    groups = [range(len(pool.rows))] if groups is None else groups
    np.add(pool.parameters_nd, pool.updates_nd, out=pool.parameters_nd)
    mix_rows(pool.parameters_nd, mixing_matrix(pool, groups, weighting))
    pool.follow.update(followed_rows(pool, groups, by=follow))


def followed_rows(pool: PoolRound, groups: Sequence[Sequence[int]], *, by: Follow = "pool") -> dict[RowKey, int]:
    """Return, for every row that was away, an arrived row of the group it belongs to.

    Args:
        pool: the pool.
        groups: row numbers of each group of arrived rows.
        by: what tells to which group a row belongs. `pool`: groups may hold all tasks, so the only group there is, or
            else the one with rows of its task; `task`: the one with rows of its task; `group`: the one with rows of
            the same name (a pool of buffers holds those of encoders and decoders alike).

    Returns:
        Row number by key. Rows that fit no group, or several, are left out.
    """
    found: dict[RowKey, int] = {}
    for key in pool.away:
        if by == "pool" and len(groups) == 1:
            found[key] = groups[0][0]
            continue
        same = [members for members in groups if any(_alike(pool.rows[j], key, by) for j in members)]
        if len(same) == 1:
            found[key] = same[0][0]
    return found


def _alike(one: RowKey, other: RowKey, by: Follow) -> bool:
    return one.group == other.group if by == "group" else one.task == other.task


def mixing_matrix(pool: PoolRound, groups: Sequence[Sequence[int]], weighting: Weighting) -> npt.NDArray[np.float64]:
    """Return the (N, N) matrix of means within groups; its rows sum to one."""
    count = len(pool.rows)
    mixing_nn = np.zeros((count, count))
    for members in groups:
        weights = np.array(
            [1.0 if weighting == "uniform" else pool.profiles[pool.rows[j].client].train_examples for j in members]
        )
        for i in members:
            mixing_nn[i, list(members)] = weights / weights.sum()
    return mixing_nn


def rows_by_group(pool: PoolRound | ArrivedRows) -> list[list[int]]:
    """Return row numbers by the name of the row's group: rows that hold the same thing for different clients."""
    by_group: dict[str, list[int]] = {}
    for i, key in enumerate(pool.rows):
        by_group.setdefault(key.group, []).append(i)
    return [by_group[group] for group in sorted(by_group)]


def rows_by_task(pool: PoolRound) -> list[list[int]]:
    """Return row numbers grouped by the task of the row's group; encoders form one group."""
    by_task: dict[str, list[int]] = {}
    for i, key in enumerate(pool.rows):
        by_task.setdefault(key.task or "", []).append(i)
    return [by_task[task] for task in sorted(by_task)]
