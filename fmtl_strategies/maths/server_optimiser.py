"""Steps of a server optimiser on one common model, block by block (Reddi et al., ICLR 2021, arXiv 2003.00295).

The mean of the clients' updates, Delta, is taken for a negative gradient. With x the common model:

    adaptive   m <- beta1 m + (1 - beta1) Delta
               v <- v + Delta^2                                   FedAdagrad
               v <- v - (1 - beta2) Delta^2 sign(v - Delta^2)     FedYogi
               v <- beta2 v + (1 - beta2) Delta^2                 FedAdam
               x <- x + rate m / (sqrt(v) + tau)
    momentum   m <- beta1 m + Delta,  x <- x + rate m             FedAvgM (Hsu et al. 2019, arXiv 1909.06335)

Shapes: N rows of a group, D values of a row. Beside its arguments nothing larger than a few blocks is allocated.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch

from fmtl_strategies.maths.rows import (
    BLOCK_COLUMNS,
    Float32Array,
    Float64Array,
    as_tensor,
    check_coefficients,
    check_same_shape,
    check_vector,
)

Rule = Literal["adam", "yogi", "adagrad", "momentum"]


@dataclass(frozen=True)
class OptimiserConstants:
    """Constants of the step.

    Attributes:
        rule: which equations.
        rate: learning rate of the server.
        beta1: decay of m.
        beta2: decay of v; only for `adam` and `yogi`.
        tau: added to sqrt(v), and where v starts: tau^2; not for `momentum`.
    """

    rule: Rule
    rate: float
    beta1: float = 0.0
    beta2: float = 0.0
    tau: float = 1e-3


@dataclass(frozen=True)
class OptimiserState:
    """What the optimiser remembers: m_d and v_d, (D,) float32, changed in place; v_d is None for `momentum`."""

    m_d: Float32Array
    v_d: Float32Array | None

    @classmethod
    def start(cls, size: int, constants: OptimiserConstants) -> OptimiserState:
        """Return the state before the first step: m = 0, and v = tau^2 as the paper's Algorithm 2 has it."""
        moment = np.zeros(size, np.float32)
        if constants.rule == "momentum":
            return cls(moment, None)
        return cls(moment, np.full(size, constants.tau**2, np.float32))


def optimiser_step(
    parameters_nd: Float32Array,
    updates_nd: Float32Array,
    weights_n: Float64Array,
    state: OptimiserState,
    constants: OptimiserConstants,
) -> tuple[float, float]:
    """Write the stepped common model to all rows of a group.

    Args:
        parameters_nd: (N, D) float32, what was sent; the common model x is its weighted mean. Overwritten.
        updates_nd: (N, D) float32, only read.
        weights_n: (N,) float64; weights of a row, 0 for rows of other groups, which are left as they are. They sum
            to 1.
        state: m and v of this group, changed in place.
        constants: constants of the step.

    Returns:
        Euclidean norms of the mean update and of the step taken instead of it.

    Raises:
        ValueError: shapes, dtypes or weights that do not fit; nothing is changed then.
    """
    check_same_shape(parameters_nd, updates_nd)
    count, size = parameters_nd.shape
    check_vector(state.m_d, size, "m")
    if state.v_d is not None:
        check_vector(state.v_d, size, "v")
    weights_n = check_coefficients(weights_n, (count,), "weights")
    members = [int(row) for row in np.flatnonzero(weights_n)]
    weights = [float(weights_n[row]) for row in members]
    parameters, updates, first = as_tensor(parameters_nd), as_tensor(updates_nd), as_tensor(state.m_d)
    second = None if state.v_d is None else as_tensor(state.v_d)
    squares = [0.0, 0.0]
    for start in range(0, size, BLOCK_COLUMNS):
        block = slice(start, min(start + BLOCK_COLUMNS, size))
        common = _mean([parameters[row, block] for row in members], weights)
        mean_update = _mean([updates[row, block] for row in members], weights)
        step = _block_step(mean_update, first[block], None if second is None else second[block], constants)
        squares[0] += float(torch.dot(mean_update, mean_update))
        squares[1] += float(torch.dot(step, step))
        common += step
        for row in members:
            parameters[row, block] = common
    return math.sqrt(squares[0]), math.sqrt(squares[1])


def _mean(rows: list[torch.Tensor], weights: list[float]) -> torch.Tensor:
    """Return the weighted mean. Differences from the first row are summed, so that equal rows keep their bits."""
    mean = rows[0].clone()
    for row, weight in zip(rows[1:], weights[1:], strict=True):
        mean.add_(row - rows[0], alpha=weight)
    return mean


def _block_step(
    mean_update: torch.Tensor, first: torch.Tensor, second: torch.Tensor | None, constants: OptimiserConstants
) -> torch.Tensor:
    """Bring m and v of a block up to date and return the step."""
    if second is None:
        first.mul_(constants.beta1).add_(mean_update)
        return first * constants.rate
    first.mul_(constants.beta1).add_(mean_update, alpha=1 - constants.beta1)
    square = mean_update * mean_update
    if constants.rule == "adagrad":
        second.add_(square)
    elif constants.rule == "yogi":
        second.addcmul_(square, torch.sign(second - square), value=constants.beta2 - 1)
    else:
        second.mul_(constants.beta2).add_(square, alpha=1 - constants.beta2)
    return first.div(second.sqrt().add_(constants.tau)).mul_(constants.rate)
