"""FedMTL: what is sent is the anchor of a quadratic regulariser over the relations of clients."""

import numpy as np
import pytest
from scipy.linalg import sqrtm
from toy_federation import ENCODER, ToyFederation, profile, settings, start_of, update_of

from fmtl_strategies.contract.rule import LocalRule
from fmtl_strategies.registry import make_strategy
from fmtl_strategies.round.base import PersonalizedStrategy

CLIENTS = [profile(client, ["semseg"]) for client in "abcd"]
SIZE = ENCODER.size


def new(**parameters: object) -> PersonalizedStrategy:
    return make_strategy("fedmtl", settings(rounds=9), {k.replace("_", "-"): v for k, v in parameters.items()})


def anchors(strategy: PersonalizedStrategy) -> dict[str, np.ndarray]:
    return {name.partition("/")[0]: np.array(row) for name, row in strategy.store.arrays().items()}


def trained(strategy: PersonalizedStrategy, number: int, clients: str = "abcd") -> list[np.ndarray]:
    """The models that toy clients have after a round: their anchor before it plus their update."""
    before = anchors(strategy)
    return [before[c].astype(float) + update_of(c, "encoder", number, SIZE) for c in clients]


def learned(models: list[np.ndarray], shrinkage: float) -> np.ndarray:
    count = len(models)
    deviations = np.stack(models, axis=1) - np.mean(models, axis=0)[:, None]
    root = np.real(sqrtm(deviations.T @ deviations + 1e-18 * np.eye(count)))
    projection = np.eye(count) - np.ones((count, count)) / count
    return np.linalg.pinv((1 - shrinkage) * (count - 1) * root / np.trace(root) + shrinkage * projection, rcond=1e-4)


def pull_of(toys: ToyFederation, client: str, number: int) -> float:
    pull = toys.rules[client, number].pull
    assert pull is not None
    assert pull.groups == ("encoder",)
    return pull.strength


def test_under_mean_relations_everybody_is_drawn_to_the_mean_of_the_others() -> None:
    strategy, toys = new(strength=2.0), ToyFederation(CLIENTS)
    toys.play(strategy, [1])
    models = trained(strategy, 2)
    toys.play(strategy, [2, 3])
    for i, client in enumerate("abcd"):
        expected = sum(model for j, model in enumerate(models) if j != i) / 3
        np.testing.assert_allclose(toys.anchors[client, 3]["encoder"], expected, rtol=0, atol=1e-6)
        assert toys.received[client, 3] == {}
        assert pull_of(toys, client, 3) == 2.0 * (1 - 1 / 4)


def test_learned_relations_decide_anchor_and_strength_of_every_client() -> None:
    strategy, toys = new(strength=2.0, relations="learned", shrinkage=0.2), ToyFederation(CLIENTS)
    toys.play(strategy, [1])
    models = trained(strategy, 2)
    omega = learned(models, 0.2)
    toys.play(strategy, [2, 3])
    for i, client in enumerate("abcd"):
        expected = -sum(omega[i, j] * model for j, model in enumerate(models) if j != i) / omega[i, i]
        np.testing.assert_allclose(toys.anchors[client, 3]["encoder"], expected, rtol=0, atol=1e-5)
        assert pull_of(toys, client, 3) == pytest.approx(2.0 * omega[i, i], rel=1e-4)
    assert len({pull_of(toys, client, 3) for client in "abcd"}) == 4


@pytest.mark.parametrize("relations", ["mean", "learned"])
def test_first_round_and_equal_models_stay_where_they_are(relations: str) -> None:
    strategy = new(relations=relations, strength=1.0)
    toys = ToyFederation(CLIENTS, updates=lambda *_: np.zeros(_[-1], np.float32))
    toys.play(strategy, [1, 2])
    for row in anchors(strategy).values():
        np.testing.assert_allclose(row, start_of("encoder", SIZE), rtol=0, atol=1e-6)
    assert pull_of(toys, "a", 1) == 0.75


@pytest.mark.parametrize("relations", ["mean", "learned"])
def test_an_absent_client_keeps_anchor_and_strength_and_the_others_are_related_among_themselves(
    relations: str,
) -> None:
    strategy, toys = new(relations=relations, strength=1.0), ToyFederation(CLIENTS, absent={"b": {2}})
    toys.play(strategy, [1])
    before, models = anchors(strategy), trained(strategy, 2, "acd")
    tied = strategy.state()[1]["method"]["self_relations"]["b"]
    omega = np.eye(3) - 1 / 3 if relations == "mean" else learned(models, 0.1)
    toys.play(strategy, [2, 3])
    np.testing.assert_array_equal(toys.anchors["b", 3]["encoder"], before["b"])
    assert pull_of(toys, "b", 3) == tied
    for i, client in enumerate("acd"):
        expected = -sum(omega[i, j] * models[j] for j in range(3) if j != i) / omega[i, i]
        np.testing.assert_allclose(toys.anchors[client, 3]["encoder"], expected, rtol=0, atol=1e-5)
        assert pull_of(toys, client, 3) == pytest.approx(omega[i, i], rel=1e-4)


def test_a_client_that_answers_alone_is_its_own_anchor_and_then_not_pulled() -> None:
    strategy, toys = new(), ToyFederation(CLIENTS[:2], absent={"b": {2}})
    strategy.settings = settings(rounds=9, quorum=0.1)
    toys.play(strategy, [1])
    expected = trained(strategy, 2, "a")[0]
    toys.play(strategy, [2, 3])
    np.testing.assert_allclose(toys.anchors["a", 3]["encoder"], expected, rtol=0, atol=1e-6)
    assert toys.rules["a", 3] == LocalRule()


def test_a_new_client_starts_from_the_mean_of_the_anchors_and_is_tied_to_it() -> None:
    strategy, later = new(strength=1.0), ToyFederation(CLIENTS)
    ToyFederation(CLIENTS[:3]).play(strategy, [1])
    expected = np.mean([anchors(strategy)[client].astype(float) for client in "abc"], axis=0)
    later.play(strategy, [2])
    np.testing.assert_allclose(later.anchors["d", 2]["encoder"], expected, rtol=0, atol=1e-6)
    assert pull_of(later, "d", 2) == 1 - 1 / 4
    assert pull_of(later, "a", 2) == 1 - 1 / 3
