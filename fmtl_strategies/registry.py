"""Strategies by name. `strategy = "..."` in the run config is looked up here."""

from __future__ import annotations

from collections.abc import Mapping

from fmtl_strategies.base import PersonalizedStrategy, RoundSettings
from fmtl_strategies.fedavg import FedAvg
from fmtl_strategies.fedhca2 import FedHCA2
from fmtl_strategies.fedper import FedPer
from fmtl_strategies.local import Local
from fmtl_strategies.parameters import parse_parameters

_STRATEGIES: dict[str, type[PersonalizedStrategy]] = {cls.name: cls for cls in (Local, FedAvg, FedPer, FedHCA2)}


class UnknownStrategyError(ValueError):
    """A strategy name that is not registered."""


def strategy_names() -> list[str]:
    """Return the names of all strategies, sorted."""
    return sorted(_STRATEGIES)


def strategy_class(name: str) -> type[PersonalizedStrategy]:
    """Return the class of a strategy; raises UnknownStrategyError, which lists the known names."""
    if name not in _STRATEGIES:
        raise UnknownStrategyError(f"unknown strategy {name!r}; known strategies: {', '.join(strategy_names())}")
    return _STRATEGIES[name]


def make_strategy(name: str, settings: RoundSettings, parameters: Mapping[str, object]) -> PersonalizedStrategy:
    """Return a strategy ready to run.

    Args:
        name: its name.
        settings: how rounds are run.
        parameters: its hyper-parameters by kebab-case name; those left out take their defaults.

    Raises:
        UnknownStrategyError: no strategy of that name.
        StrategyParameterError: unknown parameter or impossible value.
    """
    cls = strategy_class(name)
    return cls(settings, parse_parameters(name, cls.parameters_model, parameters))
