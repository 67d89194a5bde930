"""The conflict-averse solve: optimality, invariances, degenerate inputs."""

import math

import numpy as np
import pytest
from scipy.optimize import minimize

from fmtl_strategies.maths.conflict_averse import aggregate_coefficients, solve_conflict_averse
from fmtl_strategies.maths.rows import Float64Array

C = 0.4


def updates_like(kind: str, count: int = 6) -> Float64Array:
    updates = np.random.default_rng(0).standard_normal((count, 40)) + 0.2
    if kind == "duplicates":
        updates[1] = updates[0]
    if kind == "one zero":
        updates[0] = 0
    if kind == "opposite":
        updates[1] = -updates[0]
    if kind == "identical":
        updates[:] = updates[0]
    return updates


def objective(updates: Float64Array, weights: Float64Array, c: float = C) -> float:
    mean = updates.mean(axis=0)
    combined = weights @ updates
    return float(combined @ mean + c * np.linalg.norm(mean) * np.linalg.norm(combined))


KINDS = ["plain", "duplicates", "one zero", "opposite", "identical"]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("length", [1e-6, 1e-3, 0.1, 1.0, 30.0])
def test_exact_gap_is_below_1e_7_at_every_scale(kind: str, length: float) -> None:
    updates = length * updates_like(kind) / 6.0
    solution = solve_conflict_averse(updates @ updates.T, C, method="exact")
    assert 0 <= solution.gap <= 1e-7
    assert solution.weights.min() >= 0
    assert math.isclose(solution.weights.sum(), 1.0)


@pytest.mark.parametrize("kind", KINDS)
def test_exact_solution_is_not_beaten_by_a_search_over_the_simplex(kind: str) -> None:
    updates = updates_like(kind)
    scale = float((updates**2).sum()) / len(updates)
    solution = solve_conflict_averse(updates @ updates.T, C, method="exact")
    reached = objective(updates, solution.weights)
    candidates = np.random.default_rng(1).dirichlet(np.full(6, 0.3), size=300)
    lowest = min(objective(updates, weights) for weights in candidates)
    for start in (np.full(6, 1 / 6), *candidates[:5]):
        found = minimize(
            lambda z: objective(updates, np.exp(z) / np.exp(z).sum()) / scale, np.log(start + 1e-6), method="BFGS"
        )
        lowest = min(lowest, float(found.fun) * scale)
    assert reached <= lowest + 1e-7 * scale


def test_gap_bounds_the_loss_of_the_reference_method_on_small_updates() -> None:
    updates = np.random.default_rng(2).standard_normal((5, 30))
    updates[0] *= 4
    updates *= 1e-3 / np.linalg.norm(updates)
    gram, scale = updates @ updates.T, float((updates**2).sum()) / 5
    reference = solve_conflict_averse(gram, C, method="reference")
    exact = solve_conflict_averse(gram, C, method="exact")
    loss = (objective(updates, reference.weights) - objective(updates, exact.weights)) / scale
    np.testing.assert_allclose(reference.weights, 0.2, atol=1e-3)
    assert loss > 0.01
    assert reference.gap >= loss - 1e-7


def test_both_methods_agree_where_the_updates_are_of_size_one() -> None:
    updates = updates_like("plain")
    gram = updates @ updates.T
    exact = solve_conflict_averse(gram, C, method="exact")
    reference = solve_conflict_averse(gram, C, method="reference")
    first = aggregate_coefficients(exact, C, rescale=1 + C**2) @ updates
    second = aggregate_coefficients(reference, C, rescale=1 + C**2) @ updates
    np.testing.assert_allclose(first, second, atol=2e-3 * np.abs(first).max())


@pytest.mark.parametrize("method", ["reference", "exact"])
def test_identical_updates_give_the_mean_times_one_plus_c(method: str) -> None:
    updates = updates_like("identical")
    solution = solve_conflict_averse(updates @ updates.T, C, method=method)
    aggregate = aggregate_coefficients(solution, C, rescale=1 + C**2) @ updates
    np.testing.assert_allclose(aggregate, (1 + C) / (1 + C**2) * updates[0], rtol=1e-6)


@pytest.mark.parametrize("method", ["reference", "exact"])
def test_one_client_has_weight_one(method: str) -> None:
    assert solve_conflict_averse(np.array([[4.0]]), C, method=method).weights.tolist() == [1.0]


@pytest.mark.parametrize("method", ["reference", "exact"])
def test_zero_updates_give_finite_coefficients(method: str) -> None:
    solution = solve_conflict_averse(np.zeros((3, 3)), C, method=method)
    assert np.isfinite(aggregate_coefficients(solution, C, rescale=1.0)).all()
    np.testing.assert_allclose(solution.weights, 1 / 3, atol=1e-6)


def test_aggregate_raises_the_worst_inner_product_above_that_of_the_mean() -> None:
    updates = updates_like("plain")
    solution = solve_conflict_averse(updates @ updates.T, C, method="exact")
    aggregate = aggregate_coefficients(solution, C, rescale=1.0) @ updates
    assert (updates @ aggregate).min() > (updates @ updates.mean(axis=0)).min()
    distance = np.linalg.norm(aggregate - updates.mean(axis=0))
    np.testing.assert_allclose(distance, C * np.linalg.norm(updates.mean(axis=0)), rtol=1e-6)


@pytest.mark.parametrize(
    "gram", [np.array([[1.0, np.nan], [np.nan, 1.0]]), np.ones((2, 3)), np.zeros((0, 0)), np.zeros(3)]
)
def test_a_matrix_that_is_no_gram_matrix_is_refused(gram: Float64Array) -> None:
    with pytest.raises(ValueError, match="Gram matrix"):
        solve_conflict_averse(gram, C, method="exact")
