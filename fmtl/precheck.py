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
        ValueError: an unknown key, strategy, parameter or encoder, or an impossible value; says what is known.
        FileNotFoundError: a client's data set or weights file is not there.
    """
    from client_app.model.encoder import resolve_encoder
    from fmtl_strategies.registry import make_strategy
    from server_app.config import parse_run_config

    config, parameters = parse_run_config(values)
    make_strategy(config.strategy, config, parameters)
    for entry in clients:
        resolve_encoder(entry.encoder)
    require_data(clients)
    for entry in clients:
        require_weights(entry)


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
    if missing:
        raise ScenarioError(_what_to_fetch(missing, is_rooted))


def _what_to_fetch(missing: Mapping[str, ClientEntry], is_rooted: bool) -> str:
    """One sentence: which data sets to fetch, how to learn more about each, and where to put them."""
    kinds = [entry.dataset for entry in missing.values()]
    data = _listed([f"{DATA_SETS[kind].title} (`fmtl data help {kind}`)" for kind in kinds])
    names = _listed(list(missing))
    if is_rooted:
        places = _listed([str(entry.data_path()) for entry in missing.values()])
        verb = "does" if len(missing) == 1 else "do"
        return (
            f"this scenario needs {data}, but {places} {verb} not exist: fetch what you lack and put it there, or set "
            f"the environment variable {DATA_ROOT_VARIABLE} to the folder that holds {names}."
        )
    return (
        f"this scenario needs {data}: fetch what you lack, put it into a folder of your choice as {names}, and set the "
        f"environment variable {DATA_ROOT_VARIABLE}, which is not set, to that folder."
    )


def _listed(names: Sequence[str]) -> str:
    distinct = list(dict.fromkeys(names))
    return " and ".join([", ".join(distinct[:-1]), distinct[-1]] if len(distinct) > 1 else distinct)


def require_weights(entry: ClientEntry) -> None:
    """Refuse a client whose file of encoder weights is not there."""
    weights = entry.weights_path()
    if weights is not None and not weights.is_file():
        raise ScenarioError(
            f"client {entry.name}: encoder-weights is {weights}, and there is no such file. Put it there, change "
            f"encoder-weights, or set the environment variable {DATA_ROOT_VARIABLE} to the folder that holds it."
        )
