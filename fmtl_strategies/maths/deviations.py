"""Inner products of deviations: how far clients are from their mean, in one pass over parameters and updates.

What FedAMP (distances), MaT-FL (cosines of deviations) and FedMTL (relations) need. Products of the weights themselves
would lose it: two models that differ by a thousandth have a squared distance of a millionth of their squared norm,
about the relative error of a float32 product.

Shapes: N rows, D columns.
"""

import numpy as np

from fmtl_strategies.maths.gram import gram_matrix
from fmtl_strategies.maths.rows import Float32Array, Float64Array, as_tensor, check_same_shape

BLOCK_COLUMNS = 65_536


def deviation_gram(parameters_nd: Float32Array, updates_nd: Float32Array) -> Float64Array:
    """Return the Gram matrix of (theta_i + Delta_i) - mean_j (theta_j + Delta_j).

    Args:
        parameters_nd: (N, D) float32, only read.
        updates_nd: (N, D) float32, only read.

    Returns:
        (N, N) float64, symmetric; its rows sum to zero up to rounding.

    Raises:
        NonFiniteRowError: a row holds NaN or infinite values.
        ValueError: shapes or dtypes that do not fit.
    """
    check_same_shape(parameters_nd, updates_nd)
    parameters, updates = as_tensor(parameters_nd), as_tensor(updates_nd)
    count, size = parameters_nd.shape
    gram = np.zeros((count, count))
    for start in range(0, size, BLOCK_COLUMNS):
        block = parameters[:, start : start + BLOCK_COLUMNS] + updates[:, start : start + BLOCK_COLUMNS]
        # The first row is subtracted before the mean: differences of close values are exact, their mean is then small.
        block -= block[0].clone()
        block -= block.mean(dim=0)
        gram += gram_matrix(block.numpy())
    return gram


def squared_distances(gram_nn: Float64Array) -> Float64Array:
    """Return (N, N) squared distances of the rows a Gram matrix belongs to; never negative, zero on the diagonal."""
    norms = np.diag(gram_nn)
    distances: Float64Array = np.maximum(norms[:, None] + norms[None, :] - 2 * gram_nn, 0.0)
    np.fill_diagonal(distances, 0.0)
    return distances
