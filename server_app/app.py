"""fmtl: the ServerApp. Reads the run config, opens the run folder, runs the rounds, writes the result."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any
from uuid import uuid4

from flwr.app import Context
from flwr.serverapp import Grid, ServerApp

from fmtl_strategies.contract.paths import run_folder
from fmtl_strategies.flower_compat import log
from fmtl_strategies.registry import make_strategy, strategy_source
from fmtl_strategies.round.base import PersonalizedStrategy
from fmtl_strategies.round.record import RoundRecord
from server_app.config import RunConfig, changed_source, effective_config, parse_run_config
from server_app.result import final_result, totals
from server_app.rounds import RunFailedError, run_rounds
from server_app.run_folder import RunFolder, RunFolderError, library_versions

app = ServerApp()


@app.main()
def main(grid: Grid, context: Context) -> None:
    """Run one federation as the run config says."""
    config, parameters = parse_run_config(context.run_config)
    run(grid, config, parameters, run_folder(config.out_dir, context.run_id))


def run(grid: Grid, config: RunConfig, parameters: dict[str, Any], path: Path) -> dict[str, Any]:
    """Run one federation in a folder and return the content of its result.json.

    Args:
        grid: connection to the nodes.
        config: the run config.
        parameters: the strategy's hyper-parameters by kebab-case name.
        path: absolute path of the run folder.

    Raises:
        RunFailedError: the run cannot go on; result.json says why.
        RunFolderError: the folder cannot be used as asked.
    """
    folder = RunFolder(path)
    saved = _open_folder(folder, config, parameters)
    try:
        strategy = make_strategy(config.strategy, config, parameters)
        strategy.experiment = saved["experiment"]
        log(logging.INFO, "run folder: %s", path)
        try:
            record = run_rounds(strategy, grid, folder, config)
        except RunFailedError as error:
            _finish(folder, strategy, saved, record=error.record, reason=str(error))
            raise
        return _finish(folder, strategy, saved, record=record)
    finally:
        folder.close()


def _open_folder(folder: RunFolder, config: RunConfig, parameters: dict[str, Any]) -> dict[str, Any]:
    make_strategy(config.strategy, config, parameters)  # refused before a folder is made
    effective = effective_config(config, parameters)
    if not config.resume:
        experiment = f"run-{uuid4().hex[:12]}"
        saved: dict[str, Any] = {
            "run_config": effective,
            "experiment": experiment,
            "versions": library_versions(),
        }
        if (source := strategy_source(config.strategy)) is not None:
            saved["strategy_source"] = source
        folder.create(saved)
        return saved
    saved = folder.open()
    before = saved["run_config"]
    for key in sorted(effective.keys() | before.keys()):
        if effective.get(key) != before.get(key):
            raise RunFolderError(
                f"cannot resume {folder.path}: {key} = {effective.get(key)!r}, the run was started with "
                f"{before.get(key)!r}; use the same settings (fmtl resume does) or start a new run"
            )
    if (changed := changed_source(config.strategy, saved)) is not None:
        raise RunFolderError(f"cannot resume {folder.path}: {changed}; put the file back, or start a new run")
    return saved


def _finish(
    folder: RunFolder,
    strategy: PersonalizedStrategy,
    saved: dict[str, Any],
    *,
    record: RoundRecord | None = None,
    reason: str | None = None,
) -> dict[str, Any]:
    if record is not None and (arrays := strategy.final_arrays()):
        folder.write_unified(arrays)
    result = {**final_result(strategy, saved, record, reason), **totals(folder.history())}
    folder.write_result(result)
    log(logging.INFO, "result: %s", folder.path / "result.json")
    return result
