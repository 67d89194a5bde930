"""The server's optimisers against a float64 re-statement of the paper, and against Flower's own on numbers."""

import math
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from errors import naming
from flwr.app import Array, ArrayRecord, MetricRecord, RecordDict
from flwr.serverapp.strategy import FedAdagrad, FedAdam, FedAvgM, FedYogi
from hypothesis import given
from hypothesis import strategies as st

from fmtl_strategies.maths.rows import BLOCK_COLUMNS
from fmtl_strategies.maths.server_optimiser import OptimiserConstants, OptimiserState, Rule, optimiser_step

RULES: tuple[Rule, ...] = ("adam", "yogi", "adagrad", "momentum")
SIZE = 7


def constants(rule: Rule, rate: float = 0.3) -> OptimiserConstants:
    return OptimiserConstants(rule, rate, beta1=0.8, beta2=0.95, tau=2e-3)


def updates_of(number: int, rows: int = 3, size: int = SIZE) -> np.ndarray:
    scale = np.logspace(-4, 0, size, dtype=np.float32)
    return (np.random.default_rng([number, rows, size]).standard_normal((rows, size)) * scale).astype(np.float32)


def restated(rule: Rule, x: float, steps: list[float], c: OptimiserConstants) -> float:
    """Algorithm 2 of the paper for one weight, in plain float64."""
    m, v = 0.0, c.tau**2
    for delta in steps:
        if rule == "momentum":
            m = c.beta1 * m + delta
            x += c.rate * m
            continue
        m = c.beta1 * m + (1 - c.beta1) * delta
        if rule == "adagrad":
            v = v + delta**2
        elif rule == "yogi":
            v = v - (1 - c.beta2) * delta**2 * math.copysign(1.0, v - delta**2)
        else:
            v = c.beta2 * v + (1 - c.beta2) * delta**2
        x += c.rate * m / (math.sqrt(v) + c.tau)
    return x


@pytest.mark.parametrize("rule", RULES)
def test_steps_are_those_of_the_paper(rule: Rule) -> None:
    weights = np.array([0.5, 0.2, 0.3])
    start = np.linspace(-1, 1, SIZE, dtype=np.float32)
    rows, c = np.tile(start, (3, 1)), constants(rule)
    state = OptimiserState.start(SIZE, c)
    deltas = []
    for number in range(5):
        updates = updates_of(number)
        deltas.append(weights @ updates.astype(np.float64))
        mean_update, _ = optimiser_step(rows, updates, weights, state, c)
        assert mean_update == pytest.approx(np.linalg.norm(deltas[-1]), rel=1e-5)
    for column in range(SIZE):
        expected = restated(rule, float(start[column]), [float(delta[column]) for delta in deltas], c)
        np.testing.assert_allclose(rows[:, column], expected, rtol=2e-5, atol=1e-7)


@pytest.mark.parametrize("rule", RULES)
def test_rows_that_differ_step_from_their_weighted_mean_and_rows_of_other_groups_stay(rule: Rule) -> None:
    rows = np.random.default_rng(0).standard_normal((4, SIZE)).astype(np.float32)
    before, updates, weights, c = rows.copy(), updates_of(1, 4), np.array([0.25, 0.0, 0.75, 0.0]), constants(rule)
    optimiser_step(rows, updates, weights, OptimiserState.start(SIZE, c), c)
    mean = weights @ before.astype(np.float64)
    delta = weights @ updates.astype(np.float64)
    expected = [restated(rule, float(mean[i]), [float(delta[i])], c) for i in range(SIZE)]
    np.testing.assert_allclose(rows[0], expected, rtol=1e-5, atol=1e-7)
    np.testing.assert_array_equal(rows[2], rows[0])
    np.testing.assert_array_equal(rows[[1, 3]], before[[1, 3]])


@pytest.mark.parametrize("rule", RULES)
def test_blocks_leave_no_seam(rule: Rule) -> None:
    size, c = BLOCK_COLUMNS + 3, constants(rule)
    rows, updates = np.zeros((2, size), np.float32), np.full((2, size), 0.01, np.float32)
    optimiser_step(rows, updates, np.array([0.5, 0.5]), OptimiserState.start(size, c), c)
    assert np.unique(rows).size == 1
    assert rows[0, 0] != 0


