"""The settings of a run, put together from a file, `--set` and flags over the defaults of the schema."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from fmtl.errors import SettingError
from fmtl_strategies.contract.settings import correction
from fmtl_strategies.parameters import StrategyParameterError, parameter_text, parse_parameter_text, toml_value

ConfigValue = bool | int | float | str
"""Flower's run config knows these types only; tables are flattened to dotted keys."""
RunConfig = dict[str, ConfigValue]
PARAMETERS_KEY = "strategy-parameters"


def read_settings(
    config: Path | None, settings: Sequence[str] = (), flags: Mapping[str, ConfigValue | None] | None = None
) -> RunConfig:
    """Put together what a user has set, each source over the ones before it.

    Args:
        config: a TOML file of run-config keys; None for none.
        settings: texts `key=value`, as `--set` takes them.
        flags: values of flags by run-config key; None where a flag was not given.

    Returns:
        The complete run config by key, the defaults of all strategies in it; see `server_app.config.parse_run_config`.

    Raises:
        SettingError: a file that cannot be read, an unknown key, a value of another type, or a parameter that the
            chosen strategy does not read.
        UnknownStrategyError, StrategyParameterError: the strategy cannot be used.
    """
    sources = [] if config is None else [(read_config_file(config), f"--config {config}")]
    sources.append((dict(parse_setting(text) for text in settings), "--set"))
    sources.append(({key: value for key, value in (flags or {}).items() if value is not None}, "flag"))
    values = merge_all(default_settings(), sources)
    _refuse_unread(values, sources)
    return values


def default_settings() -> RunConfig:
    """Return every run-config key with its default, those of all strategies of this project in it."""
    from server_app.config import default_run_config

    return default_run_config()


def _refuse_unread(values: RunConfig, sources: Sequence[tuple[RunConfig, str]]) -> None:
    """Refuse parameters of strategies that the chosen one does not read, wherever the user has set them."""
    from fmtl_strategies.registry import in_force

    read = in_force(str(values["strategy"]), values)
    for given, source in sources:
        try:
            read.refuse(given)
        except StrategyParameterError as error:
            raise SettingError(f"{source}: {error}.") from error


def merge(defaults: Mapping[str, ConfigValue], overrides: Mapping[str, ConfigValue], source: str) -> RunConfig:
    """Put values over defaults, each converted to the type of its default.

    Args:
        defaults: known keys and their values.
        overrides: new values.
        source: where they come from, for messages.

    Raises:
        SettingError: an unknown key (the one likely correction is named), or a value of another type.
    """
    merged = dict(defaults)
    for key, value in overrides.items():
        if key not in defaults:
            raise SettingError(_unknown(key, defaults, source))
        merged[key] = _convert(key, value, defaults[key], source)
    return merged


def merge_all(defaults: Mapping[str, ConfigValue], sources: Sequence[tuple[RunConfig, str]]) -> RunConfig:
    """Put values from several sources over defaults, later ones over earlier ones.

    Parameters of a strategy outside this project may be given as `<its name>.<parameter>`, as those of the others are.

    Args:
        defaults: known keys and their values.
        sources: new values, and where they come from, for messages.

    Raises:
        SettingError: an unknown key, or a value of another type.
        UnknownStrategyError: the strategy chosen by the last source that names one lies outside this project and
            cannot be used.
    """
    chosen = [
        str(values["strategy"]) for values in (defaults, *(given for given, _ in sources)) if "strategy" in values
    ]
    prefix = _name_of_outside(chosen[-1]) if chosen else None
    merged = dict(defaults)
    for given, source in sources:
        before = merged.get(PARAMETERS_KEY, "")
        merged = merge(merged, given if prefix is None else fold_parameters(given, prefix, before), source)
    return merged


def _name_of_outside(strategy: str) -> str | None:
    """The `name` of a strategy outside this project; None for all others, without loading anything."""
    if ":" not in strategy:
        return None
    from fmtl_strategies.registry import strategy_class

    return strategy_class(strategy).name


