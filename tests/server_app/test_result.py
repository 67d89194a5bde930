"""result.json: where every value of a run comes from."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from toy_federation import ToyFederation, profile

from fmtl_strategies.parameters import origin_of
from server_app.app import run
from server_app.config import parse_run_config

CLIENTS = [profile("a", ["semseg"]), profile("b", ["semseg"])]


def result_of(folder: Path, **values: Any) -> dict[str, Any]:
    config, parameters = parse_run_config({"num-server-rounds": 1, "upload-format": "float32", **values})
    return run(ToyFederation(CLIENTS).grid(), config, parameters, folder)


def test_value_that_is_not_the_default_is_not_given_the_defaults_origin(tmp_path: Path) -> None:
    result = result_of(tmp_path / "run", strategy="fedamp", **{"fedamp.strength": 0.001, "fedamp.alpha": 1.0})
    origins = result["strategy_parameter_origins"]
    assert origins["strength"] == "given"
    assert origins["alpha"] == "code"
    assert origins.keys() == result["strategy_parameters"].keys()


def test_value_of_a_wrapped_strategy_that_was_given_says_so(tmp_path: Path) -> None:
    values = {"feddea.base": "fedprox", "feddea.weighting": "examples", "fedprox.mu": 0.5}
    origins = result_of(tmp_path / "run", strategy="feddea", **values)["strategy_parameter_origins"]
    assert origins["fedprox.mu"] == "given"
    assert origins["weighting"] == "given"
    assert origins["fedprox.weighting"] == "paper"


def test_training_settings_have_origins_too(tmp_path: Path) -> None:
    values = {"encoder-learning-rate": 0.01, "warmup-epochs": 0}
    result = result_of(tmp_path / "run", strategy="fedavg", **values)
    settings, origins = result["training_settings"], result["training_setting_origins"]
    assert settings == {
        "optimiser": "AdamW",
        "encoder-learning-rate": 0.01,
        "decoder-learning-rate": 0.002,
        "weight-decay": 0.0001,
        "schedule": "cosine",
        "warmup-epochs": 0,
        "local-epochs": 1,
    }
    assert origins.keys() == settings.keys()
    assert origins == {name: "given" if name == "encoder-learning-rate" else "ours" for name in settings}


def test_local_epochs_of_a_scenario_are_given(tmp_path: Path) -> None:
    clients = [CLIENTS[0], CLIENTS[1].model_copy(update={"local_epochs": 3})]
    config, parameters = parse_run_config({"strategy": "local", "num-server-rounds": 1})
    result = run(ToyFederation(clients).grid(), config, parameters, tmp_path / "run")
    assert result["training_settings"]["local-epochs"] == {"a": 1, "b": 3}
    assert result["training_setting_origins"]["local-epochs"] == "given"


@pytest.mark.parametrize(
    ("declared", "origin"),
    [
        ("ours", "ours"),
        ("ours; the paper is silent", "ours"),
        ("ours, as in FedHCA2's code", "ours"),
        ("paper; layer is ours", "paper"),
        ("FedHCA2's code", "code"),
        ("Reddi et al. 2021 (section 5)", "paper"),
        ("Flower's FedAdam; the paper tunes it", "code"),
    ],
)
def test_origins_are_sorted_by_whose_value_it_is(declared: str, origin: str) -> None:
    assert origin_of(declared) == origin
