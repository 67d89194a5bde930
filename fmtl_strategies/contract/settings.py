"""How settings are declared: models whose fields say meaning, range, default, origin and run-config key, each once.

The one model here, `LocalSettings`, goes to clients with every instruction (methods.md section 5).
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field
from pydantic.config import JsonDict


class Settings(BaseModel):
    """Base of everything that a run config sets.

    A field's run-config key is its name in kebab-case, or the `alias` of its declaration. A field that is itself a
    `Settings` is a section: run configs are flat, so its fields have keys of their own.
    """

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        populate_by_name=True,
        alias_generator=lambda name: name.replace("_", "-"),
        allow_inf_nan=False,  # config.json could not hold them
    )


def parameter(
    default: Any, description: str, origin: str, *, allowed: str | None = None, alias: str | None = None, **bounds: Any
) -> Any:
    """Declare one setting.

    Args:
        default: default value.
        description: its meaning in one sentence.
        origin: where the default comes from (paper, reference code, or `ours`).
        allowed: the values it takes, in words, where its type and bounds do not say it.
        alias: its run-config key, where that is not the name in kebab-case.
        bounds: pydantic bounds such as ge, le.
    """
    extra: JsonDict = {"origin": origin} if allowed is None else {"origin": origin, "allowed": allowed}
    return Field(default=default, alias=alias, description=description, json_schema_extra=extra, **bounds)


def sections(model: type[Settings]) -> dict[str, type[Settings]]:
    """Return the fields of a model that are settings themselves, by field name."""
    found = {name: field.annotation for name, field in model.model_fields.items()}
    return {name: kind for name, kind in found.items() if isinstance(kind, type) and issubclass(kind, Settings)}


def keys_of(model: type[Settings]) -> dict[str, tuple[str, ...]]:
    """Return the run-config keys of a model, each with the names of the sections it stands in."""
    inner = sections(model)
    found: dict[str, tuple[str, ...]] = {}
    for name, field in model.model_fields.items():
        if name in inner:
            found |= {key: (name, *place) for key, place in keys_of(inner[name]).items()}
        else:
            found[field.alias or name] = ()
    return found


def nested(model: type[Settings], values: Mapping[str, Any]) -> dict[str, Any]:
    """Return flat values, all of known keys, as the nested ones that the model validates."""
    places, tree = keys_of(model), dict[str, Any]()
    for key, value in values.items():
        table = tree
        for section in places[key]:
            table = table.setdefault(section, {})
        table[key] = value
    return tree


def flat(settings: Settings) -> dict[str, Any]:
    """Return the values of all settings by run-config key."""
    found: dict[str, Any] = {}
    for name, field in type(settings).model_fields.items():
        value = getattr(settings, name)
        found |= flat(value) if isinstance(value, Settings) else {field.alias or name: value}
    return found


def correction(key: str, known: Iterable[str]) -> str | None:
    """Return the known key that was most likely meant; None where none is near.

    Args:
        key: what was given.
        known: keys there are; a key without a section is also looked for in the sections of these.
    """
    names = sorted(known)
    near = difflib.get_close_matches(key, names, n=1, cutoff=0.5)
    same = [name for name in names if name.rpartition(".")[2] == key.rpartition(".")[2]]
    return next(iter([*same, *near]), None)


Precision = Literal["auto", "float32", "bfloat16", "float16"]
Schedule = Literal["cosine", "constant"]


class LocalSettings(Settings):
    """Optimiser (AdamW) and schedule of local training."""

    seed: int = parameter(
        0, "seed of the run; every random draw derives from it, client, round and purpose", "ours", ge=0, lt=2**31
    )
    total_rounds: int = parameter(5, "number of rounds", "ours", alias="num-server-rounds", ge=1, le=1_000_000)
    encoder_learning_rate: float = parameter(
        2e-3, "peak learning rate of the encoder", "ours; FedHCA2's code has 1e-4", ge=0, le=10
    )
    decoder_learning_rate: float = parameter(
        2e-3, "peak learning rate of decoders and heads", "ours; FedHCA2's code has 1e-4", ge=0, le=10
    )
    weight_decay: float = parameter(
        1e-4, "decoupled weight decay of AdamW, on all parameters", "ours, as in FedHCA2's code", ge=0, le=10
    )
    schedule: Schedule = parameter(
        "cosine",
        "learning rate over time: `cosine` (warm-up, then cosine by the client's own epochs) or `constant`",
        "ours, as in FedHCA2's code",
    )
    warmup_epochs: int = parameter(0, "epochs of warm-up of the cosine schedule", "ours; FedHCA2's code has 5", ge=0)
    precision: Precision = parameter(
        "auto",
        "arithmetic of training; `float16` scales the loss, `auto` is bfloat16 on a GPU and float32 on a CPU",
        "ours",
    )

    @property
    def named_rates(self) -> tuple[tuple[str, float], tuple[str, float]]:
        """The peak learning rates, encoder first, with the run-config keys that set them."""
        return (
            ("encoder-learning-rate", self.encoder_learning_rate),
            ("decoder-learning-rate", self.decoder_learning_rate),
        )
