"""``fmtl strategies``: which strategies there are, and the parameters of one."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from pydantic import BaseModel

_LIMITS = {"minimum": "at least", "exclusiveMinimum": "above", "maximum": "at most", "exclusiveMaximum": "below"}
_KINDS = {"integer": "whole number", "number": "number", "string": "text", "boolean": "true or false"}


def command(
    name: Annotated[str | None, typer.Argument(help="A strategy's name; all names if left out.")] = None,
) -> None:
    """List the strategies, or the parameters of one: meaning, range, default and where the default comes from."""
    from rich.text import Text

    from fmtl.screen import console, plain_table
    from fmtl_strategies.registry import strategy_class, strategy_names

    screen = console()
    if name is None:
        table = plain_table("strategy", "what it does")
        for known in strategy_names():
            table.add_row(known, Text(strategy_class(known).summary_line))
        screen.print(table)
        return
    strategy = strategy_class(name)
    screen.print(Text(f"{name}: {strategy.summary_line}"))
    rows = parameter_rows(name, strategy.parameters_model)
    if not rows:
        screen.print("It has no parameters.")
        return
    table = plain_table("run config key", "meaning", "range", "default", "origin of the default")
    for row in rows:
        table.add_row(*(Text(cell) for cell in row))
    screen.print(table)


def parameter_rows(strategy: str, model: type[BaseModel]) -> list[tuple[str, str, str, str, str]]:
    """Describe the parameters of a strategy.

    Args:
        strategy: its name, which the keys begin with in the run config.
        model: the pydantic model that checks its parameters.

    Returns:
        Key, meaning, range, default and origin of each parameter, in the order of the model.
    """
    schema = model.model_json_schema(by_alias=True)
    shared = schema.get("$defs", {})
    required = schema.get("required", [])
    rows = []
    for name, entry in schema.get("properties", {}).items():
        default = "required" if name in required else json.dumps(entry.get("default"))
        origin = str(entry.get("origin", "not stated"))
        rows.append((f"{strategy}.{name}", str(entry.get("description", "")), _range(entry, shared), default, origin))
    return rows


def _range(entry: dict[str, Any], shared: dict[str, Any]) -> str:
    """What a JSON-schema entry allows, in words."""
    if "$ref" in entry:
        return _range(shared[str(entry["$ref"]).rsplit("/", 1)[-1]], shared)
    if "allOf" in entry and len(entry["allOf"]) == 1:
        return _range(entry["allOf"][0], shared)
    if "anyOf" in entry:
        return " or ".join(_range(option, shared) for option in entry["anyOf"])
    if "const" in entry:
        return json.dumps(entry["const"])
    if "enum" in entry:
        return " or ".join(json.dumps(value) for value in entry["enum"])
    if entry.get("type") == "null":
        return "nothing"
    limits = [f"{words} {entry[key]:g}" for key, words in _LIMITS.items() if key in entry]
    kind = _KINDS.get(str(entry.get("type")), str(entry.get("type", "any value")))
    return f"{kind}, {' and '.join(limits)}" if limits else kind
