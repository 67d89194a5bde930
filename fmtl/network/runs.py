"""Runs of a coordinator: put together, started through its SuperLink, followed in its run folders."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from fmtl.live import RunLines
from fmtl.network.app_folder import app_folder
from fmtl.network.control import Control
from fmtl.network.coordinator_folder import CoordinatorFolder, local_endpoint, read_settings
from fmtl.network.disk_space import require_space
from fmtl.network.errors import NetworkSetupError
from fmtl.network.flower_programs import answers, service_environment, start_app
from fmtl.settings import RunConfig, as_toml, default_settings, merge, merge_all
from fmtl_strategies.contract.files import write_json

SCENARIO = "sites"
"""What a run's result calls its scenario: every site has its own file, and the coordinator sees none of them."""

_LOOK_SECONDS = 1.0

SILENT_SECONDS = 120.0
"""Seconds for which the SuperLink may be away while a run is followed: it restarts after a crash or a renewal."""


class RunEndedBadlyError(RuntimeError):
    """A run that has ended without completing; the text says why and what to do."""


def submit(folder: CoordinatorFolder, values: Mapping[str, Any], run_folder: Path, app: Path | None = None) -> str:
    """Start a run, at the coordinator and at the sites, and return Flower's number of it.

    Args:
        folder: the coordinator's folder; the coordinator has to be running.
        values: complete run config.
        run_folder: absolute path of the run's folder.
        app: folder of another Flower app to compare with; None for that of the installed packages.
    """
    env = service_environment(folder.home, os.environ)
    if not answers(local_endpoint(read_settings(folder)), folder.certificates.ca):
        raise NetworkSetupError(f"the coordinator of {folder.path} does not run; start it: `fmtl server start`.")
    for place in (folder.path, run_folder):
        require_space(place)
    config = folder.home / f"run-config-{os.getpid()}.toml"
    config.write_text(as_toml(values), encoding="utf-8")
    try:
        with app_folder() if app is None else nullcontext(app) as place:
            run_id = start_app(folder, env, place, config)
    finally:
        config.unlink()
    # Beside the run folder, which the server makes itself and only where there is none.
    write_json(launch_file(run_folder), {"run_id": run_id})
    return run_id


def launch_file(run_folder: Path) -> Path:
    """Return where it is kept how a run was started."""
    return run_folder.with_name(f".{run_folder.name}.launch.json")


def follow(folder: CoordinatorFolder, run_id: str, run_folder: Path, show: Callable[[str], None]) -> dict[str, Any]:
    """Show what a run does as lines until it has ended, and return its result.

    Raises:
        RunEndedBadlyError: the run failed or was stopped; says why.
    """
    lines = RunLines(run_folder)
    next_status, heard = 0.0, time.monotonic()
    while True:
        lines.show(show)
        if time.monotonic() >= next_status:
            found = _status_or_silence(folder, run_id)
            next_status = time.monotonic() + 5 * _LOOK_SECONDS
            if found is not None:
                heard = time.monotonic()
                if found[0].startswith("finished"):
                    break
            elif time.monotonic() - heard > SILENT_SECONDS:
                raise NetworkSetupError(
                    f"the SuperLink has not answered for {SILENT_SECONDS:.0f} seconds; the run may go on when it is "
                    f"back. Look at the coordinator's own output, then: `fmtl server watch`."
                )
        if (run_folder / "result.json").is_file():
            next_status = min(next_status, time.monotonic() + 2 * _LOOK_SECONDS)
        time.sleep(_LOOK_SECONDS / 2)
    lines.show(show)
    return _judged(run_folder, *found)


def _status_or_silence(folder: CoordinatorFolder, run_id: str) -> tuple[str, str] | None:
    """Return state and details of a run, or None where the SuperLink does not answer."""
    superlink, ca = local_endpoint(read_settings(folder)), folder.certificates.ca
    if not answers(superlink, ca):
        return None
    try:
        return Control(folder).run_status(run_id)
    except NetworkSetupError:
        if answers(superlink, ca):
            # Flower only says that something is wrong inside.
            require_space(folder.path)
            raise
        return None


def _judged(run_folder: Path, state: str, details: str) -> dict[str, Any]:
    result_file = run_folder / "result.json"
    result: dict[str, Any] = json.loads(result_file.read_text(encoding="utf-8")) if result_file.is_file() else {}
    if result.get("status") == "completed":
        return result
    reason = result.get("reason") or details or f"Flower reports {state}"
    raise RunEndedBadlyError(
        f"The run in {run_folder} failed: {str(reason).rstrip('.')}. Go on with it: `fmtl server resume`."
    )


def stop_run(folder: CoordinatorFolder, run_id: str) -> None:
    """Stop a run; what its last checkpoint holds is kept."""
    Control(folder).stop(run_id)


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
    check_run_config(values)
    return folder, values, run_folder


def resumed_run(path: Path, name: str) -> tuple[CoordinatorFolder, RunConfig, Path]:
    """Put together how to go on with a run; returns the same as `new_run`."""
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
    """Return Flower's number of a run."""
    launch = _read(launch_file(folder.runs / name))
    if launch is None:
        raise NetworkSetupError(f"no run is called {name!r}; there are {_names(folder)}.")
    return str(launch["run_id"])


def check_run_config(values: RunConfig) -> None:
    """Refuse a complete run config that a run would refuse."""
    from fmtl_strategies.registry import make_strategy
    from server_app.config import parse_run_config

    config, parameters = parse_run_config({**values, "known-sites": ""})
    make_strategy(config.strategy, config, parameters)


def _new_folder(folder: CoordinatorFolder, values: RunConfig, name: str | None) -> Path:
    if name is not None:
        if not name or Path(name).name != name or name.startswith("."):
            raise NetworkSetupError(f"--name {name!r}: must be a plain folder name (no '/', no leading dot).")
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
