"""FedAdam, FedYogi, FedAdagrad, FedAvgM over toy clients: which rows share a model and a state, and who follows."""

import math
from typing import Any

import numpy as np
import pytest
from toy_federation import ToyFederation, profile, settings, start_of, update_of

from fmtl_strategies.building_blocks.server_optimiser import ServerOptimiserStrategy
from fmtl_strategies.registry import make_strategy
from fmtl_strategies.round.base import PersonalizedStrategy

NAMES = ("fedadagrad", "fedadam", "fedavgm", "fedyogi")
PROFILES = (profile("a", ["semseg"]), profile("b", ["semseg", "edge"], examples=30), profile("c", ["edge"]))
ENCODER_SIZE = 16


def new(name: str, **parameters: Any) -> PersonalizedStrategy:
    named = {key.replace("_", "-"): value for key, value in parameters.items()}
    return make_strategy(name, settings(rounds=9, quorum=0.1), named)


def play(strategy: PersonalizedStrategy, toys: ToyFederation, rounds: range) -> dict[str, np.ndarray]:
    toys.play(strategy, rounds)
    return {name: np.array(row) for name, row in strategy.store.arrays().items()}


@pytest.mark.parametrize("scope", ["all", "same-task"])
@pytest.mark.parametrize("weighting", ["uniform", "examples"])
def test_momentum_zero_and_rate_one_is_fedavg(scope: str, weighting: str) -> None:
    chosen = {"decoder_scope": scope, "weighting": weighting}
    plain = play(new("fedavg", **chosen), ToyFederation(PROFILES, absent={"c": {2}}), range(1, 4))
    same = play(new("fedavgm", momentum=0.0, **chosen), ToyFederation(PROFILES, absent={"c": {2}}), range(1, 4))
    assert plain.keys() == same.keys()
    for row_name, row in plain.items():
        np.testing.assert_allclose(same[row_name], row, rtol=1e-5, atol=1e-7, err_msg=row_name)


def test_the_first_step_of_fedadam_is_the_papers_with_its_defaults() -> None:
    found = play(new("fedadam"), ToyFederation(PROFILES), range(1, 2))
    delta = np.mean([update_of(client, "encoder", 1, ENCODER_SIZE) for client in "abc"], axis=0, dtype=np.float64)
    start = start_of("encoder", ENCODER_SIZE)
    for i in range(ENCODER_SIZE):
        m, v = 0.1 * delta[i], 0.99 * 1e-6 + 0.01 * delta[i] ** 2
        assert found["a/encoder"][i] == pytest.approx(start[i] + 0.1 * m / (math.sqrt(v) + 1e-3), rel=1e-5)


@pytest.mark.parametrize("name", NAMES)
def test_all_rows_of_a_group_hold_one_model_also_of_a_client_that_was_away(name: str) -> None:
    found = play(new(name, decoder_scope="same-task"), ToyFederation(PROFILES, absent={"b": {2, 3}}), range(1, 4))
    for group in ("encoder", "decoders.semseg", "decoders.edge"):
        rows = [row for row_name, row in found.items() if row_name.endswith(f"/{group}")]
        assert len(rows) > 1
        for row in rows:
            np.testing.assert_array_equal(row, rows[0])
    assert not np.array_equal(found["a/decoders.semseg"], found["c/decoders.edge"])


@pytest.mark.parametrize("name", NAMES)
def test_a_group_nobody_answered_for_keeps_its_model_and_its_state(name: str) -> None:
    strategy = new(name, decoder_scope="same-task")
    assert isinstance(strategy, ServerOptimiserStrategy)
    toys = ToyFederation(PROFILES, absent={"b": {2}, "c": {2}})
    before = play(strategy, toys, range(1, 2))
    edge = next(key for key in strategy.optimisers if key.endswith("/edge"))
    memory = strategy.optimisers[edge].m_d.copy()
    after = play(strategy, toys, range(2, 3))
    np.testing.assert_array_equal(strategy.optimisers[edge].m_d, memory)
    np.testing.assert_array_equal(after["c/decoders.edge"], before["c/decoders.edge"])
    assert not np.array_equal(after["c/encoder"], before["c/encoder"])


def test_same_task_decoders_have_a_state_each_and_all_decoders_have_one() -> None:
    apart, together = new("fedyogi", decoder_scope="same-task"), new("fedyogi")
    for strategy in (apart, together):
        play(strategy, ToyFederation(PROFILES), range(1, 2))
    assert isinstance(apart, ServerOptimiserStrategy)
    assert isinstance(together, ServerOptimiserStrategy)
    assert sorted(key.rpartition("/")[2] for key in apart.optimisers) == ["all", "edge", "semseg"]
    assert sorted(key.rpartition("/")[2] for key in together.optimisers) == ["all", "all"]
