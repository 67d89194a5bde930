"""How clients train in a run, and where each of these values comes from."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fmtl_strategies.parameters import given_origin
from server_app.config import RunConfig

_ORIGINS = {
    "encoder-learning-rate": "ours; FedHCA2's code has 1e-4",
    "decoder-learning-rate": "ours; FedHCA2's code has 1e-4",
    "weight-decay": "ours, as in FedHCA2's code",
    "schedule": "ours, as in FedHCA2's code",
    "warmup-epochs": "ours; FedHCA2's code has 5",
}
_OPTIMISER_ORIGIN = "ours, as in FedHCA2's code; there is no other"
_EPOCHS_ORIGIN = "ours; FedHCA2's code has 1 on PASCAL-Context, 4 on NYUD-v2"


def training_settings(config: RunConfig, local_epochs: Mapping[str, int]) -> dict[str, Any]:
    """Return the values of local training by name.

    Args:
        config: the run config.
        local_epochs: epochs of a round by client, as its scenario says.
    """
    values = config.model_dump(by_alias=True)
    epochs = dict(sorted(local_epochs.items()))
    same = set(epochs.values())
    return {
        "optimiser": "AdamW",
        **{name: values[name] for name in _ORIGINS},
        "local-epochs": same.pop() if len(same) == 1 else epochs,
    }


def training_setting_origins(config: RunConfig, local_epochs: Mapping[str, int]) -> dict[str, str]:
    """Return where the values of `training_settings` come from: ours, or given in run config or scenario."""
    values, defaults = config.model_dump(by_alias=True), RunConfig().model_dump(by_alias=True)
    origins = {
        name: origin if values[name] == defaults[name] else given_origin(defaults[name], origin)
        for name, origin in _ORIGINS.items()
    }
    plain_epochs = all(epochs == 1 for epochs in local_epochs.values())
    epochs_origin = _EPOCHS_ORIGIN if plain_epochs else given_origin(1, _EPOCHS_ORIGIN)
    return {"optimiser": _OPTIMISER_ORIGIN, **origins, "local-epochs": epochs_origin}