@pytest.mark.parametrize("rule", RULES)
@given(count=st.integers(1, 7), seed=st.integers(0, 100))
def test_without_updates_equal_rows_keep_their_bits(rule: Rule, count: int, seed: int) -> None:
    start = np.random.default_rng(seed).standard_normal(SIZE).astype(np.float32)
    rows, c = np.tile(start, (count, 1)), constants(rule)
    optimiser_step(rows, np.zeros_like(rows), np.full(count, 1 / count), OptimiserState.start(SIZE, c), c)
    np.testing.assert_array_equal(rows, np.tile(start, (count, 1)))


def test_an_adaptive_step_never_exceeds_the_rate_by_more_than_its_decay_allows() -> None:
    c = OptimiserConstants("adam", 0.1, beta1=0.0, beta2=0.0, tau=1e-3)
    rows, updates = np.zeros((1, SIZE), np.float32), 1e3 * updates_of(3, 1)
    optimiser_step(rows, updates, np.array([1.0]), OptimiserState.start(SIZE, c), c)
    assert np.abs(rows).max() <= 0.1
    np.testing.assert_array_equal(np.sign(rows), np.sign(updates))


def test_memory_of_another_size_is_refused_before_anything_changes() -> None:
    c = constants("adam")
    rows = np.ones((1, SIZE), np.float32)
    with pytest.raises(ValueError, match=naming("m", "(7,)")):
        optimiser_step(rows, rows.copy(), np.array([1.0]), OptimiserState.start(SIZE - 1, c), c)
    assert (rows == 1).all()


FLOWER: dict[Rule, Callable[[], FedAdam | FedYogi | FedAdagrad | FedAvgM]] = {
    "adam": lambda: FedAdam(eta=0.3, beta_1=0.8, beta_2=0.95, tau=2e-3),
    "yogi": lambda: FedYogi(eta=0.3, beta_1=0.8, beta_2=0.95, tau=2e-3),
    "adagrad": lambda: FedAdagrad(eta=0.3, tau=2e-3),
    "momentum": lambda: FedAvgM(server_learning_rate=0.3, server_momentum=0.8),
}


def flower_reply(trained: np.ndarray, examples: int) -> Any:
    """What Flower's strategies read of a reply; a real message needs a running grid."""
    content = RecordDict(
        {"arrays": ArrayRecord({"x": Array(trained)}), "metrics": MetricRecord({"num-examples": examples})}
    )
    return SimpleNamespace(content=content, has_error=lambda: False, metadata=SimpleNamespace(src_node_id=1))


@pytest.mark.parametrize("rule", RULES)
def test_steps_are_flowers_where_v_starts_at_zero_and_adam_corrects_its_bias(rule: Rule) -> None:
    examples, flower, c = np.array([10, 30, 60]), FLOWER[rule](), constants(rule)
    if rule == "adagrad":
        c = OptimiserConstants(rule, 0.3, tau=2e-3)
    current = np.linspace(-1, 1, SIZE, dtype=np.float32)
    rows = np.tile(current, (3, 1))
    # Flower starts v at 0, the paper at tau^2.
    state = OptimiserState(np.zeros(SIZE, np.float32), None if rule == "momentum" else np.zeros(SIZE, np.float32))
    for number in range(1, 5):
        updates = updates_of(number)
        sent = ArrayRecord({"x": Array(current)})
        flower.current_arrays = sent if rule == "momentum" else {"x": current}
        replies = [flower_reply(current + update, int(n)) for update, n in zip(updates, examples, strict=True)]
        arrays, _ = flower.aggregate_train(number, replies)
        assert arrays is not None
        current = arrays["x"].numpy().astype(np.float32)
        rate = 0.3
        if rule == "adam":
            rate *= math.sqrt(1 - c.beta2 ** (number + 1)) / (1 - c.beta1 ** (number + 1))
        stepping = OptimiserConstants(rule, rate, c.beta1, c.beta2, c.tau)
        optimiser_step(rows, updates, examples / examples.sum(), state, stepping)
        np.testing.assert_allclose(rows[0], current, rtol=1e-4, atol=1e-5)
