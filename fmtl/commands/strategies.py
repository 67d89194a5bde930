"""``fmtl strategies``: which strategies there are, and the parameters of one."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from pydantic import BaseModel

_LOWER = {"minimum": "≤", "exclusiveMinimum": "<"}
_UPPER = {"maximum": "≤", "exclusiveMaximum": "<"}
_KINDS = {"integer": "integer", "number": "number", "string": "text", "boolean": "true or false"}


def command(
    name: Annotated[
        str | None, typer.Argument(help="A strategy's name, or module:Class; all names if left out.")
    ] = None,
) -> None:
    """List the strategies, or the parameters of one: meaning, range, default and where the default comes from."""
    from rich.text import Text

    from fmtl.tables import console, plain_table
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
    rows = parameter_rows(strategy.parameters_model)
    if not rows:
        screen.print("It has no parameters.")
        return
    table = plain_table("parameter", "meaning", "range", "default", "origin of default", whole=(0, 2, 3))
    for row in rows:
        table.add_row(*(Text(cell) for cell in row))
    screen.print(table)
    own, chosen = strategy.name, "" if strategy.name == name else f"--strategy {name} "
    screen.print(Text(f"In the run config: {own}.<parameter>, as in fmtl run {chosen}--set {own}.{rows[0][0]}=..."))


def parameter_rows(model: type[BaseModel]) -> list[tuple[str, str, str, str, str]]:
    """Describe the parameters of a strategy.

    Args:
        model: the pydantic model that checks its parameters.

    Returns:
        Name, meaning, range, default and origin of each parameter, in the order of the model.
    """
    schema = model.model_json_schema(by_alias=True)
    shared = schema.get("$defs", {})
    required = schema.get("required", [])
    rows = []
    for name, entry in schema.get("properties", {}).items():
        default = "required" if name in required else _plain(entry.get("default"))
        origin = str(entry.get("origin", "not stated"))
        allowed = str(entry.get("allowed") or _range(entry, shared))
        rows.append((name, str(entry.get("description", "")), allowed, default, origin))
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
        return _plain(entry["const"])
    if "enum" in entry:
        return "\n".join(_plain(value) for value in entry["enum"])
    if entry.get("type") == "null":
        return "nothing"
    kind = _KINDS.get(str(entry.get("type")), str(entry.get("type", "any value")))
    limits = _limits(entry)
    if limits and kind == "number":
        return limits
    return f"{kind}, {limits}" if limits else kind


def _limits(entry: dict[str, Any]) -> str:
    """The bounds of a number x, as in ``0 ≤ x < 1``; empty where it has none."""
    low = next((f"{entry[key]:g} {sign} " for key, sign in _LOWER.items() if key in entry), "")
    high = next((f" {sign} {entry[key]:g}" for key, sign in _UPPER.items() if key in entry), "")
    return f"{low}x{high}" if low or high else ""


def _plain(value: object) -> str:
    return value if isinstance(value, str) and value else json.dumps(value)
