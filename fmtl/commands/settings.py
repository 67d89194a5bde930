"""``fmtl settings``: every run-config key with its meaning, range, default and where the default comes from."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import typer

if TYPE_CHECKING:
    from fmtl_strategies.contract.settings import Settings

_KINDS = {"integer": "integer", "number": "number", "string": "text", "boolean": "true or false"}


class Row(NamedTuple):
    """A setting in words."""

    key: str
    meaning: str
    range: str
    default: str
    origin: str


def command(
    name: Annotated[
        str | None, typer.Argument(help="A strategy, module:Class, or one key; the general keys if left out.")
    ] = None,
    *,
    toml: Annotated[
        bool, typer.Option("--toml", help="Print [tool.flwr.app.config] of pyproject.toml, all strategies in it.")
    ] = False,
) -> None:
    """List settings: key, meaning, range, default and where the default comes from."""
    from rich.text import Text

    from fmtl.tables import console, plain_table

    if toml:
        typer.echo(flower_table(), nl=False)
        return
    rows = _rows_for(name)
    screen = console()
    if not rows:
        screen.print(f"{name} has no parameters.")
        return
    heading = ("setting", "meaning", "range", "default", "origin of default")
    screen.print(plain_table(heading, rows, whole=(0, 2, 3)))
    chosen = f"--strategy {name} " if name and ":" in name else ""
    screen.print(Text(f"Set one as in fmtl run {chosen}--set {rows[0].key}=..."))
    if name is None:
        screen.print("Those of a strategy: fmtl settings STRATEGY.")


def rows_of(model: type[Settings], prefix: str = "") -> list[Row]:
    """Describe the settings of a model, those of its sections among them.

    Args:
        model: any `Settings`.
        prefix: what its keys begin with, as in `fedhca2.`.
    """
    from fmtl_strategies.contract.settings import sections

    inner = sections(model)
    schema = model.model_json_schema(by_alias=True)["properties"]
    rows: list[Row] = []
    for name, field in model.model_fields.items():
        if name in inner:
            rows += rows_of(inner[name], prefix)
            continue
        key = field.alias or name
        entry = schema[key]
        allowed = str(entry.get("allowed") or _range(entry))
        rows.append(Row(prefix + key, entry["description"], allowed, _plain(entry["default"]), entry["origin"]))
    return rows


def flower_table() -> str:
    """Return `[tool.flwr.app.config]` as pyproject.toml has to have it: Flower refuses keys that do not stand there."""
    from fmtl_strategies.contract.settings import flat
    from fmtl_strategies.parameters import toml_value
    from fmtl_strategies.registry import strategy_class, strategy_names
    from fmtl_strategies.settings import RunConfig

    tables = {"": flat(RunConfig())}
    tables |= {f".{name}": flat(strategy_class(name).parameters_model()) for name in strategy_names()}

    def lines() -> Iterator[str]:
        for name, values in tables.items():
            if values:
                yield f"[tool.flwr.app.config{name}]\n"
                yield from (f"{key} = {toml_value(value)}\n" for key, value in values.items())
                yield "\n"

    return "".join(lines())


def _rows_for(name: str | None) -> list[Row]:
    """Return the rows that were asked for.

    Raises:
        UnknownStrategyError: a name that is neither a key nor a strategy; says what was probably meant.
    """
    from fmtl_strategies.settings import RunConfig

    general = rows_of(RunConfig)
    known = {row.key: row for row in general}
    if name is None or name in known:
        return general if name is None else [known[name]]
    from fmtl_strategies.contract.settings import correction
    from fmtl_strategies.registry import UnknownStrategyError, strategy_class, strategy_names

    section = name if ":" in name else name.partition(".")[0]
    if ":" in name or section in strategy_names():
        strategy = strategy_class(section)
        own = rows_of(strategy.parameters_model, f"{strategy.name}.")
        if name == section:
            return own
        known |= {row.key: row for row in own}
    if name not in known:
        near = correction(name, [*known, *strategy_names()])
        hint = f"did you mean {near}?" if near else "`fmtl settings` and `fmtl strategies` list them"
        raise UnknownStrategyError(f"{name!r} is neither a setting nor a strategy; {hint}")
    return [known[name]]


def _range(entry: dict[str, Any]) -> str:
    """What a JSON-schema entry allows, in words."""
    if "enum" in entry:
        return "\n".join(_plain(value) for value in entry["enum"])
    kind = _KINDS[str(entry["type"])]
    limits = _limits(entry)
    if limits and kind == "number":
        return limits
    return f"{kind}, {limits}" if limits else kind


def _limits(entry: dict[str, Any]) -> str:
    """The bounds of a number x, as in ``0 ≤ x < 1``; empty where it has none."""
    lower, upper = {"minimum": "≤", "exclusiveMinimum": "<"}, {"maximum": "≤", "exclusiveMaximum": "<"}
    low = next((f"{entry[key]:g} {sign} " for key, sign in lower.items() if key in entry), "")
    high = next((f" {sign} {entry[key]:g}" for key, sign in upper.items() if key in entry), "")
    return f"{low}x{high}" if low or high else ""


def _plain(value: object) -> str:
    return value if isinstance(value, str) and value else json.dumps(value)
