"""Strategies by name. `strategy = "..."` in the run config is looked up here.

A name with a colon, `my_module:MyStrategy`, is a class outside this project.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import NamedTuple

from fmtl_strategies.building_blocks.wrapping import WrappingParameters, WrappingStrategy
from fmtl_strategies.contract.settings import correction
from fmtl_strategies.outside import UnknownStrategyError as UnknownStrategyError
from fmtl_strategies.outside import is_outside as is_outside
from fmtl_strategies.outside import outside_class, recorded_source
from fmtl_strategies.parameters import (
    StrategyParameterError,
    StrategyParameters,
    parse_parameter_text,
    parse_parameters,
)
from fmtl_strategies.round.base import PersonalizedStrategy
from fmtl_strategies.settings import RunConfig

_STRATEGIES = {
    "cagrad": "fmtl_strategies.methods.cagrad:CAGrad",
    "ditto": "fmtl_strategies.methods.ditto:Ditto",
    "fedadagrad": "fmtl_strategies.methods.fedadagrad:FedAdagrad",
    "fedadam": "fmtl_strategies.methods.fedadam:FedAdam",
    "fedamp": "fmtl_strategies.methods.fedamp:FedAMP",
    "fedavg": "fmtl_strategies.methods.fedavg:FedAvg",
    "fedavgm": "fmtl_strategies.methods.fedavgm:FedAvgM",
    "fedbone": "fmtl_strategies.methods.fedbone:FedBone",
    "feddea": "fmtl_strategies.methods.feddea:FedDEA",
    "fedhca2": "fmtl_strategies.methods.fedhca2:FedHCA2",
    "fedmtl": "fmtl_strategies.methods.fedmtl:FedMTL",
    "fedper": "fmtl_strategies.methods.fedper:FedPer",
    "fedprox": "fmtl_strategies.methods.fedprox:FedProx",
    "fedrep": "fmtl_strategies.methods.fedrep:FedRep",
    "fedyogi": "fmtl_strategies.methods.fedyogi:FedYogi",
    "local": "fmtl_strategies.methods.local:Local",
    "m-fed": "fmtl_strategies.methods.m_fed:MFed",
    "mas": "fmtl_strategies.methods.mas:MAS",
    "mat-fl": "fmtl_strategies.methods.mat_fl:MaTFL",
    "pcgrad": "fmtl_strategies.methods.pcgrad:PCGrad",
}


def strategy_names() -> list[str]:
    """Return the names of all strategies of this project, sorted."""
    return sorted(_STRATEGIES)


def strategy_class(name: str) -> type[PersonalizedStrategy]:
    """Return the class of a strategy.

    Args:
        name: a registered name, or `module:Class` for a class that Python can import.

    Raises:
        UnknownStrategyError: no strategy of that name, or nothing to import under it.
    """
    if is_outside(name):
        return outside_class(name, _STRATEGIES)
    if name not in _STRATEGIES:
        near = correction(name, _STRATEGIES)
        hint = f"did you mean {near}?" if near else "`fmtl strategies` lists them; module:Class is one of your own"
        raise UnknownStrategyError(f"unknown strategy {name!r}; {hint}")
    module, _, attribute = _STRATEGIES[name].partition(":")
    found: type[PersonalizedStrategy] = getattr(importlib.import_module(module), attribute)
    return found


def strategy_source(name: str) -> dict[str, str] | None:
    """Return what tells the code of a strategy outside this project from an edited one.

    Args:
        name: a registered name, or `module:Class`.

    Returns:
        `file`, the name of the file that defines the class, and its `sha256`; other files that it imports are not
        looked at. None for a strategy of this project.

    Raises:
        UnknownStrategyError: no strategy of that name, or its file cannot be read.
    """
    cls = strategy_class(name)
    return recorded_source(cls) if is_outside(name) else None


def check_parameters(name: str, parameters: Mapping[str, object]) -> StrategyParameters:
    """Check the hyper-parameters given for a strategy.

    Args:
        name: its name, or `module:Class`.
        parameters: values by kebab-case name; those left out take their defaults.

    Raises:
        UnknownStrategyError: no strategy of that name.
        StrategyParameterError: unknown parameter or impossible value.
    """
    cls = strategy_class(name)
    try:
        return parse_parameters(cls.name, cls.parameters_model, parameters)
    except StrategyParameterError as error:
        raise StrategyParameterError(f"{error}; `fmtl settings {name}` prints what each parameter takes") from error


def check_sections(name: str, parameters: Mapping[str, object]) -> dict[str, StrategyParameters]:
    """Check the hyper-parameters of a strategy and of the one it wraps.

    Args:
        name: its name, or `module:Class`.
        parameters: values by kebab-case name; for a strategy that wraps another, those of strategies that it may wrap
            as `<strategy>.<parameter>`. Of these only the wrapped one's count.

    Returns:
        Parameters in force by name of the strategy: its own, and those of the wrapped one with what is imposed on it.

    Raises:
        UnknownStrategyError, StrategyParameterError: as `check_parameters`.
    """
    cls = strategy_class(name)
    if not issubclass(cls, WrappingStrategy):
        return {cls.name: check_parameters(name, parameters)}
    own = check_parameters(name, {key: value for key, value in parameters.items() if "." not in key})
    assert isinstance(own, WrappingParameters)
    base, imposed = own.wraps()
    prefix = f"{base}."
    given = {key.removeprefix(prefix): value for key, value in parameters.items() if key.startswith(prefix)}
    return {cls.name: own, base: check_parameters(base, {**given, **imposed})}


def make_strategy(name: str, settings: RunConfig, parameters: Mapping[str, object]) -> PersonalizedStrategy:
    """Return a strategy ready to run.

    Args:
        name: its name, or `module:Class`.
        settings: of the run.
        parameters: its hyper-parameters by kebab-case name; those left out take their defaults.

    Raises:
        UnknownStrategyError: no strategy of that name.
        StrategyParameterError: unknown parameter or impossible value.
    """
    cls = strategy_class(name)
    own, *others = check_sections(name, parameters).items()
    if not issubclass(cls, WrappingStrategy):
        return cls(settings, own[1])
    base, base_parameters = others[0]
    return cls(settings, own[1], strategy_class(base)(settings, base_parameters))


class InForce(NamedTuple):
    """What a strategy reads.

    Attributes:
        sections: its own section, and that of the strategy it wraps.
        imposed: values it sets itself in the section of the strategy it wraps, by run-config key.
    """

    strategy: str
    sections: tuple[str, ...]
    imposed: Mapping[str, object] = {}

    def reads(self, key: str) -> bool:
        """Whether the value of a key `<section>.<parameter>` can change the run."""
        return key.partition(".")[0] in self.sections and key not in self.imposed

    def refuse(self, values: Mapping[str, object], *, but_defaults: bool = False) -> None:
        """Refuse values that the strategy does not read.

        Args:
            values: values by run-config key; keys without a dot are no strategy's.
            but_defaults: let defaults pass, as where they and what the user has set are merged: Flower does that.

        Raises:
            StrategyParameterError: names the key, the strategy, and the sections it reads; or says what is wrong with
                a value of another strategy, where those are compared with their defaults.
        """
        for key, value in values.items():
            if "." not in key or self.reads(key):
                continue
            if not but_defaults or (self.imposed.get(key) != value and not _is_default(key, value)):
                raise StrategyParameterError(self._why(key, value))

    def _why(self, key: str, value: object) -> str:
        if key in self.imposed:
            return (
                f"{key} = {value!r} has no effect: strategy {self.strategy} sets it to {self.imposed[key]!r} itself. "
                f"Leave it out; `fmtl settings {self.strategy}` prints what can be set"
            )
        sections = " and ".join(f"{section}.<parameter>" for section in self.sections)
        return (
            f"{key} = {value!r} has no effect: strategy {self.strategy}, as it is set, reads {sections} only. "
            f"Leave it out, or choose the strategy it belongs to"
        )


def in_force(strategy: str, values: Mapping[str, object]) -> InForce:
    """Return what a strategy reads of a run config.

    Args:
        strategy: its name, or `module:Class`.
        values: the run config by key; of a strategy that wraps another, its own parameters say which.

    Raises:
        UnknownStrategyError: no strategy of that name.
        StrategyParameterError: a parameter of a strategy that wraps another does not exist or is impossible.
    """
    cls = strategy_class(strategy)
    if not issubclass(cls.parameters_model, WrappingParameters):
        return InForce(strategy, (cls.name,))
    prefix = f"{cls.name}."
    own: dict[str, object] = {**parse_parameter_text(str(values.get("strategy-parameters", "")))}
    own |= {key.removeprefix(prefix): value for key, value in values.items() if key.startswith(prefix)}
    checked = check_parameters(strategy, own)
    assert isinstance(checked, WrappingParameters)
    base, imposed = checked.wraps()
    return InForce(strategy, (cls.name, base), {f"{base}.{name}": value for name, value in imposed.items()})


def _is_default(key: str, value: object) -> bool:
    section, _, name = key.partition(".")
    model = strategy_class(section).parameters_model
    parsed = parse_parameters(section, model, {name: value})
    return bool(parsed.model_dump(by_alias=True)[name] == model().model_dump(by_alias=True)[name])
