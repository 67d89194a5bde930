"""What can be found wrong with a run before anything is started."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from datasets.scenario import ClientEntry, ScenarioError


def check_settings(values: Mapping[str, Any], clients: tuple[ClientEntry, ...]) -> None:
    """Check a run config and the clients of its scenario as server and clients will.

    Args:
        values: complete run config by key.
        clients: the clients that will take part.

    Raises:
        ValueError: an unknown key, strategy, parameter or encoder, or an impossible value; says what is known.
        FileNotFoundError: a client's data set or weights file is not there.
    """
    from client_app.model.encoder import resolve_encoder
    from fmtl_strategies.parameters import parse_parameters
    from fmtl_strategies.registry import strategy_class
    from server_app.config import parse_run_config

    config, parameters = parse_run_config(values)
    parse_parameters(config.strategy, strategy_class(config.strategy).parameters_model, parameters)
    for entry in clients:
        resolve_encoder(entry.encoder)
        if entry.data_root is not None:
            _require(entry.data_path(), entry, "data-root")
        weights = entry.weights_path()
        if weights is not None:
            _require(weights, entry, "encoder-weights")


def _require(path: Path, entry: ClientEntry, key: str) -> None:
    if not path.exists():
        raise ScenarioError(
            f"client {entry.name}: {key} is {path}, which does not exist. Put the data there, or change {key} or the "
            f"environment variable FMTL_DATA_ROOT."
        )
