import itertools

import numpy as np
import pytest
from toy_federation import ToyFederation, profile, settings, update_of

from fmtl_strategies.methods.mat_fl import MaTFL
from fmtl_strategies.registry import make_strategy
from fmtl_strategies.round.store import RowKey

CLIENTS = "abcde"
SIZE = 16


def made(**values: object) -> MaTFL:
    strategy = make_strategy("mat-fl", settings(rounds=4), values)
    assert isinstance(strategy, MaTFL)
    return strategy


def federation(clients: str = CLIENTS, **changes: object) -> ToyFederation:
    return ToyFederation([profile(client, ["edge"]) for client in clients], **changes)  # type: ignore[arg-type]


def encoder(strategy: MaTFL, client: str) -> np.ndarray:
    return np.array(strategy.store.parameters(RowKey(client, "encoder")))


def trained(strategy: MaTFL, toys: ToyFederation, server_round: int, clients: str = CLIENTS) -> dict[str, np.ndarray]:
    """What each client has after training, in float64; call before the round."""
    make = toys.updates or update_of
    return {c: encoder(strategy, c).astype(np.float64) + make(c, "encoder", server_round, SIZE) for c in clients}


def cosine(one: np.ndarray, other: np.ndarray) -> float:
    return float(one @ other / np.sqrt((one @ one) * (other @ other)))


def restated(models: dict[str, np.ndarray], grouping: str, groups: int, threshold: float) -> dict[str, np.ndarray]:
    """The method as methods.md 1.7 states it, in float64 and by loops."""
    mean = np.mean(list(models.values()), axis=0)
    deviations = {client: model - mean for client, model in models.items()}
    if grouping == "soft":
        new = {}
        for i in models:
            shares = {j: max(cosine(deviations[i], deviations[j]) + threshold, 0.0) for j in models}
            total = max(sum(shares.values()), 1e-8)
            new[i] = np.sum([shares[j] / total * models[j] for j in models], axis=0)
        return new
    clusters = [[client] for client in models]
    while len(clusters) > groups:

        def distance(pair: tuple[int, int]) -> float:
            members = itertools.product(clusters[pair[0]], clusters[pair[1]])
            return float(np.mean([1 - cosine(deviations[i], deviations[j]) for i, j in members]))

        one, other = min(itertools.combinations(range(len(clusters)), 2), key=distance)
        clusters[one] += clusters.pop(other)
    return {i: np.mean([models[j] for j in cluster], axis=0) for cluster in clusters for i in cluster}


@pytest.mark.parametrize(
    ("grouping", "groups", "threshold"),
    [("hard", 1, 0.0), ("hard", 2, 0.0), ("hard", 3, 0.0), ("soft", 2, 0.0), ("soft", 2, 0.4), ("soft", 2, -0.3)],
)
def test_three_rounds_agree_with_the_method_in_float64(grouping: str, groups: int, threshold: float) -> None:
    strategy, toys = made(grouping=grouping, groups=groups, threshold=threshold), federation()
    strategy.enrol(toys.grid())
    for number in (1, 2, 3):
        expected = restated(trained(strategy, toys, number), grouping, groups, threshold)
        toys.play(strategy, [number])
        for client, row in expected.items():
            np.testing.assert_allclose(encoder(strategy, client), row, rtol=1e-5, atol=1e-6)


def two_camps(client: str, group: str, server_round: int, size: int) -> np.ndarray:
    """Clients a, c, e train towards one point and b, d towards the opposite one, each with a little of its own."""
    common = update_of("x", group, server_round, size)
    return (1 if client in "ace" else -1) * common + np.float32(0.01) * update_of(client, group, server_round, size)


def test_weights_are_compared_and_not_updates() -> None:
    strategy, toys = made(), federation(updates=two_camps)
    toys.play(strategy, [1])
    # Everybody now makes the same update: weights still say who belongs together, updates would say nothing.
    toys.updates = lambda _, group, number, size: update_of("x", group, number, size)
    toys.play(strategy, [2])
    assert [strategy.record.diagnostics[f"{c}/group"] for c in CLIENTS] == [0, 1, 0, 1, 0]


def test_equal_encoders_are_not_grouped_and_take_their_common_update() -> None:
    strategy = made()
    toys = federation(updates=lambda _, group, number, size: update_of("x", group, number, size))
    strategy.enrol(toys.grid())
    expected = encoder(strategy, "a") + update_of("x", "encoder", 1, SIZE)
    toys.play(strategy, [1])
    assert not any(name.endswith("/group") for name in strategy.record.diagnostics)
    for client in CLIENTS:
        np.testing.assert_array_equal(encoder(strategy, client), expected)


def test_one_client_exactly_at_the_mean_stands_alone_and_the_others_are_grouped() -> None:
    def around(client: str, group: str, number: int, size: int) -> np.ndarray:
        step = np.zeros(size, np.float32)
        step[:2] = {"a": (1, 0), "b": (1, 0.5), "c": (0, 0), "d": (-1, 0), "e": (-1, -0.5)}[client]
        return step

    strategy = made(groups=3)
    federation(updates=around).play(strategy, [1])
    assert [strategy.record.diagnostics[f"{c}/group"] for c in CLIENTS] == [0, 0, 1, 2, 2]


@pytest.mark.parametrize("clients", ["a", "ab", "abc"])
def test_no_more_clients_than_groups_means_local_training(clients: str) -> None:
    strategy, toys = made(groups=3), federation(clients)
    strategy.enrol(toys.grid())
    expected = trained(strategy, toys, 1, clients)
    toys.play(strategy, [1])
    for client in clients:
        np.testing.assert_allclose(encoder(strategy, client), expected[client], rtol=1e-6)


def test_an_absent_client_keeps_its_encoder_and_counts_for_nobody() -> None:
    strategy, toys = made(), federation(absent={"c": {2}})
    toys.play(strategy, [1])
    kept, models = encoder(strategy, "c"), trained(strategy, toys, 2, "abde")
    toys.play(strategy, [2])
    np.testing.assert_array_equal(encoder(strategy, "c"), kept)
    for client, row in restated(models, "hard", 2, 0.0).items():
        np.testing.assert_allclose(encoder(strategy, client), row, rtol=1e-5, atol=1e-6)
    toys.play(strategy, [3])
    assert "c/group" in strategy.record.diagnostics


def test_a_new_client_starts_from_the_mean_encoder_and_is_grouped_with_all() -> None:
    strategy = made()
    federation("abcd").play(strategy, [1])
    mean = np.mean([encoder(strategy, client) for client in "abcd"], axis=0)
    toys = federation()
    toys.play(strategy, [2])
    np.testing.assert_allclose(toys.received["e", 2]["encoder"], mean, rtol=1e-5, atol=1e-6)
    assert "e/group" in strategy.record.diagnostics
