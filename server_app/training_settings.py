"""How clients train in a run, and whose values these are."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fmtl_strategies.contract.schema import flat
from fmtl_strategies.parameters import Origin
from fmtl_strategies.settings import RunConfig

_NAMES = ("encoder-learning-rate", "decoder-learning-rate", "weight-decay", "schedule", "warmup-epochs")


def training_settings(config: RunConfig, local_epochs: Mapping[str, int]) -> dict[str, Any]:
    """Return the values of local training by name.

    Args:
        config: the run config.
        local_epochs: epochs of a round by client, as its scenario says.
    """
    values = flat(config.local)
    epochs = dict(sorted(local_epochs.items()))
    same = set(epochs.values())
    return {
        "optimiser": "AdamW",
        **{name: values[name] for name in _NAMES},
        "local-epochs": same.pop() if len(same) == 1 else epochs,
    }


def training_setting_origins(config: RunConfig, local_epochs: Mapping[str, int]) -> dict[str, Origin]:
    """Return whose the values of `training_settings` are: ours, or given in run config or scenario."""
    given, plain = training_settings(config, local_epochs), training_settings(RunConfig(), {"any": 1})
    return {name: "ours" if value == plain[name] else "given" for name, value in given.items()}
