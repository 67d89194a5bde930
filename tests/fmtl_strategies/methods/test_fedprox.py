"""FedProx on the server: FedAvg's means, and the proximal term that clients are told to add."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from toy_federation import ToyFederation, profile, settings, start_of, update_of

from fmtl_strategies.registry import make_strategy
from fmtl_strategies.round.base import PersonalizedStrategy

CLIENTS = (profile("a", ["semseg"]), profile("b", ["semseg", "edge"], examples=20), profile("c", ["edge"], examples=5))
TINY = Path(__file__).parents[2] / "support/tiny.yaml"


def new(name: str = "fedprox", **parameters: Any) -> PersonalizedStrategy:
    return make_strategy(name, settings(rounds=4), {key.replace("_", "-"): value for key, value in parameters.items()})


def test_clients_are_told_to_pull_what_they_exchange_and_nothing_more_is_sent() -> None:
    toys = ToyFederation(CLIENTS)
    toys.play(new(mu=0.3, form="decoupled"), [1])
    for client in CLIENTS:
        key, rule = (client.client, 1), toys.rules[client.client, 1]
        groups = ("encoder", *(f"decoders.{task}" for task in client.task_names))
        assert rule.pull is not None
        assert sorted(rule.pull.groups) == sorted(groups)
        assert (rule.pull.strength, rule.pull.form, rule.personal) == (0.3, "decoupled", None)
        assert sorted(toys.received[key]) == sorted(groups)
        assert not toys.anchors[key]


@pytest.mark.parametrize("scope", ["all", "same-task"])
@pytest.mark.parametrize("weighting", ["uniform", "examples"])
def test_the_servers_half_is_fedavgs_to_the_bit(scope: str, weighting: str) -> None:
    found = []
    for name in ("fedprox", "fedavg"):
        strategy = new(name, decoder_scope=scope, weighting=weighting)
        ToyFederation(CLIENTS, absent={"b": {2}}).play(strategy, [1, 2, 3])
        found.append(strategy.store.arrays())
    assert found[0].keys() == found[1].keys()
    for row, values in found[0].items():
        np.testing.assert_array_equal(values, found[1][row], err_msg=row)


def test_a_client_that_was_away_is_drawn_to_the_common_mean_and_a_new_one_starts_from_it() -> None:
    strategy, size = new(mu=0.5), CLIENTS[0].groups["encoder"].size
    toys = ToyFederation(CLIENTS[:2], absent={"b": {1}})
    toys.play(strategy, [1, 2])
    expected = start_of("encoder", size).astype(np.float64) + update_of("a", "encoder", 1, size)
    for client in "ab":
        np.testing.assert_allclose(toys.received[client, 2]["encoder"], expected, rtol=1e-6)
    both = ToyFederation(CLIENTS)
    both.play(strategy, [3])
    mean = expected + (update_of("a", "encoder", 2, size).astype(np.float64) + update_of("b", "encoder", 2, size)) / 2
    for client in "abc":
        np.testing.assert_allclose(both.received[client, 3]["encoder"], mean, rtol=1e-6)
        assert both.rules[client, 3].pull is not None
