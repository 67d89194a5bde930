"""Ditto on the server: FedAvg's means, and clients told to keep a personal model that is drawn to what arrives."""

from typing import Any

import numpy as np
import pytest
from toy_federation import ToyFederation, profile, settings, start_of, update_of

from fmtl_strategies.registry import make_strategy
from fmtl_strategies.round.base import PersonalizedStrategy

CLIENTS = (profile("a", ["semseg"]), profile("b", ["semseg", "edge"], examples=20), profile("c", ["edge"], examples=5))


def new(name: str = "ditto", **parameters: Any) -> PersonalizedStrategy:
    return make_strategy(name, settings(rounds=4), {key.replace("_", "-"): value for key, value in parameters.items()})


def test_clients_keep_a_personal_model_drawn_to_what_they_exchange_and_nothing_more_is_sent() -> None:
    toys = ToyFederation(CLIENTS)
    toys.play(new(**{"lambda": 0.7}), [1])
    for client in CLIENTS:
        key, rule = (client.client, 1), toys.rules[client.client, 1]
        groups = ["encoder", *(f"decoders.{task}" for task in sorted(client.task_names))]
        assert rule.personal is not None
        assert rule.personal.pull is not None
        assert sorted(rule.personal.pull.groups) == sorted(groups)
        assert (rule.personal.pull.strength, rule.personal.pull.form) == (0.7, "coupled")
        assert rule.pull is None
        assert sorted(toys.received[key]) == sorted(groups)
        assert not toys.anchors[key]


def test_the_final_scoring_asks_for_the_personal_model_too() -> None:
    strategy, toys = make_strategy("ditto", settings(rounds=1), {}), ToyFederation(CLIENTS)
    grid = toys.grid()
    toys.play(strategy, [1])
    messages = strategy.configure_evaluate(1, None, None, grid)  # type: ignore[arg-type]
    strategy.aggregate_evaluate(1, grid.send_and_receive(messages))
    assert all(toys.rules[client.client, 2].personal is not None for client in CLIENTS)


@pytest.mark.parametrize("scope", ["all", "same-task"])
@pytest.mark.parametrize("weighting", ["uniform", "examples"])
def test_the_common_model_is_fedavgs_to_the_bit(scope: str, weighting: str) -> None:
    found = []
    for name in ("ditto", "fedavg"):
        strategy = new(name, decoder_scope=scope, weighting=weighting)
        ToyFederation(CLIENTS, absent={"c": {2}}).play(strategy, [1, 2, 3])
        found.append(strategy.store.arrays())
    assert found[0].keys() == found[1].keys()
    for row, values in found[0].items():
        np.testing.assert_array_equal(values, found[1][row], err_msg=row)


def test_a_client_that_was_away_is_drawn_to_the_common_model_of_the_day_and_a_new_one_starts_from_it() -> None:
    strategy, size = new(), CLIENTS[0].groups["encoder"].size
    toys = ToyFederation(CLIENTS[:2], absent={"a": {1}})
    toys.play(strategy, [1, 2])
    expected = start_of("encoder", size).astype(np.float64) + update_of("b", "encoder", 1, size)
    np.testing.assert_allclose(toys.received["a", 2]["encoder"], expected, rtol=1e-6)
    later = ToyFederation(CLIENTS)
    later.play(strategy, [3])
    mean = expected + (update_of("a", "encoder", 2, size).astype(np.float64) + update_of("b", "encoder", 2, size)) / 2
    for client in "abc":
        np.testing.assert_allclose(later.received[client, 3]["encoder"], mean, rtol=1e-6)
