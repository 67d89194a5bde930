"""Hyper-parameters of strategies: declared once, checked, and described for `fmtl strategies NAME`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

Model = TypeVar("Model", bound=BaseModel)


class StrategyParameterError(ValueError):
    """A hyper-parameter that does not exist or has an impossible value."""


class StrategyParameters(BaseModel):
    """Base of a strategy's hyper-parameters; names in the run config are kebab-case under the strategy's own name."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", populate_by_name=True, alias_generator=lambda name: name.replace("_", "-")
    )


def parameter(default: Any, description: str, origin: str, **bounds: Any) -> Any:
    """Declare one hyper-parameter.

    Args:
        default: default value.
        description: its meaning in one sentence.
        origin: where the default comes from (paper, reference code, or `ours`).
        bounds: pydantic bounds such as ge, le.
    """
    return Field(default=default, description=description, json_schema_extra={"origin": origin}, **bounds)


def parse_parameters(strategy: str, model: type[Model], values: Mapping[str, object]) -> Model:
    """Check the hyper-parameters given for a strategy.

    Args:
        strategy: name of the strategy, for the error text.
        model: its parameters model.
        values: values by kebab-case name.

    Raises:
        StrategyParameterError: unknown name (lists the known ones) or impossible value (says what is allowed).
    """
    known = sorted(field.alias or name for name, field in model.model_fields.items())
    for name in values:
        if name not in known:
            have = ", ".join(f"{strategy}.{k}" for k in known) or "none"
            raise StrategyParameterError(f"unknown parameter {strategy}.{name}; known parameters of {strategy}: {have}")
    try:
        return model.model_validate(dict(values))
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        name = ".".join(str(part) for part in first["loc"])
        raise StrategyParameterError(f"{strategy}.{name} = {first['input']!r}: {first['msg']}") from error
