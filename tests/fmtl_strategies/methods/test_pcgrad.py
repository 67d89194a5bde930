"""PCGrad on client updates: the algorithm with explicit vectors, step size, orders."""

import zlib

import numpy as np
import pytest
from encoder_pools import encoder_pool

from fmtl_strategies.contract.settings import LocalSettings
from fmtl_strategies.methods.pcgrad import PCGrad, PCGradParameters
from fmtl_strategies.settings import RunConfig


def new(seed: int = 0, reduction: str = "mean") -> PCGrad:
    chosen = RunConfig(local=LocalSettings(total_rounds=9, seed=seed))
    return PCGrad(chosen, PCGradParameters(reduction=reduction))


def updates_like(count: int, size: int) -> np.ndarray:
    generator = np.random.default_rng(11)
    return (10.0 ** generator.uniform(-1, 1, (count, 1)) * generator.standard_normal((count, size))).astype(np.float32)


def combined(strategy: PCGrad, updates: np.ndarray, server_round: int = 1) -> np.ndarray:
    pool = encoder_pool(np.zeros_like(updates), updates)
    strategy.aggregate_pool(pool, server_round)
    return np.array(pool.parameters_nd[0])


def algorithm_1(updates: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """Sum of the projected vectors, in float64, after Algorithm 1 of the paper."""
    exact = updates.astype(np.float64)
    total = np.zeros(exact.shape[1])
    for i in range(len(exact)):
        g = exact[i].copy()
        for j in generator.permutation(len(exact)):
            if j != i and g @ exact[j] < 0:
                g = g - (g @ exact[j]) / (exact[j] @ exact[j]) * exact[j]
        total += g
    return total


@pytest.mark.parametrize(("count", "size"), [(2, 5), (6, 40), (24, 8), (5, 3000)])
@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_it_is_algorithm_1_of_the_paper(count: int, size: int, reduction: str) -> None:
    updates = updates_like(count, size)
    generator = np.random.default_rng([7, 3, zlib.crc32(b"pcgrad/by-hand/None")])
    expected = algorithm_1(updates, generator) / (count if reduction == "mean" else 1)
    found = combined(new(seed=7, reduction=reduction), updates, server_round=3)
    np.testing.assert_allclose(found, expected, rtol=0, atol=2e-5 * np.abs(updates).max())


def test_two_conflicting_updates_by_hand() -> None:
    updates = np.array([[2.0, 0.0], [-1.0, 1.0]])
    # Projected: (1, 1) and (0, 1).
    np.testing.assert_allclose(combined(new(), updates), [0.5, 1.0], rtol=1e-6)
    np.testing.assert_allclose(combined(new(reduction="sum"), updates), [1.0, 2.0], rtol=1e-6)


def test_the_step_size_is_kept_and_a_long_update_counts_for_more_than_a_short_one() -> None:
    # With updates divided by their norms, as in FMTL-Bench, both results would be (1/2, 1/2).
    np.testing.assert_allclose(combined(new(), np.array([[0.02, 0.0], [0.0, 0.02]])), [0.01, 0.01], rtol=1e-6)
    np.testing.assert_allclose(combined(new(), np.array([[8.0, 0.0], [0.0, 0.02]])), [4.0, 0.01], rtol=1e-6)


def test_orders_follow_run_seed_and_round_and_nothing_else() -> None:
    updates = updates_like(6, 5)
    first = combined(new(seed=1), updates, server_round=2)
    np.random.default_rng().standard_normal(3)
    np.testing.assert_array_equal(combined(new(seed=1), updates, server_round=2), first)
    assert not np.array_equal(combined(new(seed=1), updates, server_round=3), first)
    assert not np.array_equal(combined(new(seed=2), updates, server_round=2), first)
