"""FedMTL: what is sent is the anchor of a quadratic regulariser over the relations of clients."""

import json
from pathlib import Path

import numpy as np
import pytest
from scipy.linalg import sqrtm
from toy_federation import ENCODER, ToyFederation, profile, settings, start_of, update_of

from client_app.round.local_round import Received
from fmtl_strategies.contract.rule import LocalRule, Pull, PullForm
from fmtl_strategies.contract.settings import LocalSettings
from fmtl_strategies.parameters import StrategyParameterError
from fmtl_strategies.registry import make_strategy
from fmtl_strategies.round.base import PersonalizedStrategy
from fmtl_strategies.settings import RunConfig
from tests.support import tiny_client as tiny

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
def test_the_regulariser_draws_together_and_never_to_minus_the_sum_of_the_others(relations: str) -> None:
    """Public code starts Omega from a matrix of ones: its term is the square of the sum of all models."""
    strategy, toys = new(relations=relations), ToyFederation(CLIENTS)
    toys.play(strategy, [1])
    models = trained(strategy, 2)
    toys.play(strategy, [2])
    mean = np.mean(models, axis=0)
    for client in "abcd":
        away = np.linalg.norm(anchors(strategy)[client] - mean)
        assert away < 3 * max(np.linalg.norm(model - mean) for model in models)
        assert away < 0.1 * np.linalg.norm(anchors(strategy)[client] + mean)


@pytest.mark.parametrize("relations", ["mean", "learned"])
def test_first_round_and_equal_models_stay_where_they_are(relations: str) -> None:
    strategy = new(relations=relations, strength=1.0)
    toys = ToyFederation(CLIENTS, updates=lambda *_: np.zeros(_[-1], np.float32))
    toys.play(strategy, [1, 2])
    for row in anchors(strategy).values():
        np.testing.assert_allclose(row, start_of("encoder", SIZE), rtol=0, atol=1e-6)
    assert pull_of(toys, "a", 1) == 0.75


def test_common_change_of_all_clients_leaves_their_relations_as_they_were() -> None:
    found = []
    for common in (0.0, 5.0):
        strategy = new(relations="learned")
        ToyFederation(
            CLIENTS, updates=lambda c, g, n, size, add=common: update_of(c, g, n, size) + np.float32(add)
        ).play(strategy, [1])
        found.append([strategy.record.diagnostics[f"{client}/self-relation"] for client in "abcd"])
    np.testing.assert_allclose(found[0], found[1], rtol=1e-3)


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


def test_a_restarted_server_sends_the_same_strengths() -> None:
    before, after = new(relations="learned"), new(relations="learned")
    ToyFederation(CLIENTS).play(before, [1])
    arrays, values = before.state()
    after.load_state(dict(arrays), json.loads(json.dumps(values)))
    straight, resumed = ToyFederation(CLIENTS), ToyFederation(CLIENTS)
    straight.play(before, [2])
    resumed.play(after, [2])
    assert straight.rules == resumed.rules
    assert len({pull_of(resumed, client, 2) for client in "abcd"}) == 4


def test_without_strength_clients_train_as_if_alone() -> None:
    toys = ToyFederation(CLIENTS)
    toys.play(new(strength=0.0), [1, 2])
    assert toys.rules["a", 2] == LocalRule()


@pytest.mark.parametrize(("name", "value"), [("shrinkage", 0), ("strength", -1), ("relations", "graph")])
def test_impossible_values_are_refused(name: str, value: object) -> None:
    with pytest.raises(StrategyParameterError, match=rf"fedmtl\.{name} = "):
        make_strategy("fedmtl", settings(), {name: value})


@pytest.mark.parametrize("form", ["coupled", "decoupled"])
def test_clients_are_drawn_to_their_anchor_and_lambda_decides_how_far(tmp_path: Path, form: PullForm) -> None:
    """In public code the term has no gradient and FedMTL is Local, whatever the factor."""
    ends = {}
    for strength in (0.0, 1.0, 100.0):
        client = tiny.participant(tmp_path / str(strength))
        strategy = new(strength=strength, pull_form=form)
        strategy.load_method_state({}, {"self_relations": {"tiny": 0.75}})
        rule = strategy.local_rule(client.profile(tiny.settings()), 2)
        expected = Pull(strength=0.75 * strength, groups=("encoder",), form=form) if strength else None
        assert rule == LocalRule(pull=expected)
        anchor = 1.1 * client.initial(tiny.settings(), ["encoder"])["encoder"]
        client.train(tiny.instruction(1), Received())
        answer = client.train(tiny.instruction(2, rule=rule), Received(anchors={"encoder": anchor}))
        ends[strength] = float(np.linalg.norm(answer.updates["encoder"]))
    assert ends[100.0] < ends[1.0] < ends[0.0]


def test_a_decoupled_pull_beyond_the_anchor_is_refused_before_the_run() -> None:
    said = r"fedmtl\.strength = 900 with fedmtl\.pull-form = 'decoupled'.*Set fedmtl\.strength to 500 or less"
    local = LocalSettings(total_rounds=2, encoder_learning_rate=2e-3, decoder_learning_rate=1.0)
    with pytest.raises(StrategyParameterError, match=said):
        make_strategy("fedmtl", RunConfig(local=local), {"strength": 900.0, "pull-form": "decoupled"})
    make_strategy("fedmtl", RunConfig(local=local), {"strength": 499.0, "pull-form": "decoupled"})
    make_strategy("fedmtl", RunConfig(local=local), {"strength": 900.0, "pull-form": "coupled"})
