"""``fmtl resume``: go on with a run that was interrupted, with the settings and on the engine it was started with."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from fmtl.commands.run import CpusPerClient, EngineFlag, GpusPerClient, RayAddress, Workers

_ENGINE_FIELDS = ("name", "workers", "cpus_per_client", "gpus_per_client", "ray_address")


def command(
    run_dir: Annotated[Path, typer.Argument(metavar="RUN_DIR", help="Folder of the run.")],
    *,
    engine: EngineFlag = None,
    workers: Workers = None,
    cpus_per_client: CpusPerClient = None,
    gpus_per_client: GpusPerClient = None,
    ray_address: RayAddress = None,
) -> None:
    """Resume an interrupted run from its newest checkpoint (bit-identical result). Flags left out are as before."""
    from fmtl.commands.run import given_engine, make_engine, run_and_report
    from fmtl.engine.federated_run import LAUNCH_FILE
    from fmtl.errors import SettingError
    from fmtl.settings import read_json
    from fmtl_strategies.contract.paths import STRATEGY_PATH

    folder = run_dir.expanduser().absolute()
    if (read_json(folder / "result.json") or {}).get("status") == "completed":
        typer.echo(f"{folder} has completed already; there is nothing to resume.")
        return
    saved = (read_json(folder / "config.json") or {}).get("run_config")
    if not isinstance(saved, dict):
        raise SettingError(f"{folder} holds no run to resume: it has no config.json; start one with `fmtl run`.")
    launch = read_json(folder / LAUNCH_FILE) or {}
    if "strategy_path" in launch:
        os.environ.setdefault(STRATEGY_PATH, str(launch["strategy_path"]))
    # What workers had means nothing to the inline engine, but for the threads that a client computes with.
    kept = ("cpus_per_client",) if engine == "inline" else _ENGINE_FIELDS
    before = {key: launch[key] for key in kept if key in launch}
    given = given_engine(engine, workers, cpus_per_client, gpus_per_client, ray_address)
    clients = launch.get("clients")
    run_and_report({**saved, "resume": True}, folder, make_engine(before | given), clients)
