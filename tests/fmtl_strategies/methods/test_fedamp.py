"""FedAMP: what is sent is a mix of encoders in which similar ones weigh more, and clients are really drawn to it."""

import math

import numpy as np
import pytest
from toy_federation import ENCODER, ToyFederation, profile, settings, start_of, update_of

from fmtl_strategies.contract.rule import LocalRule, Pull
from fmtl_strategies.registry import make_strategy
from fmtl_strategies.round.base import PersonalizedStrategy

CLIENTS = [profile(client, ["semseg"]) for client in "abcd"]
SIZE = ENCODER.size


def new(**parameters: object) -> PersonalizedStrategy:
    return make_strategy("fedamp", settings(rounds=9), {k.replace("_", "-"): v for k, v in parameters.items()})


def anchors(strategy: PersonalizedStrategy) -> dict[str, np.ndarray]:
    return {name.partition("/")[0]: np.array(row) for name, row in strategy.store.arrays().items()}


def trained(strategy: PersonalizedStrategy, number: int, clients: str = "abcd") -> list[np.ndarray]:
    """The models that toy clients have after a round: their anchor before it plus their update."""
    before = anchors(strategy)
    return [before[c].astype(float) + update_of(c, "encoder", number, SIZE) for c in clients]


def restated(models: list[np.ndarray], alpha: float, sigma: float) -> list[np.ndarray]:
    count = len(models)
    squares = {(i, j): float(((models[i] - models[j]) ** 2).sum()) for i in range(count) for j in range(count)}
    sigma = sigma or float(np.median([squares[i, j] for i in range(count) for j in range(i)]))
    mixed = []
    for i in range(count):
        xi = [alpha / (count - 1) * math.exp(-squares[i, j] / sigma) if j != i else 0.0 for j in range(count)]
        mixed.append((1 - sum(xi)) * models[i] + sum(x * model for x, model in zip(xi, models, strict=True)))
    return mixed


@pytest.mark.parametrize(("alpha", "sigma"), [(1.0, 0.0), (0.3, 0.0), (1.0, 0.002)])
def test_anchors_are_the_papers_mix_of_what_clients_have(alpha: float, sigma: float) -> None:
    strategy, toys = new(alpha=alpha, sigma=sigma), ToyFederation(CLIENTS)
    toys.play(strategy, [1])
    for number in (2, 3):
        expected = restated(trained(strategy, number), alpha, sigma)
        toys.play(strategy, [number])
        for client, row in zip("abcd", expected, strict=True):
            np.testing.assert_allclose(anchors(strategy)[client], row, rtol=0, atol=2e-6)


@pytest.mark.parametrize("cosine_of", ["weights", "deviations"])
def test_cosine_form_is_the_papers_softmax(cosine_of: str) -> None:
    strategy = new(form="cosine", cosine_of=cosine_of, cosine_sigma=4.0, self_weight=0.25)
    toys = ToyFederation(CLIENTS)
    toys.play(strategy, [1])
    models = trained(strategy, 2)
    compared = models if cosine_of == "weights" else [model - np.mean(models, axis=0) for model in models]
    toys.play(strategy, [2])
    for i, client in enumerate("abcd"):
        weights = [
            math.exp(4.0 * float(compared[i] @ c) / math.sqrt(float(compared[i] @ compared[i]) * float(c @ c)))
            for c in compared
        ]
        total = sum(w for j, w in enumerate(weights) if j != i)
        mix = [0.25 if j == i else 0.75 * w / total for j, w in enumerate(weights)]
        expected = sum(x * model for x, model in zip(mix, models, strict=True))
        np.testing.assert_allclose(anchors(strategy)[client], expected, rtol=0, atol=2e-6)


def test_nothing_overwrites_a_client_and_its_pull_is_lambda_over_alpha() -> None:
    strategy, toys = new(strength=3.0, alpha=0.5, pull_form="decoupled"), ToyFederation(CLIENTS)
    toys.play(strategy, [1])
    sent = anchors(strategy)["a"]
    toys.play(strategy, [2])
    assert toys.received["a", 2] == {}
    np.testing.assert_array_equal(toys.anchors["a", 2]["encoder"], sent)
    assert toys.rules["a", 2] == LocalRule(pull=Pull(strength=6.0, groups=("encoder",), form="decoupled"))


def test_first_round_and_equal_models_stay_where_they_are() -> None:
    strategy = new()
    ToyFederation(CLIENTS, updates=lambda *_: np.zeros(_[-1], np.float32)).play(strategy, [1, 2])
    for row in anchors(strategy).values():
        np.testing.assert_allclose(row, start_of("encoder", SIZE), rtol=0, atol=1e-6)
    assert strategy.record.diagnostics["a/anchor-distance"] == 0


def test_an_absent_client_keeps_its_anchor_and_the_others_mix_among_themselves() -> None:
    strategy, toys = new(), ToyFederation(CLIENTS, absent={"b": {2}})
    toys.play(strategy, [1])
    before, expected = anchors(strategy), restated(trained(strategy, 2, "acd"), 1.0, 0.0)
    toys.play(strategy, [2])
    after = anchors(strategy)
    np.testing.assert_array_equal(after["b"], before["b"])
    for client, row in zip("acd", expected, strict=True):
        np.testing.assert_allclose(after[client], row, rtol=0, atol=2e-6)


def test_a_new_client_starts_from_the_mean_of_the_anchors() -> None:
    strategy, later = new(), ToyFederation(CLIENTS)
    ToyFederation(CLIENTS[:3]).play(strategy, [1])
    expected = np.mean([anchors(strategy)[client].astype(float) for client in "abc"], axis=0)
    later.play(strategy, [2])
    np.testing.assert_allclose(later.anchors["d", 2]["encoder"], expected, rtol=0, atol=1e-6)
