"""Averages over the rows of a pool: what FedAvg, FedPer and every baseline with plain means are made of."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
import numpy.typing as npt

from fmtl_strategies.maths.combine import mix_rows
from fmtl_strategies.pools import PoolRound

Weighting = Literal["uniform", "examples"]


def average_rows(pool: PoolRound, groups: Sequence[Sequence[int]], weighting: Weighting) -> None:
    """Give every row the mean of the trained parameters of its group: theta <- sum_j p_j (theta_j + Delta_j).

    Args:
        pool: its `parameters_nd` is overwritten.
        groups: row numbers of each group; every row stands in exactly one.
        weighting: `uniform` (p_j = 1/n, as in FedHCA2's code, methods.md section 1) or by training images.
    """
    np.add(pool.parameters_nd, pool.updates_nd, out=pool.parameters_nd)
    mix_rows(pool.parameters_nd, mixing_matrix(pool, groups, weighting))


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


def rows_by_task(pool: PoolRound) -> list[list[int]]:
    """Return row numbers grouped by the task of the row's group; encoders form one group."""
    by_task: dict[str, list[int]] = {}
    for i, key in enumerate(pool.rows):
        by_task.setdefault(key.task or "", []).append(i)
    return [by_task[task] for task in sorted(by_task)]
