import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fmtl_strategies.maths.deviations import deviation_gram, squared_distances
from fmtl_strategies.maths.message_passing import (
    anchor_distances,
    cosine_weights,
    exponential_weights,
    typical_distance,
)


def models(count: int, size: int = 12, seed: int = 0) -> np.ndarray:
    return np.random.default_rng([count, size, seed]).standard_normal((count, size))


def distances_of(rows: np.ndarray) -> np.ndarray:
    return ((rows[:, None] - rows[None]) ** 2).sum(axis=2)


@pytest.mark.parametrize("count", [1, 2, 5])
@pytest.mark.parametrize("sigma", [0.5, 20.0])
def test_exponential_weights_are_the_papers_with_its_step_in_units_of_sigma(count: int, sigma: float) -> None:
    rows, alpha = models(count), 0.7
    paper_step = alpha * sigma / max(count - 1, 1)
    expected = np.zeros((count, count))
    for i in range(count):
        for j in range(count):
            if i != j:
                distance = sum((a - b) ** 2 for a, b in zip(rows[i], rows[j], strict=True))
                expected[i, j] = paper_step * math.exp(-distance / sigma) / sigma
        expected[i, i] = 1 - expected[i].sum()
    np.testing.assert_allclose(exponential_weights(distances_of(rows), alpha, sigma), expected, rtol=1e-12)


@pytest.mark.parametrize("count", [2, 5])
def test_the_message_step_is_a_gradient_step_on_the_attention_function(count: int) -> None:
    """u_i = w_i - (alpha_k / 2) dA/dw_i, for A = sum_{i<j} 1 - exp(-d_ij^2 / sigma); Huang et al., Eq. 3."""
    rows, sigma, alpha, step = models(count), 9.0, 1.0, 1e-6

    def attention(at: np.ndarray) -> float:
        squares = distances_of(at)
        return sum(1 - math.exp(-squares[i, j] / sigma) for i in range(count) for j in range(i))

    gradient = np.zeros_like(rows)
    for place in np.ndindex(*rows.shape):
        moved = np.zeros_like(rows)
        moved[place] = step
        gradient[place] = (attention(rows + moved) - attention(rows - moved)) / (2 * step)
    expected = rows - alpha * sigma / (count - 1) / 2 * gradient
    found = exponential_weights(distances_of(rows), alpha, sigma) @ rows
    np.testing.assert_allclose(found, expected, atol=1e-7)


@given(
    st.integers(1, 9),
    st.floats(1e-3, 1),
    st.floats(-150, 150),
    st.floats(-30, 30),
)
def test_every_mix_is_convex_whatever_the_scales(count: int, alpha: float, scale: float, sigma: float) -> None:
    distances = distances_of(models(count)) * 10.0**scale
    weights = exponential_weights(distances, alpha, 10.0**sigma)
    assert (weights >= 0).all()
    assert (weights <= 1).all()
    np.testing.assert_allclose(weights.sum(axis=1), 1, rtol=1e-12)


def test_weights_at_the_median_distance_do_not_depend_on_the_size_of_the_models() -> None:
    """With sigma = 1, as in public code, exp(-x) of a large encoder's distance underflows to nothing."""
    distances = distances_of(models(4)) * 1e4
    lost = exponential_weights(distances, 1.0, 1.0)
    np.testing.assert_array_equal(lost, np.eye(4))
    found = exponential_weights(distances, 1.0, typical_distance(distances))
    small = distances * 1e-9
    np.testing.assert_allclose(found, exponential_weights(small, 1.0, typical_distance(small)), rtol=1e-9)
    assert (np.diag(found) < 0.9).all()


def test_typical_distance_leaves_out_pairs_of_equal_models() -> None:
    rows = np.array([[0.0], [0.0], [0.0], [0.0], [3.0]])
    assert typical_distance(distances_of(rows)) == 9.0
    assert typical_distance(np.zeros((3, 3))) == 1.0
    assert typical_distance(np.zeros((1, 1))) == 1.0


@pytest.mark.parametrize("count", [2, 5])
def test_cosine_weights_are_the_papers(count: int) -> None:
    rows, sigma, self_weight = models(count), 3.0, 0.2
    norms = [math.sqrt(sum(x * x for x in row)) for row in rows]
    cosines = np.array([[rows[i] @ rows[j] / norms[i] / norms[j] for j in range(count)] for i in range(count)])
    expected = np.full((count, count), self_weight)
    for i in range(count):
        others = [h for h in range(count) if h != i]
        total = sum(math.exp(sigma * cosines[i, h]) for h in others)
        for j in others:
            expected[i, j] = math.exp(sigma * cosines[i, j]) / total * (1 - self_weight)
    np.testing.assert_allclose(cosine_weights(cosines, sigma, self_weight), expected, rtol=1e-12)


def test_cosine_weights_of_a_single_client_and_of_extreme_factors_stay_finite() -> None:
    np.testing.assert_array_equal(cosine_weights(np.zeros((1, 1)), 3.0, 0.2), [[1.0]])
    cosines = np.array([[1.0, 0.9, -1.0], [0.9, 1.0, 0.0], [-1.0, 0.0, 1.0]])
    weights = cosine_weights(cosines, 1e6, 0.25)
    np.testing.assert_allclose(weights, [[0.25, 0.75, 0], [0.75, 0.25, 0], [0, 0.75, 0.25]], atol=1e-12)


def test_distances_to_anchors_are_those_of_the_models() -> None:
    rows = models(4).astype(np.float32)
    gram = deviation_gram(rows, np.zeros_like(rows))
    mixing = exponential_weights(squared_distances(gram), 1.0, 20.0)
    expected = np.linalg.norm(rows - mixing @ rows, axis=1)
    np.testing.assert_allclose(anchor_distances(gram, mixing), expected, rtol=1e-5)
