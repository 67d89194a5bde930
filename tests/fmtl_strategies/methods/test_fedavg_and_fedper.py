"""FedAvg and FedPer against a plain restatement, through messages; others are compared with them to the bit."""

from collections.abc import Mapping, Sequence

import numpy as np
import pytest
from toy_federation import ToyFederation, profile, settings, start_of, update_of

from fmtl_strategies.registry import make_strategy
from fmtl_strategies.round.base import PersonalizedStrategy

# Three clients have several tasks, and different numbers of them.
CLIENTS = (
    profile("a", ["semseg"], examples=30),
    profile("b", ["semseg", "edge", "depth"], examples=10),
    profile("c", ["edge", "normals"], examples=50),
    profile("d", ["depth", "semseg", "edge", "normals"], examples=5),
)
EXAMPLES = {client.client: client.train_examples for client in CLIENTS}

Rows = dict[tuple[str, str], np.ndarray]


def new(name: str, **parameters: object) -> PersonalizedStrategy:
    return make_strategy(name, settings(rounds=9, quorum=0.1), {k.replace("_", "-"): v for k, v in parameters.items()})


def rows_of(strategy: PersonalizedStrategy) -> Rows:
    return {
        (name.partition("/")[0], name.partition("/")[2]): np.array(row, np.float64)
        for name, row in strategy.store.arrays().items()
    }


def restated(
    kinds: Sequence[str], rounds: int, away: Mapping[str, set[int]], *, per_task: bool, weighting: str
) -> Rows:
    """The rows after some rounds, in float64 by loops: every client gets the mean of what those present trained."""
    rows: Rows = {
        (one.client, group): start_of(group, layout.size).astype(np.float64)
        for one in CLIENTS
        for group, layout in one.groups.items()
        if group.partition(".")[0] in kinds
    }
    for number in range(1, rounds + 1):
        trained = {
            (client, group): row + update_of(client, group, number, row.size)
            for (client, group), row in rows.items()
            if number not in away.get(client, set())
        }
        for client, group in rows:
            kind = group.partition(".")[0]
            same = [key for key in trained if key[1] == group or (not per_task and key[1].partition(".")[0] == kind)]
            weights = [EXAMPLES[owner] if weighting == "examples" else 1 for owner, _ in same]
            if same:
                rows[client, group] = sum(w * trained[key] for w, key in zip(weights, same, strict=True)) / sum(weights)
    return rows


@pytest.mark.parametrize("weighting", ["uniform", "examples"])
@pytest.mark.parametrize("scope", ["all", "same-task"])
@pytest.mark.parametrize("away", [{}, {"a": {2}, "c": {1}}, {"b": {2}, "c": {2}, "d": {2}}])
def test_fedavg_is_the_mean_of_what_was_trained_task_blind_or_per_task(
    scope: str, weighting: str, away: dict[str, set[int]]
) -> None:
    strategy = new(
        "fedavg",
        decoder_scope=scope,
        weighting=weighting,
    )
    ToyFederation(CLIENTS, absent=away).play(strategy, range(1, 4))
    expected = restated(["encoder", "decoders"], 3, away, per_task=scope == "same-task", weighting=weighting)
    found = rows_of(strategy)
    assert found.keys() == expected.keys()
    for key, row in expected.items():
        np.testing.assert_allclose(found[key], row, rtol=1e-5, atol=1e-6, err_msg=str(key))


def test_clients_with_different_numbers_of_tasks_each_get_the_mean_in_every_decoder() -> None:
    """The published write-back divides by the first multi-task client's number of tasks, and so misses some rows."""
    strategy, toys = new("fedavg"), ToyFederation(CLIENTS)
    toys.play(strategy, [1, 2])
    groups = [(one.client, group) for one in CLIENTS for group in one.groups if group.startswith("decoders.")]
    start = [start_of(group, toys.received[client, 2][group].size) for client, group in groups]
    update = [update_of(client, group, 1, toys.received[client, 2][group].size) for client, group in groups]
    mean = np.mean(np.asarray(start, np.float64) + update, axis=0)
    assert len(groups) == 10
    for client, group in groups:
        np.testing.assert_allclose(toys.received[client, 2][group], mean, rtol=1e-5, err_msg=f"{client} {group}")


@pytest.mark.parametrize("weighting", ["uniform", "examples"])
def test_fedper_averages_encoders_and_asks_for_nothing_else(weighting: str) -> None:
    away = {"a": {2}, "c": {1}}
    strategy = new("fedper", weighting=weighting)
    toys = ToyFederation(CLIENTS, absent=away)
    toys.play(strategy, range(1, 4))
    expected = restated(["encoder"], 3, away, per_task=True, weighting=weighting)
    found = rows_of(strategy)
    assert found.keys() == expected.keys() == {(client, "encoder") for client in "abcd"}
    for key, row in expected.items():
        np.testing.assert_allclose(found[key], row, rtol=1e-5, atol=1e-6)
    assert all(set(sent) == {"encoder"} for sent in toys.received.values())


@pytest.mark.parametrize("name", ["fedavg", "fedper"])
def test_a_new_client_starts_from_the_common_model(name: str) -> None:
    strategy = new(name)
    ToyFederation(CLIENTS[:2]).play(strategy, [1])
    common = np.array(strategy.store.arrays()["a/encoder"])
    later = ToyFederation(CLIENTS)
    later.play(strategy, [2])
    np.testing.assert_allclose(later.received["d", 2]["encoder"], common, rtol=1e-6)


@pytest.mark.parametrize("name", ["fedavg", "fedprox", "ditto", "fedadam", "fedyogi", "fedadagrad", "fedavgm"])
@pytest.mark.parametrize("scope", ["all", "same-task"])
def test_a_client_with_a_new_task_starts_from_the_common_decoder_where_there_is_one(name: str, scope: str) -> None:
    """Its own random decoder would enter everybody's mean."""
    strategy = new(name, decoder_scope=scope)
    ToyFederation((profile("a", ["semseg"]), profile("b", ["depth"]))).play(strategy, [1])
    common = np.array(strategy.store.arrays()["a/decoders.semseg"])
    later = ToyFederation((profile("a", ["semseg"]), profile("b", ["depth"]), profile("c", ["normals"])))
    later.play(strategy, [2])
    started = later.received["c", 2]["decoders.normals"]
    expected = common if scope == "all" else start_of("decoders.normals", started.size)
    np.testing.assert_allclose(started, expected, rtol=1e-6)


def test_before_the_first_round_every_task_starts_from_its_own_decoder() -> None:
    strategy, toys = new("fedavg"), ToyFederation(CLIENTS)
    toys.play(strategy, [1])
    for (_, number), groups in toys.received.items():
        for group, flat in groups.items():
            assert number == 1
            np.testing.assert_array_equal(flat, start_of(group, flat.size))
