"""Runs of a coordinator: started through its link, followed in its run folders."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from fmtl.live import RunLines
from fmtl.network.app_folder import app_folder
from fmtl.network.coordinator_folder import CoordinatorFolder, local_endpoint, read_settings
from fmtl.network.disk_space import require_space
from fmtl.network.errors import NetworkSetupError
from fmtl.network.flower_programs import service_environment
from fmtl.network.link_commands import answers, flower
from fmtl.settings import as_toml
from fmtl_strategies.contract.files import write_json

_LOOK_SECONDS = 1.0

SILENT_SECONDS = 120.0
"""Seconds for which the link may be away while a run is followed: started again after a death or a new certificate."""


class RunEndedBadlyError(RuntimeError):
    """A run that has ended without completing; the text says why and what to do."""


def submit(folder: CoordinatorFolder, values: Mapping[str, Any], run_folder: Path, app: Path | None = None) -> str:
    """Start a run, at the coordinator and at the sites, and return Flower's number of it.

    Args:
        folder: the coordinator's folder; the coordinator has to be running.
        values: complete run config.
        run_folder: absolute path of the run's folder.
        app: folder of another Flower app to compare with; None for that of the installed packages.

    Raises:
        NetworkSetupError: the coordinator does not run, its disk is nearly full, or Flower refused the run.
    """
    env = service_environment(folder.home, os.environ)
    if not answers(local_endpoint(read_settings(folder)), folder.certificates.authority):
        raise NetworkSetupError(f"the coordinator of {folder.path} does not run; start it: `fmtl server start`.")
    for place in (folder.path, run_folder):
        require_space(place)
    config = folder.home / f"run-config-{os.getpid()}.toml"
    config.write_text(as_toml(values), encoding="utf-8")
    try:
        with app_folder() if app is None else nullcontext(app) as place:
            answer = flower(folder, env, "run", str(place), options=("--run-config", str(config)))
    finally:
        config.unlink()
    run_id = str(answer["run-id"])
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
        NetworkSetupError: the link has been away for too long, and the run may go on; or its disk is full.
    """
    env = service_environment(folder.home, os.environ)
    lines = RunLines(run_folder)
    next_status, heard = 0.0, time.monotonic()
    while True:
        lines.show(show)
        if time.monotonic() >= next_status:
            found = _status_or_silence(folder, env, run_id)
            next_status = time.monotonic() + 5 * _LOOK_SECONDS
            if found is not None:
                heard = time.monotonic()
                if found[0].startswith("finished"):
                    break
            elif time.monotonic() - heard > SILENT_SECONDS:
                raise NetworkSetupError(
                    f"the link has not answered for {SILENT_SECONDS:.0f} seconds; the run may go on when it is back. "
                    f"Look at the coordinator's own output, then: `fmtl server watch`."
                )
        if (run_folder / "result.json").is_file():
            next_status = min(next_status, time.monotonic() + 2 * _LOOK_SECONDS)
        time.sleep(_LOOK_SECONDS / 2)
    lines.show(show)
    return _judged(run_folder, *found)


def status(folder: CoordinatorFolder, env: dict[str, str], run_id: str) -> tuple[str, str]:
    """Return Flower's state of a run and the details of its end."""
    runs = flower(folder, env, "list", options=("--run-id", run_id))["runs"]
    if not runs:
        raise NetworkSetupError(f"the link knows no run {run_id}; was its database {folder.database} removed?")
    return str(runs[0]["status"]), str(runs[0].get("status-details", ""))


def _status_or_silence(folder: CoordinatorFolder, env: dict[str, str], run_id: str) -> tuple[str, str] | None:
    """Return what `status` does, or None where the link does not answer."""
    link, authority = local_endpoint(read_settings(folder)), folder.certificates.authority
    if not answers(link, authority):
        return None
    try:
        return status(folder, env, run_id)
    except NetworkSetupError:
        if answers(link, authority):
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
    flower(folder, service_environment(folder.home, os.environ), "stop", run_id)
