"""What a coordinator's run is started with: settings and folder."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from fmtl.network.coordinator_folder import CoordinatorFolder, read_settings
from fmtl.network.errors import NetworkSetupError
from fmtl.network.runs import launch_file
from fmtl.settings import RunConfig, default_settings, merge, merge_all

SCENARIO = "sites"
"""What a run's result calls its scenario: every site has its own file, and the coordinator sees none of them."""


def new_run(
    path: Path, sources: Sequence[tuple[RunConfig, str]], name: str | None
) -> tuple[CoordinatorFolder, RunConfig, Path]:
    """Put together a new run.

    Args:
        path: the coordinator's folder.
        sources: run config keys and where they were given, the last counting most.
        name: of the run's folder; None for one made of strategy and seed.

    Returns:
        The coordinator's folder, the complete run config, and the run's folder.

    Raises:
        NetworkSetupError: a folder of that name is in use, or no site may take part.
        ValueError: an unknown key or an impossible value.
    """
    folder = CoordinatorFolder(path.expanduser().absolute())
    read_settings(folder)
    values = merge_all({**default_settings(), "scenario": SCENARIO}, sources)
    run_folder = _new_folder(folder, values, name)
    sites = folder.site_keys()
    if not sites:
        raise NetworkSetupError(f"no site may take part yet: `fmtl server allow {path} NAME.pub` lets one in.")
    fixed: RunConfig = {"out-dir": str(run_folder), "resume": False, "known-sites": str(folder.node_names)}
    if not values.get("min-clients"):
        fixed["min-clients"] = len(sites)
    values = merge(values, fixed, "fmtl server run")
    _check(values)
    return folder, values, run_folder


def resumed_run(path: Path, name: str) -> tuple[CoordinatorFolder, RunConfig, Path]:
    """Put together how to go on with a run; returns the same as `new_run`.

    Raises:
        NetworkSetupError: no such run, or it has completed.
    """
    folder = CoordinatorFolder(path.expanduser().absolute())
    read_settings(folder)
    run_folder = folder.runs / name
    launch = _read(launch_file(run_folder))
    saved = _read(run_folder / "config.json")
    if launch is None or saved is None:
        raise NetworkSetupError(f"{run_folder} holds no run that was started here; there are {_names(folder)}.")
    result = _read(run_folder / "result.json")
    if result is not None and result.get("status") == "completed":
        raise NetworkSetupError(f"the run in {run_folder} has completed; there is nothing to resume.")
    config = saved["run_config"]
    assert isinstance(config, dict)
    before = {**default_settings(), **config}
    fixed: RunConfig = {"out-dir": str(run_folder), "resume": True, "known-sites": str(folder.node_names)}
    return folder, merge(before, fixed, "fmtl server resume"), run_folder


def run_id_of(folder: CoordinatorFolder, name: str) -> str:
    """Return Flower's number of a run.

    Raises:
        NetworkSetupError: no such run.
    """
    launch = _read(launch_file(folder.runs / name))
    if launch is None:
        raise NetworkSetupError(f"no run is called {name!r}; there are {_names(folder)}.")
    return str(launch["run_id"])


def _check(values: RunConfig) -> None:
    from fmtl_strategies.registry import make_strategy
    from server_app.config import parse_run_config

    config, parameters = parse_run_config({**values, "known-sites": ""})
    make_strategy(config.strategy, config, parameters)


def _new_folder(folder: CoordinatorFolder, values: RunConfig, name: str | None) -> Path:
    if name is not None:
        if not name or Path(name).name != name or name.startswith("."):
            raise NetworkSetupError(f"--name {name!r}: expected the name of a folder, without '/' and dot before it.")
        chosen = folder.runs / name
        if chosen.exists():
            raise NetworkSetupError(f"--name {name}: {chosen} exists already; choose another name.")
        return chosen
    base = f"{str(values.get('strategy', 'run')).rpartition(':')[2]}-s{values.get('seed', 0)}"
    numbered = (folder.runs / (base if number == 1 else f"{base}-{number}") for number in range(1, 100_000))
    return next(path for path in numbered if not path.exists() and not launch_file(path).exists())


def _names(folder: CoordinatorFolder) -> str:
    found = sorted(path.name for path in folder.runs.glob("*") if path.is_dir() and not path.name.startswith("."))
    return ", ".join(found) or "none"


def _read(path: Path) -> Mapping[str, object] | None:
    if not path.is_file():
        return None
    try:
        content: Mapping[str, object] = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise NetworkSetupError(f"{path} is damaged ({error}).") from error
    return content
