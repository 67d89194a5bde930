"""FedHCA2's options, from the run config's words to the weights in the record."""

from typing import Any

import numpy as np
from toy_federation import ToyFederation, profile, settings

from fmtl_strategies.registry import make_strategy
from fmtl_strategies.round.base import PersonalizedStrategy

TASKS = {"a": "semseg", "b": "semseg", "c": "edge", "d": "edge"}


def family_update(client: str, group: str, server_round: int, size: int) -> np.ndarray:
    """Updates that agree among the clients of one task, with a little of their own."""
    common = np.random.default_rng([size, *TASKS[client].encode()]).standard_normal(size)
    own = np.random.default_rng([size, server_round, *client.encode()]).standard_normal(size)
    return (0.01 * common + 0.002 * own).astype(np.float32)


def played(**parameters: Any) -> PersonalizedStrategy:
    toys = ToyFederation([profile(client, [task]) for client, task in TASKS.items()], updates=family_update)
    strategy = make_strategy(
        "fedhca2", settings(rounds=3), {name.replace("_", "-"): v for name, v in parameters.items()}
    )
    toys.play(strategy, (1, 2, 3))
    return strategy


def entropies(strategy: PersonalizedStrategy) -> list[float]:
    return [value for name, value in strategy.record.diagnostics.items() if name.startswith("attention-entropy/")]


def test_cosine_scale_with_a_temperature_attends_where_the_published_scale_is_uniform() -> None:
    published = entropies(played(attention_scale="inv-sqrt-d"))
    cosine = entropies(played(attention_scale="cosine", attention_temperature=4.0))
    assert min(published) > 0.999
    assert min(cosine) < 0.8  # the array of 8 values; those of 2 can hardly tell the tasks apart
    assert max(cosine) < min(published)
    assert np.isfinite(entropies(played(attention_scale="raw"))).all()


def test_normalised_hyper_gradient_moves_alpha_and_beta_where_the_published_one_stands_still() -> None:
    def moved(strategy: PersonalizedStrategy) -> list[float]:
        weights = {n: v for n, v in strategy.record.diagnostics.items() if n.endswith("/alpha") or "/beta/" in n}
        assert len(weights) == 4 + 4 * 2
        return [abs(value - 0.1) for value in weights.values()]

    assert max(moved(played(hyper_gradient="inner-product"))) < 1e-3
    assert min(moved(played(hyper_gradient="cosine"))) > 1e-3
