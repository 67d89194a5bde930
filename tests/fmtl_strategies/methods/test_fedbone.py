"""FedBone's aggregation: the algorithm with explicit vectors over several rounds, its history, restarts."""

import numpy as np
import pytest
from encoder_pools import encoder_pool
from toy_federation import settings

from fmtl_strategies.methods.fedbone import FedBone, FedBoneParameters


def new(history: bool = True, weighting: str = "uniform") -> FedBone:
    return FedBone(settings(), FedBoneParameters(history=history, weighting=weighting))


def updates_like(count: int, size: int, seed: int = 0) -> np.ndarray:
    generator = np.random.default_rng([13, seed])
    return (10.0 ** generator.uniform(-1, 1, (count, 1)) * generator.standard_normal((count, size))).astype(np.float32)


def combined(strategy: FedBone, updates: np.ndarray, server_round: int = 1, **changes: object) -> np.ndarray:
    pool = encoder_pool(np.zeros_like(updates), updates, **changes)  # type: ignore[arg-type]
    strategy.aggregate_pool(pool, server_round)
    return np.array(pool.parameters_nd[0])


def gp_aggregation(gradients: np.ndarray, last: np.ndarray | None, weights: np.ndarray) -> np.ndarray:
    """The aggregation on gradients, in float64: rescale by agreement with the last, project in order, average."""
    count = len(gradients)
    factors = np.ones(count)
    if last is not None:
        cosines = np.array([g @ last / (np.linalg.norm(g) * np.linalg.norm(last)) for g in gradients])
        factors = count * np.exp(cosines) / np.exp(cosines).sum()
    scaled = [factor * g for factor, g in zip(factors, gradients, strict=True)]
    total = np.zeros(gradients.shape[1])
    for i in range(count):
        g = scaled[i].copy()
        for j in range(count):
            if j != i and g @ scaled[j] < 0:
                g = g - (g @ scaled[j]) / (scaled[j] @ scaled[j]) * scaled[j]
        total += weights[i] * g
    return total


@pytest.mark.parametrize(("count", "size"), [(2, 5), (6, 40), (24, 8)])
@pytest.mark.parametrize("weighting", ["uniform", "examples"])
def test_three_rounds_are_the_aggregation_of_gradients_with_the_last_as_history(
    count: int, size: int, weighting: str
) -> None:
    strategy = new(weighting=weighting)
    examples = list(range(1, count + 1))
    weights = np.full(count, 1 / count) if weighting == "uniform" else np.array(examples) / sum(examples)
    last = None
    for server_round in (1, 2, 3):
        updates = updates_like(count, size, server_round)
        last = gp_aggregation(-updates.astype(np.float64), last, weights)
        found = combined(strategy, updates, server_round, examples=examples)
        np.testing.assert_allclose(found, -last, rtol=0, atol=5e-5 * np.abs(updates).max())


def test_without_history_every_round_is_like_the_first() -> None:
    strategy = new(history=False)
    updates = updates_like(5, 30)
    first = combined(strategy, updates)
    np.testing.assert_array_equal(combined(strategy, updates, 2), first)
    assert not np.array_equal(combined(new(), updates), combined_twice(updates))


def combined_twice(updates: np.ndarray) -> np.ndarray:
    strategy = new()
    combined(strategy, updates)
    return combined(strategy, updates, 2)


@pytest.mark.parametrize("scale", [1e-6, 1e-3, 1e3])
def test_the_second_round_scales_with_the_updates_too(scale: float) -> None:
    updates = updates_like(6, 50)
    one, other = combined_twice(updates), combined_twice((scale * updates).astype(np.float32))
    np.testing.assert_allclose(other / scale, one, rtol=0, atol=1e-4 * np.abs(one).max())


def test_a_round_of_zeros_makes_the_next_neutral() -> None:
    strategy, updates = new(), updates_like(4, 20)
    combined(strategy, np.zeros_like(updates))
    np.testing.assert_array_equal(combined(strategy, updates, 2), combined(new(), updates))
