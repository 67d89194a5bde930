"""Relations between clients and the anchors they imply (FedMTL; MOCHA, Smith et al. 2017).

The regulariser is (lambda / 2) tr(W Omega W^T), W the models as columns. With all others held fixed its gradient for
client i is lambda Omega_ii (w_i - a_i), a_i = -sum_{j != i} Omega_ij w_j / Omega_ii: a pull to an anchor. Every Omega
here has rows that sum to zero, so that the weights of an anchor sum to one and the mean of all models is free.

Shapes: N clients.
"""

import numpy as np

from fmtl_strategies.maths.rows import Float64Array


def mean_relations(count: int) -> Float64Array:
    """Return Omega = I - 1 1^T / N, (N, N): the regulariser is the squared distance of all models to their mean.

    It is a projection, so it equals the (I - 1 1^T / N)^2 of the MOCHA paper.
    """
    relations_nn: Float64Array = np.eye(count) - np.full((count, count), 1.0 / count)
    return relations_nn


def learned_relations(gram_nn: Float64Array, shrinkage: float) -> Float64Array:
    """Return relations learned from how the models deviate from their mean.

    Sigma = (N - 1) S / tr(S), S = (V^T V)^{1/2}, V the deviations as columns: the minimiser of tr(V Sigma^-1 V^T) at
    fixed trace. It is shrunk towards the mean form's, Sigma <- (1 - g) Sigma + g P, P = I - 1 1^T / N, and inverted
    where it is not zero by construction: Omega Sigma = P. Eigenvalues of Omega stay below 1 / g.

    Args:
        gram_nn: (N, N) float64 Gram matrix of deviations from the mean.
        shrinkage: g in (0, 1]; 1 gives the mean form.

    Returns:
        (N, N) float64, symmetric, rows sum to zero. The mean form where no model deviates.

    Source: Zhang and Yeung 2010 and MOCHA (arXiv 1705.10467; code gingsmith/fmtl, run_mocha.m) have S over the models
    themselves and trace 1.
    """
    count = len(gram_nn)
    projection_nn = mean_relations(count)
    largest = float(np.abs(gram_nn).max())
    if count == 1 or largest == 0:
        return projection_nn
    # Scaled first, so that tiny deviations do not underflow; projected, so that rounding cannot enter the mean.
    values, vectors = np.linalg.eigh(projection_nn @ (gram_nn / largest) @ projection_nn)
    root_nn = projection_nn @ ((vectors * np.sqrt(np.maximum(values, 0.0))) @ vectors.T) @ projection_nn
    sigma_nn = (1.0 - shrinkage) * (count - 1) / np.trace(root_nn) * root_nn + shrinkage * projection_nn
    mean_nn = np.full((count, count), 1.0 / count)
    relations_nn: Float64Array = projection_nn @ np.linalg.inv(sigma_nn + mean_nn) @ projection_nn
    return (relations_nn + relations_nn.T) / 2


def anchor_weights(relations_nn: Float64Array) -> Float64Array:
    """Return the mixing matrix of the anchors: A_ij = -Omega_ij / Omega_ii for j != i, A_ii = 0.

    Args:
        relations_nn: (N, N) float64, rows sum to zero, diagonal positive where N > 1.

    Returns:
        (N, N) float64, rows sum to one; entries below zero push a client away from another. A single client is its own
        anchor.
    """
    if len(relations_nn) == 1:
        return np.ones((1, 1))
    weights_nn: Float64Array = -relations_nn / np.diag(relations_nn)[:, None]
    np.fill_diagonal(weights_nn, 0.0)
    return weights_nn
