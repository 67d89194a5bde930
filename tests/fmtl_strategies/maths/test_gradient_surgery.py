"""Projection of conflicting updates in coefficients, against the same with explicit vectors in float64."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from fmtl_strategies.maths.gradient_surgery import (
    conflict_share,
    history_factors,
    index_orders,
    project_conflicts,
    rescaled_projection,
    shuffled_orders,
)
from fmtl_strategies.maths.rows import Float64Array

SCALES = [1e-6, 1e-3, 1.0, 1e3]


def projected_vectors(updates: Float64Array, orders: list[list[int]]) -> Float64Array:
    """Algorithm 1 of PCGrad on the vectors themselves."""
    result = []
    for i, order in enumerate(orders):
        g = updates[i].copy()
        for j in order:
            inner = sum(g * updates[j])
            square = sum(updates[j] ** 2)
            if inner < 0 and square > 0:
                g = g - inner / square * updates[j]
        result.append(g)
    return np.array(result)


def random_updates(count: int, size: int, seed: int = 0) -> Float64Array:
    generator = np.random.default_rng(seed)
    lengths = 10.0 ** generator.uniform(-2, 1, size=(count, 1))
    return lengths * generator.standard_normal((count, size))


@hypothesis_settings(max_examples=60, deadline=None)
@given(count=st.integers(1, 8), size=st.integers(1, 12), seed=st.integers(0, 10_000))
def test_coefficients_give_the_vectors_of_the_algorithm(count: int, size: int, seed: int) -> None:
    updates = random_updates(count, size, seed)
    orders = shuffled_orders(count, np.random.default_rng(seed))
    found = project_conflicts(updates @ updates.T, orders) @ updates
    # In few dimensions projections may leave nothing: what is left is then rounding, of the size of the longest.
    np.testing.assert_allclose(found, projected_vectors(updates, orders), rtol=0, atol=1e-9 * np.abs(updates).max())


def test_without_conflicts_nothing_is_projected_to_the_bit() -> None:
    updates = np.abs(random_updates(6, 20))
    coefficients = project_conflicts(updates @ updates.T, shuffled_orders(6, np.random.default_rng(1)))
    np.testing.assert_array_equal(coefficients, np.eye(6))
    assert conflict_share(updates @ updates.T) == 0.0


def test_opposite_identical_and_zero_updates() -> None:
    first = np.array([1.0, 2.0, 3.0])
    opposite = np.array([first, -first, np.zeros(3)])
    coefficients = project_conflicts(opposite @ opposite.T, index_orders(3))
    np.testing.assert_allclose(coefficients @ opposite, 0.0, atol=1e-15)
    same = np.array([first, first, first])
    np.testing.assert_array_equal(project_conflicts(same @ same.T, index_orders(3)), np.eye(3))
    np.testing.assert_array_equal(project_conflicts(np.zeros((3, 3)), index_orders(3)), np.eye(3))


def test_an_update_too_short_to_have_a_direction_is_no_plane() -> None:
    for square in (0.0, 1e-300):
        gram = np.array([[1.0, -1e-200], [-1e-200, square]])
        np.testing.assert_array_equal(project_conflicts(gram, index_orders(2))[0], [1.0, 0.0])


def test_orders_are_other_rows_once_and_repeat_with_their_generator() -> None:
    orders = shuffled_orders(7, np.random.default_rng(4))
    assert [sorted(order) for order in orders] == index_orders(7)
    assert orders == shuffled_orders(7, np.random.default_rng(4))
    assert orders != shuffled_orders(7, np.random.default_rng(5))


def test_history_factors_are_n_times_a_softmax_of_cosines() -> None:
    updates, last = random_updates(4, 10, seed=6), np.random.default_rng(7).standard_normal(10)
    rows = np.concatenate([updates, last[None]])
    cosines = [float(u @ last / np.linalg.norm(u) / np.linalg.norm(last)) for u in updates]
    total = sum(np.exp(c) for c in cosines)
    expected = [4 * np.exp(c) / total for c in cosines]
    np.testing.assert_allclose(history_factors(rows @ rows.T), expected)
    rows[-1] = 0
    np.testing.assert_array_equal(history_factors(rows @ rows.T), np.ones(4))


@hypothesis_settings(max_examples=40, deadline=None)
@given(count=st.integers(1, 6), seed=st.integers(0, 10_000))
def test_rescaled_projection_is_the_projection_of_rescaled_vectors(count: int, seed: int) -> None:
    updates = random_updates(count, 8, seed)
    factors = np.random.default_rng(seed).uniform(0.3, 2.0, size=count)
    expected = projected_vectors(factors[:, None] * updates, index_orders(count))
    found = rescaled_projection(updates @ updates.T, factors) @ updates
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-9 * np.abs(updates).max())


@pytest.mark.parametrize(
    ("gram", "orders"),
    [
        (np.zeros((2, 3)), [[1], [0]]),
        (np.full((2, 2), np.nan), [[1], [0]]),
        (np.eye(2), [[1]]),
        (np.eye(2), [[0], [1]]),
        (np.eye(2), [[1, 1], [0]]),
    ],
)
def test_wrong_input_is_an_error(gram: Float64Array, orders: list[list[int]]) -> None:
    with pytest.raises(ValueError, match=r"Gram matrix|orders"):
        project_conflicts(gram, orders)
