"""Hyper-parameters of strategies: each declared once, in its strategy's file; checked and described from there."""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Mapping
from typing import Literal, TypeVar

from pydantic import BaseModel, ValidationError

from fmtl_strategies.contract.settings import Settings, correction
from fmtl_strategies.contract.settings import parameter as parameter

Model = TypeVar("Model", bound=Settings)
Origin = Literal["given", "ours", "paper", "code"]
"""Whose value it is: given in the run config, or a default: ours, of the method's paper, of public code."""


class StrategyParameterError(ValueError):
    """A hyper-parameter that does not exist or has an impossible value."""


class StrategyParameters(Settings):
    """Base of a strategy's hyper-parameters; in the run config they stand under the strategy's own name."""


def parameter_origins(model: type[BaseModel]) -> dict[str, str]:
    """Return where the default of each hyper-parameter comes from, by kebab-case name."""
    origins = {}
    for name, field in model.model_fields.items():
        extra = field.json_schema_extra
        origin = extra.get("origin") if isinstance(extra, dict) else None
        origins[field.alias or name] = str(origin or "not stated")
    return origins


def value_origins(parameters: BaseModel) -> dict[str, Origin]:
    """Return whose value each hyper-parameter has, by kebab-case name."""
    defaults = parameter_origins(type(parameters))
    origins: dict[str, Origin] = {}
    for name, field in type(parameters).model_fields.items():
        key = field.alias or name
        is_default = getattr(parameters, name) == field.get_default(call_default_factory=False)
        origins[key] = origin_of(defaults[key]) if is_default else "given"
    return origins


def origin_of(declared: str) -> Origin:
    """Return whose default it is, from the origin that `parameter` declares."""
    first = re.split("[;(]", declared)[0]
    if first.startswith("ours"):
        return "ours"
    return "paper" if "paper" in first or "et al." in first else "code"


def parse_parameter_text(text: str) -> dict[str, bool | int | float | str]:
    """Read the run-config key `strategy-parameters`: the parameters of a strategy outside the project, in one text.

    Args:
        text: TOML pairs with commas between them, such as `strength = 0.5, form = "cosine"`; may be empty.

    Returns:
        Values by kebab-case name.

    Raises:
        StrategyParameterError: not such a text, or a value that is a list, a table or a date.
    """
    example = 'give pairs with commas between them, such as strength = 0.5, form = "cosine"'
    try:
        content = tomllib.loads(f"pairs = {{{text}}}")
    except tomllib.TOMLDecodeError as error:
        raise StrategyParameterError(f"strategy-parameters = {text!r} cannot be read ({error}); {example}") from error
    if content.keys() != {"pairs"}:
        raise StrategyParameterError(f"strategy-parameters = {text!r} is more than one line of pairs; {example}")
    values: dict[str, bool | int | float | str] = {}
    for name, value in content["pairs"].items():
        values[name] = _plain_value(name, value)
    return values


def parameter_text(values: Mapping[str, object]) -> str:
    """Return the text from which `parse_parameter_text` reads the same values.

    Raises:
        StrategyParameterError: a value that a run config cannot hold, such as a list or None.
    """
    return ", ".join(f"{toml_value(name)} = {toml_value(_plain_value(name, v))}" for name, v in values.items())


def toml_value(value: bool | int | float | str) -> str:
    """Return a value, or a key in quotes, as TOML writes it."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        # A JSON text is a TOML text, but for the one control character that JSON leaves as it is.
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    return repr(value)


def _plain_value(name: str, value: object) -> bool | int | float | str:
    if isinstance(value, bool | int | float | str):
        return value
    raise StrategyParameterError(
        f"strategy-parameters: {name} = {value!r} is a {type(value).__name__}; a run config holds only true, false, "
        f"numbers and texts: declare the parameter as one of these"
    )


def parse_parameters(strategy: str, model: type[Model], values: Mapping[str, object]) -> Model:
    """Check the hyper-parameters given for a strategy.

    Args:
        strategy: name of the strategy, for the error text.
        model: its parameters model.
        values: values by kebab-case name.

    Raises:
        StrategyParameterError: unknown name (says which was probably meant) or impossible value (says what is allowed).
    """
    known = [field.alias or name for name, field in model.model_fields.items()]
    for name in values:
        if name not in known:
            near = correction(name, known)
            hint = f"did you mean {strategy}.{near}?" if near else f"known: {', '.join(known) or 'none'}"
            raise StrategyParameterError(f"unknown parameter {strategy}.{name}; {hint}")
    try:
        return model.model_validate(dict(values))
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        name = ".".join(str(part) for part in first["loc"])
        raise StrategyParameterError(f"{strategy}.{name} = {first['input']!r}: {first['msg']}") from error
