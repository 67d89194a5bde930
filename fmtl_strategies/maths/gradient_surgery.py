"""Removing conflicts between updates by projection, from their Gram matrix alone (PCGrad; FedBone's GPAggregation).

Every projected update is a combination of the updates, so it is kept as one row of N coefficients, and its products
with all updates follow from the Gram matrix: no vector of length D is touched before the result is combined.

Shapes: N updates.
"""

from collections.abc import Sequence

import numpy as np

from fmtl_strategies.maths.gram import cosine_matrix
from fmtl_strategies.maths.rows import Float64Array, check_gram

# An update whose squared norm is below this share of the largest counts as zero: its coefficient would leave float32.
NEGLIGIBLE_SQUARE = 1e-60


def project_conflicts(gram_nn: Float64Array, orders: Sequence[Sequence[int]]) -> Float64Array:
    """Project each update on the normal plane of every update it conflicts with, one after the other.

    For row i, g = update_i; then for each j in orders[i]: where <g, update_j> < 0,
    g <- g - <g, update_j> / |update_j|^2 update_j. The planes are always those of the given updates, never of
    projected ones. Updates of zeros conflict with nothing.

    Args:
        gram_nn: (N, N) float64 Gram matrix of the updates.
        orders: for every row, the other rows in the order in which they are looked at.

    Returns:
        (N, N) float64; row i holds the coefficients of the projected update i. The identity without conflicts.

    Raises:
        ValueError: Gram matrix not square or not finite, or `orders` does not name all other rows once.

    Source: Yu et al. 2020, arXiv 2001.06782, Algorithm 1.
    """
    _check(gram_nn, orders)
    squares = np.diag(gram_nn)
    has_direction = squares > NEGLIGIBLE_SQUARE * max(float(squares.max()), 0.0)
    coefficients = np.eye(len(gram_nn))
    for i, order in enumerate(orders):
        products = np.array(gram_nn[i], dtype=np.float64)
        for j in order:
            if products[j] < 0 and has_direction[j]:
                share = products[j] / squares[j]
                coefficients[i, j] -= share
                products -= share * gram_nn[j]
    return coefficients


def shuffled_orders(count: int, generator: np.random.Generator) -> list[list[int]]:
    """Return, for each of `count` rows, the other rows in an order drawn from `generator`."""
    return [[int(j) for j in generator.permutation(count) if j != i] for i in range(count)]


def index_orders(count: int) -> list[list[int]]:
    """Return, for each of `count` rows, the other rows in their own order."""
    return [[j for j in range(count) if j != i] for i in range(count)]


def history_factors(gram_mm: Float64Array) -> Float64Array:
    """Factors of the updates by how well each agrees with an earlier aggregate: N softmax_i(cos(update_i, earlier)).

    Args:
        gram_mm: (N+1, N+1) float64 Gram matrix of N updates and, last, the earlier aggregate.

    Returns:
        (N,) float64, > 0, mean 1; all ones where the earlier aggregate is zero.
    """
    cosines_n = cosine_matrix(gram_mm)[:-1, -1]
    raised = np.exp(cosines_n - cosines_n.max())
    factors: Float64Array = raised / raised.mean()
    return factors


def rescaled_projection(gram_nn: Float64Array, factors_n: Float64Array) -> Float64Array:
    """Project the rescaled updates f_i update_i on each other in index order, as FedBone's GPAggregation does.

    Args:
        gram_nn: (N, N) float64 Gram matrix of the updates as they came.
        factors_n: (N,) float64 factors, > 0.

    Returns:
        (N, N) float64; row i holds the coefficients, on the updates as they came, of the projected f_i update_i.
    """
    scaled = gram_nn * factors_n[:, None] * factors_n[None, :]
    coefficients: Float64Array = project_conflicts(scaled, index_orders(len(gram_nn))) * factors_n[None, :]
    return coefficients


def conflict_share(gram_nn: Float64Array) -> float:
    """Return the share of the pairs of updates whose inner product is negative; 0 for a single update."""
    upper = np.triu_indices(len(gram_nn), k=1)
    return float(np.mean(gram_nn[upper] < 0)) if len(upper[0]) else 0.0


def _check(gram_nn: Float64Array, orders: Sequence[Sequence[int]]) -> None:
    count = len(check_gram(gram_nn))
    if len(orders) != count or any(
        sorted(order) != [j for j in range(count) if j != i] for i, order in enumerate(orders)
    ):
        raise ValueError(f"orders must name, for each of the {count} rows, every other row once")
