"""Whose values a line of a sweep runs with: given in the file, ours, or those of a paper or public code."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from fmtl_datasets.scenarios.scenario import Scenario

from fmtl.settings import RunConfig
from fmtl_strategies.parameters import OriginKind, origin_kind
from fmtl_strategies.registry import make_strategy
from server_app.config import parse_run_config
from server_app.training_settings import training_setting_origins, training_settings

__all__ = ["Value", "by_kind", "values_of"]


@dataclass(frozen=True)
class Value:
    """A value of a line of the sweep.

    Attributes:
        name: `<strategy>.<parameter>`, or the name of a training setting.
        value: what the runs have.
        origin: where it comes from, as in result.json.
    """

    name: str
    value: object
    origin: str


def values_of(run_config: RunConfig, scenario: Scenario) -> tuple[Value, ...]:
    """Return every parameter of the strategy, and of the one it wraps, and every training setting.

    Args:
        run_config: of a line of the sweep; checked.
        scenario: of the sweep.
    """
    config, parameters = parse_run_config(run_config)
    strategy = make_strategy(config.strategy, config.round_settings("origins"), parameters)
    origins = strategy.origins()
    found = [
        Value(f"{section}.{name}", value, origins[section][name])
        for section, model in strategy.sections().items()
        for name, value in model.model_dump(by_alias=True).items()
    ]
    local_epochs = {client.name: client.local_epochs for client in scenario.clients}
    training = training_setting_origins(config, local_epochs)
    settings = training_settings(config, local_epochs)
    return (*found, *(Value(name, value, training[name]) for name, value in settings.items()))


def by_kind(values: tuple[Value, ...]) -> Mapping[OriginKind, dict[str, Any]]:
    """Return the values by name, sorted by whose they are."""
    kinds: dict[OriginKind, dict[str, Any]] = {"given": {}, "ours": {}, "source": {}, "imposed": {}}
    for value in values:
        kinds[origin_kind(value.origin)][value.name] = value.value
    return kinds
