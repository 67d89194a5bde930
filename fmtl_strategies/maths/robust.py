"""Robust statistics over the updates of a pool: norm bound, outlier scores, Krum's choice; from a Gram matrix.

None of them knows who is honest: each compares a row with the others and can only be right while most rows are honest.

Shapes: N rows.
"""

from dataclasses import dataclass

import numpy as np

from fmtl_strategies.maths.deviations import squared_distances
from fmtl_strategies.maths.gram import cosine_matrix
from fmtl_strategies.maths.rows import Float64Array

# Makes the median absolute deviation an estimate of the standard deviation of a normal distribution.
NORMAL_CONSISTENCY = 1.4826
# Rows that agree by chance must not make a slight difference look large: updates of honest clients with other tasks,
# image sizes and numbers of steps differ by about this much.
SMALLEST_SIZE_SPREAD = 0.35
SMALLEST_DIRECTION_SPREAD = 0.05


@dataclass(frozen=True)
class OutlierScores:
    """How unusual each row is, in robust standard deviations; never negative.

    size_n: (N,) of the logarithm of its norm, above the median; short rows score 0, they cannot do harm.
    direction_n: (N,) of its median cosine with the others, below the median of these or below 0, whichever is nearer.
        So a row at right angles to all others scores 0: such are honest updates of a task nobody else has.
    """

    size_n: Float64Array
    direction_n: Float64Array

    @property
    def score_n(self) -> Float64Array:
        """The larger of both, (N,)."""
        return np.maximum(self.size_n, self.direction_n)


def lower_median(values_n: Float64Array) -> float:
    """Return the median, of an even number of values the lower of the middle two: half of them may be too large."""
    return float(np.sort(values_n)[(len(values_n) - 1) // 2])


def norm_bound(norms_n: Float64Array, factor: float) -> float | None:
    """Return `factor` times the lower median of the norms that are not 0; None where all are 0."""
    positive = norms_n[norms_n > 0]
    return factor * lower_median(positive) if positive.size else None


def outlier_scores(gram_nn: Float64Array) -> OutlierScores:
    """Score every row by its size and by its direction.

    Args:
        gram_nn: (N, N) float64 Gram matrix of the updates, N >= 2.
    """
    norms_n = np.sqrt(np.maximum(np.diag(gram_nn), 0.0))
    size_n = np.zeros_like(norms_n)
    moved = norms_n > 0
    if moved.any():
        logs = np.log(norms_n[moved])
        size_n[moved] = np.maximum(_deviations(logs, SMALLEST_SIZE_SPREAD), 0.0)
    agreement_n = _median_cosines(gram_nn)
    below_median_n = -_deviations(agreement_n, SMALLEST_DIRECTION_SPREAD)
    below_zero_n = -agreement_n / SMALLEST_DIRECTION_SPREAD
    return OutlierScores(size_n, np.maximum(np.minimum(below_median_n, below_zero_n), 0.0))


def _median_cosines(gram_nn: Float64Array) -> Float64Array:
    count = len(gram_nn)
    others = cosine_matrix(gram_nn)[~np.eye(count, dtype=bool)].reshape(count, count - 1)
    medians: Float64Array = np.median(others, axis=1)
    return medians


def _deviations(values_n: Float64Array, smallest_spread: float) -> Float64Array:
    """Return how far every value is from the median, over the median absolute deviation as a standard deviation."""
    centred = values_n - lower_median(values_n)
    spread = max(NORMAL_CONSISTENCY * lower_median(np.abs(centred)), smallest_spread)
    deviations: Float64Array = centred / spread
    return deviations


def krum_applies(count: int, attackers: int) -> bool:
    """Tell whether Krum can choose among so many rows: 2f + 2 < n (Blanchard et al. 2017, Proposition 4.2)."""
    return count >= 2 * attackers + 3


def krum_scores(gram_nn: Float64Array, attackers: int) -> Float64Array:
    """Return the sum of every row's N - f - 2 smallest squared distances to others.

    P. Blanchard, E. M. El Mhamdi, R. Guerraoui, J. Stainer: Machine Learning with Adversaries: Byzantine Tolerant
    Gradient Descent, NeurIPS 2017, arXiv 1703.02757, section 4.

    Args:
        gram_nn: (N, N) float64 Gram matrix of the updates.
        attackers: f, how many rows may be anything.

    Returns:
        (N,) float64.

    Raises:
        ValueError: fewer than 2f + 3 rows.
    """
    count = len(gram_nn)
    if not krum_applies(count, attackers):
        raise ValueError(f"Krum with {attackers} attackers needs at least {2 * attackers + 3} rows, got {count}")
    distances_nn = squared_distances(gram_nn)
    others = distances_nn[~np.eye(count, dtype=bool)].reshape(count, count - 1)
    scores: Float64Array = np.sort(others, axis=1)[:, : count - attackers - 2].sum(axis=1)
    return scores


def krum_choice(scores_n: Float64Array, attackers: int) -> list[int]:
    """Return the N - f rows with the smallest scores, ascending; of equal scores the first rows (multi-Krum)."""
    best = np.argsort(scores_n, kind="stable")[: len(scores_n) - attackers]
    return sorted(int(row) for row in best)
