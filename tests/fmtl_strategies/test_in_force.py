"""Parameters of strategies that are not chosen: refused where they were set, left alone where they are defaults."""

from __future__ import annotations

from typing import Any

import pytest

from fmtl.settings import default_settings
from fmtl_strategies.parameters import StrategyParameterError
from fmtl_strategies.registry import in_force, strategy_names
from server_app.config import effective_config, parse_run_config


@pytest.mark.parametrize("name", strategy_names())
def test_defaults_of_all_strategies_may_stand_beside_any(name: str) -> None:
    config, parameters = parse_run_config({**default_settings(), "strategy": name})
    assert config.strategy == name
    assert all(in_force(name, {}).reads(f"{name}.{key}") for key in parameters)


@pytest.mark.parametrize(
    ("values", "said"),
    [
        (
            {"strategy": "fedavg", "fedprox.mu": 0.1},
            r"fedprox\.mu = 0\.1 has no effect: strategy fedavg, .* reads fedavg\.<parameter> only\. Leave it out",
        ),
        ({"strategy": "fedavg", "fedprox.mu": -5.0}, r"fedprox\.mu = -5\.0: .* greater than or equal to 0"),
        ({"strategy": "fedavg", "fedprox.nu": 0.1}, r"unknown parameter fedprox\.nu"),
        (
            {"strategy": "feddea", "fedprox.mu": 0.1},
            r"fedprox\.mu = 0\.1 has .* feddea, .* reads feddea\.<parameter> and fedavg\.<parameter> only",
        ),
        (
            {"strategy": "feddea", "fedavg.weighting": "examples"},
            r"fedavg\.weighting = 'examples' has no effect: strategy feddea sets it to 'uniform' itself",
        ),
    ],
)
def test_parameter_that_the_strategy_does_not_read_is_refused_unless_at_its_default(
    values: dict[str, Any], said: str
) -> None:
    with pytest.raises(StrategyParameterError, match=said):
        parse_run_config({**default_settings(), **values})


def test_recorded_config_of_a_wrapping_strategy_is_read_back_with_what_it_imposes() -> None:
    config = effective_config(*parse_run_config({"strategy": "feddea", "feddea.weighting": "examples"}))
    assert config["fedavg.weighting"] == "examples"
    assert effective_config(*parse_run_config({**default_settings(), **config})) == config


def test_what_the_user_gave_is_refused_also_at_its_default() -> None:
    read = in_force("fedavg", {})
    read.refuse({"fedavg.weighting": "examples", "seed": 3})
    with pytest.raises(StrategyParameterError, match=r"fedprox\.mu = 0\.01 has no effect"):
        read.refuse({"fedprox.mu": 0.01})


def test_section_of_the_wrapped_strategy_follows_the_base() -> None:
    read = in_force("feddea", {"feddea.base": "fedprox"})
    assert read.reads("fedprox.mu")
    assert not read.reads("fedavg.decoder-scope")
    assert not read.reads("fedprox.decoder-scope"), "feddea sets it itself"
