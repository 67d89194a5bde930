"""CAGrad on client updates: optimal in the ball around the mean, at every length; divisors."""

import math

import numpy as np
import pytest
from encoder_pools import encoder_pool
from scipy.optimize import minimize
from toy_federation import settings

from fmtl_strategies.methods.cagrad import CAGrad, CAGradParameters

SCALES = [1e-6, 1e-3, 1.0, 1e3]


def new(c: float = 0.4, rescale: str = "none") -> CAGrad:
    return CAGrad(settings(), CAGradParameters(c=c, rescale=rescale))


def updates_like(count: int, size: int, seed: int = 12) -> np.ndarray:
    generator = np.random.default_rng(seed)
    return (10.0 ** generator.uniform(-0.5, 0.5, (count, 1)) * (generator.standard_normal((count, size)) + 0.1)).astype(
        np.float32
    )


def combined(strategy: CAGrad, updates: np.ndarray) -> tuple[np.ndarray, dict[str, float]]:
    pool = encoder_pool(np.zeros_like(updates), updates)
    found = strategy.aggregate_pool(pool, 1)
    return np.array(pool.parameters_nd[0], dtype=np.float64), found


def worst_improvement(updates: np.ndarray, direction: np.ndarray) -> float:
    return min(float(row @ direction) for row in updates.astype(np.float64))


def best_worst_improvement(updates: np.ndarray, c: float) -> float:
    """Maximise t over (d, t): <update_i, d> >= t, |d - g| <= c |g|; the primal problem of the paper."""
    exact = updates.astype(np.float64) / np.abs(updates).max()
    mean = exact.mean(axis=0)
    radius = c * np.linalg.norm(mean)
    constraints = [
        {
            "type": "ineq",
            "fun": lambda x: exact @ (mean + x[:-1]) - x[-1],
            "jac": lambda x: np.c_[exact, -np.ones(len(exact))],
        },
        {"type": "ineq", "fun": lambda x: radius**2 - x[:-1] @ x[:-1], "jac": lambda x: np.r_[-2 * x[:-1], 0.0]},
    ]
    start = np.r_[np.zeros(len(mean)), worst_improvement(exact, mean)]
    slope = np.r_[np.zeros(len(mean)), -1.0]
    found = minimize(
        lambda x: -x[-1], start, jac=lambda x: slope, constraints=constraints, options={"ftol": 1e-13, "maxiter": 1000}
    )
    assert found.success
    return float(found.x[-1])


@pytest.mark.parametrize(("count", "size"), [(2, 4), (3, 10), (6, 20), (24, 5)])
@pytest.mark.parametrize("c", [0.2, 0.4, 0.8])
def test_it_solves_the_problem_of_the_paper(count: int, size: int, c: float) -> None:
    updates = updates_like(count, size)
    found, _ = combined(new(c), updates)
    mean = updates.astype(np.float64).mean(axis=0)
    length = np.linalg.norm(mean)
    assert np.linalg.norm(found - mean) <= c * length * (1 + 1e-5)
    unit = np.abs(updates).max()
    reached = worst_improvement(updates / unit, found / unit)
    assert math.isclose(reached, best_worst_improvement(updates, c), rel_tol=1e-4, abs_tol=1e-5)


def test_two_conflicting_updates_by_hand() -> None:
    # Mean (1, 0); among d with |d - (1, 0)| <= 1/2 the smaller of <(3, 1), d> and <(-1, -1), d> is the second:
    # it is largest in direction (-1, -1), d = (1, 0) - (1, 1) / (2 sqrt 2).
    updates = np.array([[3.0, 1.0], [-1.0, -1.0]])
    found, diagnostics = combined(new(c=0.5), updates)
    expected = np.array([1.0, 0.0]) - np.array([1.0, 1.0]) / math.sqrt(8)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)
    assert diagnostics["c01/conflict-weight"] == pytest.approx(1.0, abs=1e-4)


@pytest.mark.parametrize(
    ("rescale", "factor"), [("none", 1.4), ("one-plus-c-squared", 1.4 / 1.16), ("one-plus-c", 1.0)]
)
def test_identical_updates_give_that_update_times_one_plus_c_over_the_divisor(rescale: str, factor: float) -> None:
    row = updates_like(1, 30)[0]
    found, _ = combined(new(rescale=rescale), np.tile(row, (5, 1)))
    np.testing.assert_allclose(found, factor * row, rtol=1e-5)
