"""M-Fed's arithmetic: how strongly clients are drawn to the common encoder, and the mean over tasks (methods.md 1.11).

Shapes: K tasks, D values of an encoder.
"""

import math
from collections.abc import Sequence
from typing import Literal

import numpy as np

from fmtl_strategies.maths.rows import BLOCK_COLUMNS, Float32Array, as_tensor

Schedule = Literal["constant", "exponential"]


def regularisation(progress: float, largest: float, curvature: float, schedule: Schedule) -> float:
    """Return the weight lambda of the regulariser at one point of training.

    `exponential`: largest (e^(curvature progress) - 1) / (e^curvature - 1), which is 0 at the start and `largest` at
    the end; curvature 0 is its limit, a straight line. `constant`: `largest` throughout.

    Args:
        progress: t / T, in [0, 1].
        largest: lambda at the end of training, not negative.
        curvature: kappa, not negative: how late the rise comes.
        schedule: which of the two.

    Source: the growth is M-Fed's (arXiv 2504.09800), its form and constants are ours.
    """
    if schedule == "constant":
        return largest
    if curvature == 0.0:
        return largest * progress
    # The quotient first: it is exactly 1 at the end, so the largest value is reached to the last bit.
    return largest * (math.expm1(curvature * progress) / math.expm1(curvature))


def weighted_mean(vectors: Sequence[Float32Array], weights: Sequence[float]) -> Float32Array:
    """Return the weighted mean of vectors that need not lie in one matrix.

    Args:
        vectors: K of (D,) float32, K >= 1; only read.
        weights: K numbers, not negative, not all 0; they are divided by their sum.

    Returns:
        (D,) float32; the only vector of length D that is allocated.

    Raises:
        ValueError: weights without a positive sum.
    """
    total = math.fsum(weights)
    if not (math.isfinite(total) and total > 0 and min(weights) >= 0):
        raise ValueError(f"weights must not be negative and have a positive sum, got {list(weights)}")
    mean: Float32Array = np.zeros(vectors[0].shape, np.float32)
    out, rows = as_tensor(mean), [as_tensor(vector) for vector in vectors]
    for start in range(0, mean.size, BLOCK_COLUMNS):
        block = slice(start, start + BLOCK_COLUMNS)
        for row, weight in zip(rows, weights, strict=True):
            out[block].add_(row[block], alpha=weight / total)
    return mean