def fold_parameters(values: Mapping[str, ConfigValue], prefix: str, before: ConfigValue) -> RunConfig:
    """Write the parameters of a strategy outside the project as the one text that Flower lets through.

    Flower refuses keys that the app's pyproject.toml does not have, and it cannot have those of a stranger.

    Args:
        values: new values; keys `<prefix>.<parameter>` are parameters, and so is what `strategy-parameters` holds.
        prefix: the strategy's own name.
        before: text that the parameters are put over.

    Returns:
        The values with `strategy-parameters` in the place of single parameters.

    Raises:
        SettingError: a text that cannot be read.
    """
    own = {key: value for key, value in values.items() if key.startswith(f"{prefix}.")}
    if not own and PARAMETERS_KEY not in values:
        return dict(values)
    try:
        merged = parse_parameter_text(str(before)) | parse_parameter_text(str(values.get(PARAMETERS_KEY, "")))
    except StrategyParameterError as error:
        raise SettingError(f"{error}.") from error
    merged |= {key.removeprefix(f"{prefix}."): value for key, value in own.items()}
    rest = {key: value for key, value in values.items() if key not in own}
    return {**rest, PARAMETERS_KEY: parameter_text(merged)}


def read_config_file(path: Path) -> RunConfig:
    """Values from a TOML file; tables become dotted keys (`[fedhca2]` with `c = 0.5` is `fedhca2.c`).

    Raises:
        SettingError: no such file, not TOML, or a value that a run config cannot hold.
    """
    if not path.is_file():
        raise SettingError(f"--config {path}: there is no such file; give a TOML file of run config keys.")
    return plain_values(dotted(read_toml(path)), str(path))


def parse_setting(text: str) -> tuple[str, ConfigValue]:
    """Split `key=value`; the value is read as TOML, and as a plain string where it is none.

    Raises:
        SettingError: there is no key or no equals sign, or the value is a list or table.
    """
    key, equals, raw = text.partition("=")
    key = key.strip()
    if not equals or not key:
        raise SettingError(f"--set {text!r}: expected key=value, for example --set num-server-rounds=5.")
    try:
        value: Any = tomllib.loads(f"value = {raw}")["value"]
    except (tomllib.TOMLDecodeError, KeyError):
        value = raw.strip()
    if not isinstance(value, bool | int | float | str):
        raise SettingError(f"--set {text!r}: a value is true, false, a number or a text, no list or table.")
    return key, value


def as_toml(values: Mapping[str, ConfigValue]) -> str:
    """Flat TOML with quoted keys, readable by `flwr run --run-config FILE.toml`."""
    return "".join(f"{toml_value(key)} = {toml_value(value)}\n" for key, value in values.items())


def read_toml(path: Path) -> dict[str, Any]:
    """Parse a TOML file.

    Raises:
        SettingError: it is no TOML, with the place of the mistake.
    """
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SettingError(f"{path} is not valid TOML: {error}.") from error


def read_json(path: Path) -> dict[str, Any] | None:
    """Parse a JSON file that holds a table; None where there is no such file.

    Raises:
        SettingError: it is damaged.
    """
    if not path.is_file():
        return None
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise SettingError(f"{path} is damaged ({error}); restore it, or remove its folder.") from error
    if not isinstance(content, dict):
        raise SettingError(f"{path} is damaged: it holds no table; restore it, or remove its folder.")
    return content


def dotted(table: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Tables inside a table as dotted keys: `[fedhca2]` with `c = 0.5` is `fedhca2.c`."""
    flat: dict[str, Any] = {}
    for key, value in table.items():
        name = f"{prefix}{key}"
        flat.update(dotted(value, f"{name}.") if isinstance(value, dict) else {name: value})
    return flat


def plain_values(values: Mapping[str, Any], source: str) -> RunConfig:
    """Values that a run config can hold.

    Raises:
        SettingError: a list or a date.
    """
    for key, value in values.items():
        if not isinstance(value, bool | int | float | str):
            raise SettingError(
                f"{source}: {key} = {value!r} is a {type(value).__name__}; a run config holds only true, false, "
                f"numbers and texts."
            )
    return dict(values)


def _unknown(key: str, known: Mapping[str, ConfigValue], source: str) -> str:
    own = f"{known.get('strategy')}.{key}"
    near = own if own in known else correction(key, known)
    hint = f"did you mean {near}?" if near else "`fmtl settings` lists all keys."
    return f"{source}: the run config has no key {key!r}; {hint}"


def _convert(key: str, value: ConfigValue, default: ConfigValue, source: str) -> ConfigValue:
    """The value in the type of the default: a text may look like a number, a real number may be written whole."""
    expected = type(default)
    if type(value) is expected:
        return value
    if expected is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if expected is str and not isinstance(value, bool):
        return str(value)
    names = {bool: "true or false", int: "a whole number", float: "a number", str: "a text"}
    raise SettingError(
        f"{source}: {key} = {value!r} is not {names[expected]}, which this key needs (default: {default!r})."
    )
