"""Flower's flat run config: checked and split into the settings of a run and its strategy's parameters, and back."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fmtl_strategies.building_blocks.wrapping import WrappingStrategy
from fmtl_strategies.contract.settings import correction, flat
from fmtl_strategies.parameters import parameter_text, parse_parameter_text
from fmtl_strategies.registry import (
    check_sections,
    in_force,
    is_outside,
    strategy_class,
    strategy_names,
    strategy_source,
)
from fmtl_strategies.settings import RunConfig, RunConfigError

__all__ = ["RunConfig", "RunConfigError", "default_run_config", "effective_config", "parse_run_config"]

_NOT_RECORDED = ("resume", "out-dir", "known-sites", "strategy-parameters")


def parse_run_config(values: Mapping[str, Any]) -> tuple[RunConfig, dict[str, Any]]:
    """Check a flat Flower run config.

    Args:
        values: values by key; keys with a dot are parameters of the strategy named before the dot. Those of a strategy
            outside this project may stand under its `name` too, where whoever gives them is not bound to the keys of
            pyproject.toml, as Flower is.

    Returns:
        The run config, and the chosen strategy's own parameters by kebab-case name. Parameters of other strategies are
        left out, unless the chosen one wraps another: then they stand beside as `<strategy>.<parameter>`.

    Raises:
        RunConfigError: an unknown key, or an impossible value; says what is known or allowed.
        UnknownStrategyError: no strategy of that name.
        StrategyParameterError: `strategy-parameters` cannot be read, or a parameter that the chosen strategy does not
            read is not at its default. At its default it cannot be told from one that nobody has set.
    """
    config = RunConfig.from_flat({key: value for key, value in values.items() if "." not in key})
    chosen = strategy_class(config.strategy)
    own_name = chosen.name
    owners = sorted({*strategy_names(), own_name})
    for key in values:
        owner = key.partition(".")[0]
        if "." in key and owner not in owners:
            near = correction(owner, owners)
            hint = f"did you mean {near}.{key.partition('.')[2]}?" if near else "`fmtl strategies` lists them"
            raise RunConfigError(f"run-config key {key!r}: no strategy {owner!r}; {hint}")
    prefix = f"{own_name}."
    given = {key.removeprefix(prefix): value for key, value in values.items() if key.startswith(prefix)}
    if issubclass(chosen, WrappingStrategy):
        given |= {key: value for key, value in values.items() if "." in key and not key.startswith(prefix)}
    in_force(config.strategy, values).refuse(values, but_defaults=True)
    return config, {**_parameters_in_text(config), **given}


def default_run_config() -> dict[str, bool | int | float | str]:
    """Return every run-config key with its default: general ones, and `<strategy>.<parameter>` of every strategy."""
    values: dict[str, bool | int | float | str] = RunConfig().flat()
    for strategy in strategy_names():
        own = flat(strategy_class(strategy).parameters_model())
        values |= {f"{strategy}.{name}": value for name, value in own.items()}
    return values


def effective_config(config: RunConfig, parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Return what config.json records of a run: every setting that can change it, with the defaults filled in.

    `parse_run_config` reads it back to the same.

    Args:
        config: the run config.
        parameters: the strategy's parameters as `parse_run_config` returns them; those left out take their defaults.

    Raises:
        StrategyParameterError: unknown parameter, impossible value, or one of a strategy outside this project that a
            run config cannot hold.
    """
    (_, chosen), *wrapped = check_sections(config.strategy, parameters).items()
    own = flat(chosen)
    effective = {key: value for key, value in config.flat().items() if key not in _NOT_RECORDED}
    for section, inner in wrapped:
        effective |= {f"{section}.{name}": value for name, value in flat(inner).items()}
    if is_outside(config.strategy):
        return effective | {"strategy-parameters": parameter_text(own)}
    return effective | {f"{config.strategy}.{name}": value for name, value in own.items()}


def _parameters_in_text(config: RunConfig) -> dict[str, bool | int | float | str]:
    if config.strategy_parameters and not is_outside(config.strategy):
        raise RunConfigError(
            f"run-config key 'strategy-parameters' = {config.strategy_parameters!r} is for a strategy outside this "
            f"project; the parameters of {config.strategy} are keys of their own, {config.strategy}.<parameter>"
        )
    return dict(parse_parameter_text(config.strategy_parameters))


def changed_source(strategy: str, saved: Mapping[str, Any]) -> str | None:
    """Return what has become of a strategy's code since a run was started; None where it is the same.

    Args:
        strategy: its name in the run config.
        saved: content of the run's config.json.
    """
    now, before = strategy_source(strategy), saved.get("strategy_source")
    if now is None or now == before:
        return None
    if not isinstance(before, dict):
        return f"it was not recorded which code of {strategy} the run was started with"
    return (
        f"the code of {strategy} is not what the run was started with: {before.get('file')} had sha256 "
        f"{_short(before.get('sha256'))}, {now['file']} now has {_short(now['sha256'])}"
    )


def _short(digest: object) -> str:
    return f"{str(digest)[:12]}..."
