"""Whose values a line of a sweep runs with: given in the file, ours, or those of a paper or public code."""

from __future__ import annotations

from typing import Any

from fmtl_datasets.scenarios.scenario import Scenario

from fmtl.settings import RunConfig
from fmtl_strategies.parameters import Origin
from fmtl_strategies.registry import make_strategy
from server_app.config import parse_run_config
from server_app.training_settings import training_setting_origins, training_settings

__all__ = ["values_by_origin"]


def values_by_origin(run_config: RunConfig, scenario: Scenario) -> dict[Origin, dict[str, Any]]:
    """Return every parameter of the strategy, and of the one it wraps, and every training setting, by whose it is.

    Args:
        run_config: of a line of the sweep; checked.
        scenario: of the sweep.
    """
    config, parameters = parse_run_config(run_config)
    strategy = make_strategy(config.strategy, config, parameters)
    found: dict[Origin, dict[str, Any]] = {"given": {}, "ours": {}, "paper": {}, "code": {}}
    origins = strategy.origins()
    for section, model in strategy.sections().items():
        for name, value in model.model_dump(by_alias=True).items():
            found[origins[section][name]][f"{section}.{name}"] = value
    local_epochs = {client.name: client.local_epochs for client in scenario.clients}
    of_training = training_setting_origins(config, local_epochs)
    for name, value in training_settings(config, local_epochs).items():
        found[of_training[name]][name] = value
    return found
