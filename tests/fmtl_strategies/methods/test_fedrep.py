"""FedRep on the server: what is averaged, and what clients are told to do in which order."""

import numpy as np
import pytest
from toy_federation import ToyFederation, profile, settings, start_of, update_of

from fmtl_strategies.parameters import StrategyParameterError
from fmtl_strategies.registry import make_strategy
from fmtl_strategies.round.base import PersonalizedStrategy
from fmtl_strategies.round.store import RowKey

CLIENTS = [profile("a", ["edge"], examples=30), profile("b", ["depth"], examples=10), profile("c", ["edge", "depth"])]


def encoder(strategy: PersonalizedStrategy, client: str) -> np.ndarray:
    return np.array(strategy.store.parameters(RowKey(client, "encoder")))


def test_clients_train_what_is_personal_first_and_the_encoder_after_it() -> None:
    toys = ToyFederation(CLIENTS)
    toys.play(make_strategy("fedrep", settings(), {"head-passes": 10, "encoder-passes": 2}), [1])
    personal, shared = toys.rules["c", 1].phases
    assert (set(personal.kinds), personal.passes) == ({"decoders", "heads"}, 10)
    assert (set(shared.kinds), shared.passes) == ({"encoder"}, 2)


def test_only_the_encoder_travels_and_becomes_the_mean() -> None:
    strategy, toys = make_strategy("fedrep", settings(), {}), ToyFederation(CLIENTS)
    toys.play(strategy, [1])
    assert all(set(toys.received[client, 1]) == {"encoder"} for client in "abc")
    mean = start_of("encoder", 16) + sum(update_of(client, "encoder", 1, 16) for client in "abc") / 3
    for client in "abc":
        np.testing.assert_allclose(encoder(strategy, client), mean, rtol=1e-6)


def test_an_absent_client_gets_the_mean_of_the_others_and_a_new_one_starts_from_it() -> None:
    strategy = make_strategy("fedrep", settings(rounds=3), {})
    toys = ToyFederation(CLIENTS, absent={"b": {1}})
    toys.play(strategy, [1])
    mean = start_of("encoder", 16) + (update_of("a", "encoder", 1, 16) + update_of("c", "encoder", 1, 16)) / 2
    np.testing.assert_allclose(encoder(strategy, "b"), mean, rtol=1e-6)
    later = ToyFederation([*CLIENTS, profile("new", ["edge"])])
    later.play(strategy, [2])
    np.testing.assert_allclose(later.received["new", 2]["encoder"], mean, rtol=1e-6)


@pytest.mark.parametrize("name", ["head-passes", "encoder-passes"])
def test_both_parts_are_trained_in_every_round(name: str) -> None:
    with pytest.raises(StrategyParameterError, match=name):
        make_strategy("fedrep", settings(), {name: 0})
