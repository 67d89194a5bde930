import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fmtl_strategies.maths.m_fed import regularisation, weighted_mean

progresses = st.floats(0, 1)
curvatures = st.floats(0.01, 50)


@given(progresses, curvatures)
def test_exponential_growth_is_the_printed_formula(progress: float, kappa: float) -> None:
    expected = 0.1 * (math.exp(kappa * progress) - 1) / (math.exp(kappa) - 1)
    assert regularisation(progress, 0.1, kappa, "exponential") == pytest.approx(expected, rel=1e-6, abs=1e-12)


@given(progresses, progresses, curvatures)
def test_growth_starts_at_nothing_ends_at_the_largest_and_never_falls(one: float, other: float, kappa: float) -> None:
    low, high = sorted((one, other))
    assert regularisation(0.0, 0.3, kappa, "exponential") == 0.0
    assert regularisation(1.0, 0.3, kappa, "exponential") == 0.3
    assert regularisation(low, 0.3, kappa, "exponential") <= regularisation(high, 0.3, kappa, "exponential")


def test_curvature_zero_is_the_limit_of_small_curvatures_and_constant_is_constant() -> None:
    assert regularisation(0.25, 0.4, 0.0, "exponential") == pytest.approx(0.1)
    assert regularisation(0.25, 0.4, 1e-9, "exponential") == pytest.approx(0.1)
    assert [regularisation(t / 4, 0.4, 5.0, "constant") for t in range(5)] == [0.4] * 5


@given(st.integers(1, 6), st.integers(0, 2**32 - 1), st.floats(1e-3, 1e3))
def test_mean_is_the_weighted_mean_whatever_the_scale_of_the_weights(count: int, seed: int, scale: float) -> None:
    random = np.random.default_rng(seed)
    vectors = [random.standard_normal(37).astype(np.float32) for _ in range(count)]
    weights = (scale * random.uniform(0.1, 2.0, count)).tolist()
    before = [vector.copy() for vector in vectors]
    expected = [sum(w * float(v[d]) for w, v in zip(weights, vectors, strict=True)) / sum(weights) for d in range(37)]
    np.testing.assert_allclose(weighted_mean(vectors, weights), expected, rtol=1e-4, atol=1e-6)
    assert all(np.array_equal(one, other) for one, other in zip(before, vectors, strict=True))


def test_mean_covers_vectors_longer_than_a_block_and_read_only_ones() -> None:
    vectors = [np.full(600_001, value, np.float32) for value in (1.0, 4.0)]
    vectors[1].flags.writeable = False
    np.testing.assert_array_equal(weighted_mean(vectors, [2.0, 1.0]), np.full(600_001, 2.0, np.float32))


@pytest.mark.parametrize("weights", [[0.0, 0.0], [2.0, -1.0]])
def test_weights_that_have_no_mean_are_refused(weights: list[float]) -> None:
    with pytest.raises(ValueError, match="weights"):
        weighted_mean([np.zeros(3, np.float32)] * 2, weights)
