"""What can be found wrong with a run before anything is started."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

from fmtl_datasets.catalogue import DATA_SETS
from fmtl_datasets.scenarios.scenario import DATA_ROOT_VARIABLE, ClientEntry, ScenarioError


def check_settings(values: Mapping[str, Any], clients: tuple[ClientEntry, ...]) -> None:
    """Check a run config and the clients of its scenario as server and clients will.

    Args:
        values: complete run config by key.
        clients: the clients that will take part.

    Raises:
        ValueError: an unknown key, strategy or parameter, or an impossible value; says what is known.
        FileNotFoundError: a client's data set or weights file is not there.
    """
    from fmtl_strategies.registry import make_strategy
    from server_app.config import parse_run_config

    config, parameters = parse_run_config(values)
    make_strategy(config.strategy, config, parameters)
    require_data(clients)
    for entry in clients:
        require_weights(entry)


def check_encoders(clients: Sequence[ClientEntry]) -> None:
    """Refuse clients whose encoder is unknown; apart from the rest, for timm takes seconds to load.

    Raises:
        UnknownEncoderError: says which names are near.
    """
    from client_app.model.encoder import resolve_encoder

    for encoder in {entry.encoder for entry in clients}:
        resolve_encoder(encoder)


def require_data(clients: Sequence[ClientEntry]) -> None:
    """Refuse clients whose data sets are not there; all that is missing is named at once."""
    is_rooted = bool(os.environ.get(DATA_ROOT_VARIABLE))
    missing: dict[str, ClientEntry] = {}
    for entry in clients:
        if entry.data_root is None:
            continue
        absolute = os.path.isabs(os.path.expanduser(entry.data_root))
        if not (is_rooted or absolute) or not entry.data_path().is_dir():
            missing.setdefault(entry.data_root, entry)
    if not missing:
        return
    kinds = dict.fromkeys(entry.dataset for entry in missing.values())
    data = ", ".join(f"{DATA_SETS[kind].title} (`fmtl data help {kind}`)" for kind in kinds)
    there = "it is not set"
    if is_rooted:
        there = f"not there: {', '.join(str(entry.data_path()) for entry in missing.values())}"
    raise ScenarioError(
        f"this scenario needs {data}: fetch what you lack, and set the environment variable {DATA_ROOT_VARIABLE} to "
        f"the folder that holds {', '.join(missing)} ({there})."
    )


def require_weights(entry: ClientEntry) -> None:
    """Refuse a client whose file of encoder weights is not there."""
    weights = entry.weights_path()
    if weights is not None and not weights.is_file():
        raise ScenarioError(
            f"client {entry.name}: encoder-weights is {weights}, and there is no such file. Put it there, change "
            f"encoder-weights, or set the environment variable {DATA_ROOT_VARIABLE} to the folder that holds it."
        )
