"""What PCGrad, CAGrad and FedBone have in common: one model for all, made of the mean and one combined update."""

from typing import Any

import numpy as np
import pytest
from encoder_pools import decoder_pool, encoder_pool
from toy_federation import ToyFederation, profile, settings, start_of

from fmtl_strategies.registry import make_strategy
from fmtl_strategies.round.base import PersonalizedStrategy
from fmtl_strategies.round.store import RowKey

NAMES = ["pcgrad", "cagrad", "fedbone"]
SCALES = [1e-6, 1e-3, 1e3]


def new(name: str, seed: int = 0, **parameters: Any) -> PersonalizedStrategy:
    named = {key.replace("_", "-"): value for key, value in parameters.items()}
    return make_strategy(name, settings(rounds=9, seed=seed), named)


def updates_like(count: int, size: int, seed: int = 0) -> np.ndarray:
    generator = np.random.default_rng(seed)
    lengths = 10.0 ** generator.uniform(-1, 1, size=(count, 1))
    return (lengths * generator.standard_normal((count, size))).astype(np.float32)


def combined(strategy: PersonalizedStrategy, updates: np.ndarray, server_round: int = 1) -> np.ndarray:
    """The combined update: what everybody gets where all parameters are zero."""
    pool = encoder_pool(np.zeros_like(updates), updates)
    strategy.aggregate_pool(pool, server_round)
    np.testing.assert_array_equal(pool.parameters_nd, np.tile(pool.parameters_nd[0], (len(updates), 1)))
    return np.array(pool.parameters_nd[0])


@pytest.mark.parametrize("name", NAMES)
def test_different_encoders_start_from_their_mean_as_under_fedper(name: str) -> None:
    parameters = np.random.default_rng(2).standard_normal((4, 30))
    pool, fedper = encoder_pool(parameters, np.zeros((4, 30))), encoder_pool(parameters, np.zeros((4, 30)))
    new(name).aggregate_pool(pool, 1)
    new("fedper").aggregate_pool(fedper, 1)
    np.testing.assert_allclose(pool.parameters_nd, fedper.parameters_nd, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", ["pcgrad", "fedbone"])
def test_without_conflicts_everybody_gets_what_fedper_gives(name: str) -> None:
    parameters, updates = np.random.default_rng(3).standard_normal((4, 30)), np.abs(updates_like(4, 30))
    pool, fedper = encoder_pool(parameters, updates), encoder_pool(parameters, updates)
    found = new(name).aggregate_pool(pool, 1)
    new("fedper").aggregate_pool(fedper, 1)
    np.testing.assert_allclose(pool.parameters_nd, fedper.parameters_nd, rtol=1e-5, atol=1e-5)
    assert found["conflicting-pairs"] == 0.0


@pytest.mark.parametrize("name", NAMES)
def test_a_single_client_keeps_its_direction(name: str) -> None:
    updates = updates_like(1, 20)
    found = combined(new(name), updates)
    factor = 1.4 / 1.16 if name == "cagrad" else 1.0
    np.testing.assert_allclose(found, factor * updates[0], rtol=1e-5)


@pytest.mark.parametrize("name", NAMES)
def test_many_clients_in_few_dimensions_stay_finite_and_no_longer_than_the_longest(name: str) -> None:
    strategy = new(name)
    for server_round in (1, 2, 3):
        updates = updates_like(24, 3, seed=server_round)
        found = combined(strategy, updates, server_round)
        assert np.isfinite(found).all()
        assert np.linalg.norm(found) <= 2 * np.linalg.norm(updates, axis=1).max()


@pytest.mark.parametrize("name", NAMES)
def test_who_was_away_follows_the_common_model(name: str) -> None:
    pool = encoder_pool(np.zeros((2, 5)), updates_like(2, 5), away=["z"])
    new(name).aggregate_pool(pool, 1)
    assert pool.follow == {RowKey("z", "encoder"): 0}


@pytest.mark.parametrize("name", NAMES)
def test_absent_vanished_and_new_clients_end_with_the_one_encoder(name: str) -> None:
    strategy, clients = new(name), [profile(client, ["semseg"]) for client in "abc"]
    ToyFederation(clients[:2], absent={"b": {2}}).play(strategy, [1, 2])
    rows = {k: np.array(v) for k, v in strategy.store.arrays().items()}
    np.testing.assert_array_equal(rows["a/encoder"], rows["b/encoder"])
    later = ToyFederation(clients)
    later.play(strategy, [3])
    np.testing.assert_array_equal(later.received["c", 3]["encoder"], rows["a/encoder"])
    found = strategy.store.arrays()
    for client in "bc":
        np.testing.assert_array_equal(found[f"{client}/encoder"], found["a/encoder"])


@pytest.mark.parametrize("name", ["pcgrad", "cagrad"])
def test_decoders_of_one_task_may_follow_the_same_rule(name: str) -> None:
    parameters, updates = np.zeros((4, 30)), updates_like(4, 30)
    strategy = new(name, decoder_scope="same-task")
    pool = decoder_pool(parameters, updates, ["edge", "semseg", "edge", "semseg"])
    found = strategy.aggregate_pool(pool, 1)
    for members in ([0, 2], [1, 3]):
        # Two rows: there is only one order, so the rule gives the same as among encoders.
        expected = combined(new(name), updates[members])
        np.testing.assert_allclose(pool.parameters_nd[members], np.tile(expected, (2, 1)), rtol=1e-4, atol=1e-6)
    assert {"edge/conflicting-pairs", "semseg/conflicting-pairs"} <= found.keys()

    clients = [profile("a", ["semseg"]), profile("b", ["semseg", "edge"])]
    strategy = new(name, decoder_scope="same-task")
    ToyFederation(clients).play(strategy, [1, 2])
    rows = strategy.store.arrays()
    np.testing.assert_array_equal(rows["a/decoders.semseg"], rows["b/decoders.semseg"])
    assert not np.array_equal(rows["b/decoders.edge"], start_of("decoders.edge", rows["b/decoders.edge"].size))
    assert not any("heads" in row for row in rows)
