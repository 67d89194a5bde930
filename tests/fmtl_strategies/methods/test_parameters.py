"""Hyper-parameters of methods: impossible values are named, a strength of zero asks for plain training."""

from typing import Any

import pytest
from toy_federation import profile, settings

from fmtl_strategies.contract.rule import LocalRule, Personal
from fmtl_strategies.contract.settings import LocalSettings
from fmtl_strategies.parameters import StrategyParameterError
from fmtl_strategies.registry import make_strategy
from fmtl_strategies.settings import RunConfig


@pytest.mark.parametrize(
    ("strategy", "key", "value"),
    [
        ("cagrad", "c", 1.0),
        ("ditto", "lambda", -0.1),
        ("fedadam", "tau", 0.0),
        ("fedadam", "beta1", 1.0),
        ("fedadam", "beta2", -0.1),
        ("fedamp", "alpha", 1.5),
        ("fedamp", "alpha", 0),
        ("fedamp", "sigma", -1),
        ("fedamp", "self-weight", 2),
        ("feddea", "rho", 1.5),
        ("feddea", "rho", True),
        ("fedhca2", "attention-scale", "inner_product"),
        ("fedhca2", "attention-temperature", -1.0),
        ("fedhca2", "hyper-gradient", "inner_product"),
        ("fedhca2", "learning-rate", float("nan")),
        ("fedmtl", "relations", "graph"),
        ("fedmtl", "shrinkage", 0),
        ("fedprox", "form", "both"),
        ("fedprox", "mu", 1e10),
        ("fedprox", "mu", float("nan")),
        ("m-fed", "kappa", -1.0),
        ("mas", "look-ahead-every", 0),
        ("mas", "rule", "mixed"),
        ("mas", "splits", 0),
        ("mat-fl", "groups", 0),
        ("mat-fl", "threshold", -1.0),
    ],
)
def test_an_impossible_value_is_named(strategy: str, key: str, value: object) -> None:
    with pytest.raises(StrategyParameterError, match=rf"{strategy}\.{key}"):
        make_strategy(strategy, settings(), {key: value})


@pytest.mark.parametrize(
    ("strategy", "key", "rule"),
    [
        ("fedamp", "strength", LocalRule()),
        ("fedmtl", "strength", LocalRule()),
        ("fedprox", "mu", LocalRule()),
        ("ditto", "lambda", LocalRule(personal=Personal())),
    ],
)
def test_a_strength_of_zero_is_no_pull(strategy: str, key: str, rule: LocalRule) -> None:
    made = make_strategy(strategy, settings(), {key: 0.0})
    assert made.local_rule(profile("a", ["semseg"]), 1) == rule


@pytest.mark.parametrize(
    ("strategy", "key", "form", "most"),
    [
        ("fedamp", "strength", "pull-form", 500.0),
        ("fedmtl", "strength", "pull-form", 500.0),
        ("fedprox", "mu", "form", 250.0),
        ("m-fed", "lambda-max", "form", 250.0),
    ],
)
def test_a_decoupled_pull_beyond_its_anchor_is_refused_before_the_run(
    strategy: str, key: str, form: str, most: float
) -> None:
    # FedProx pulls decoders too, so the larger rate counts; M-Fed's pull is twice lambda.
    run = RunConfig(local=LocalSettings(total_rounds=2, encoder_learning_rate=2e-3, decoder_learning_rate=4e-3))
    beyond: dict[str, Any] = {key: 1.01 * most, form: "decoupled"}
    with pytest.raises(StrategyParameterError, match=rf"{strategy}\.{key}.* {most:g} "):
        make_strategy(strategy, run, beyond)
    make_strategy(strategy, run, {**beyond, key: 0.99 * most})
    make_strategy(strategy, run, {**beyond, form: "coupled"})
