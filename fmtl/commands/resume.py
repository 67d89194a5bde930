"""``fmtl resume``: go on with a run that was interrupted, with the settings it was started with."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from fmtl.simulation import Launch


def command(
    run_dir: Annotated[Path, typer.Argument(metavar="RUN_DIR", help="Folder of the run.")],
    app_dir: Annotated[
        Path | None, typer.Option(help="Checkout to run, if not the one that the run was started from.")
    ] = None,
    *,
    cpus_per_client: Annotated[
        int | None, typer.Option(min=1, help="CPU cores of each client at work, if not as before.")
    ] = None,
    gpus_per_client: Annotated[
        float | None, typer.Option(min=0.0, help="Share of a GPU for each client at work, if not as before.")
    ] = None,
) -> None:
    """Go on with a run that was interrupted: from its newest checkpoint, to the result it would have had."""
    from fmtl.commands.run import launch_and_report

    folder = run_dir.expanduser().absolute()
    if _completed(folder):
        typer.echo(f"{folder} has completed already; there is nothing to resume.")
        return
    resources = {"cpus_per_client": cpus_per_client, "gpus_per_client": gpus_per_client}
    launch_and_report(
        resume_launch(folder, app_dir, {key: value for key, value in resources.items() if value is not None})
    )


def resume_launch(folder: Path, app_dir: Path | None, resources: dict[str, Any]) -> Launch:
    """Put together how to go on with a run.

    Args:
        folder: absolute path of the run folder.
        app_dir: checkout to run; None for the one recorded with the run, if it is still there.
        resources: fields of `Resources` that differ from those recorded with the run.

    Raises:
        SettingError: the folder holds no run that was started, or one of a strategy whose code has changed since.
    """
    from fmtl.commands.run import complete, find_app, is_own_code
    from fmtl.settings import app_config, merge
    from fmtl.simulation import LAUNCH_FILE, Launch, Resources, SettingError
    from fmtl.simulation.session import RECORDED_STRATEGY_PATH
    from fmtl_strategies.contract.paths import STRATEGY_PATH
    from server_app.strategy_source import changed_source

    saved = _read_json(folder / "config.json")
    if saved is None or not isinstance(saved.get("run_config"), dict):
        raise SettingError(f"{folder} holds no run to resume: it has no config.json; start one with `fmtl run`.")
    recorded = _read_json(folder / LAUNCH_FILE) or {}
    if RECORDED_STRATEGY_PATH in recorded:
        os.environ.setdefault(STRATEGY_PATH, str(recorded[RECORDED_STRATEGY_PATH]))
    before = recorded.pop("app_dir", None)
    app = find_app(Path(before) if app_dir is None and before and Path(before).is_dir() else app_dir)
    values = merge(app_config(app), saved["run_config"], str(folder / "config.json"))
    values = merge(values, {"out-dir": str(folder), "resume": True}, "fmtl resume")
    known = {key: recorded[key] for key in ("cpus_per_client", "gpus_per_client") if key in recorded}
    clients = complete(values, app, recorded.get("clients"))
    if is_own_code(app) and (changed := changed_source(str(values["strategy"]), saved)) is not None:
        raise SettingError(f"cannot resume {folder}: {changed}; put the file back, or start a new run.")
    return Launch(app, values, folder, Resources(clients=clients, **(known | resources)))


def _completed(folder: Path) -> bool:
    result = _read_json(folder / "result.json")
    return result is not None and result.get("status") == "completed"


def _read_json(path: Path) -> dict[str, Any] | None:
    """Content of a JSON file; None where there is no such file.

    Raises:
        SettingError: it is damaged.
    """
    from fmtl.simulation import SettingError

    if not path.is_file():
        return None
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise SettingError(f"{path} is damaged ({error}); restore it, or start a new run.") from error
    return content if isinstance(content, dict) else None
