"""Weights of attentive message passing: whom a client listens to (FedAMP, Huang et al. 2021; methods.md 1.6).

Everything here is N x N: the weights follow from distances or cosines of the clients' models, never from the models
themselves. Shapes: N clients.
"""

import numpy as np

from fmtl_strategies.maths.rows import Float64Array


def typical_distance(distances_nn: Float64Array) -> float:
    """Return the median of the pairwise squared distances that are not zero; 1 where all are.

    Pairs of equal models are left out: with many of them the median would be zero and nobody else would be heard.

    Args:
        distances_nn: (N, N) float64 squared distances, symmetric.
    """
    pairs = distances_nn[np.triu_indices(len(distances_nn), k=1)]
    different = pairs[pairs > 0]
    return float(np.median(different)) if different.size else 1.0


def exponential_weights(distances_nn: Float64Array, alpha: float, sigma: float) -> Float64Array:
    """Return message weights that fall off exponentially with the squared distance.

    xi_ij = alpha / (N - 1) * exp(-d_ij^2 / sigma) for j != i, xi_ii = 1 - sum_j xi_ij. With alpha <= 1 every weight is
    in [0, 1] and every row sums to one, whatever the distances. The paper's step alpha_k is alpha * sigma / (N - 1).

    Args:
        distances_nn: (N, N) float64 squared distances.
        alpha: share of the row that goes to models without any distance, in (0, 1].
        sigma: squared distance at which a weight has fallen to 1/e, above 0.

    Returns:
        (N, N) float64. A single client listens to itself.

    Source: Huang et al., AAAI 2021 (arXiv 2007.03797): A(x) = 1 - exp(-x / sigma), xi_ij = alpha_k A'(d_ij^2).
    """
    count = len(distances_nn)
    with np.errstate(over="ignore", under="ignore"):
        weights_nn: Float64Array = alpha / max(count - 1, 1) * np.exp(-distances_nn / sigma)
    np.fill_diagonal(weights_nn, 0.0)
    # Rounding alone can push the sum of the others above one.
    np.fill_diagonal(weights_nn, np.maximum(1.0 - weights_nn.sum(axis=1), 0.0))
    return weights_nn


def cosine_weights(cosines_nn: Float64Array, sigma: float, self_weight: float) -> Float64Array:
    """Return message weights of HeurFedAMP: a softmax over the cosines with the others, beside a fixed self weight.

    xi_ij = (1 - xi_ii) exp(sigma cos_ij) / sum_{h != i} exp(sigma cos_ih).

    Args:
        cosines_nn: (N, N) float64 cosines.
        sigma: factor on the cosines; 0 gives equal weights.
        self_weight: xi_ii, in [0, 1].

    Returns:
        (N, N) float64, rows sum to one. A single client listens to itself.

    Source: Huang et al., AAAI 2021 (arXiv 2007.03797), heuristic improvement for deep networks.
    """
    count = len(cosines_nn)
    if count == 1:
        return np.ones((1, 1))
    logits_nn = sigma * cosines_nn
    np.fill_diagonal(logits_nn, -np.inf)
    weights_nn: Float64Array = np.exp(logits_nn - logits_nn.max(axis=1, keepdims=True))
    weights_nn *= (1.0 - self_weight) / weights_nn.sum(axis=1, keepdims=True)
    np.fill_diagonal(weights_nn, self_weight)
    return weights_nn


def anchor_distances(gram_nn: Float64Array, mixing_nn: Float64Array) -> Float64Array:
    """Return how far each client's model is from its anchor, ||w_i - sum_j M_ij w_j||.

    Args:
        gram_nn: (N, N) float64 Gram matrix of deviations from the mean.
        mixing_nn: (N, N) float64; its rows sum to one, so that the mean drops out.

    Returns:
        (N,) float64.
    """
    rest_nn = np.eye(len(gram_nn)) - mixing_nn
    squares_n = np.einsum("ij,jk,ik->i", rest_nn, gram_nn, rest_nn)
    distances_n: Float64Array = np.sqrt(np.maximum(squares_n, 0.0))
    return distances_n
