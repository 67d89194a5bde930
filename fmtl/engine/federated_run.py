"""One run from its settings to its result, on any engine: behind `fmtl run`, `resume`, `sweep`, tests, notebooks."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fmtl.engine.options import Engine, EngineError, EngineName
from fmtl.engine.ray_cluster import PrivateCluster, connected, starting_cluster

if TYPE_CHECKING:
    from flwr.serverapp import Grid
    from fmtl_datasets.scenarios.scenario import ClientEntry

    from server_app.config import RunConfig

LAUNCH_FILE = "launch.json"
"""In the run folder: the engine a run was started with, for `fmtl resume`."""
LOG_FILE = "log.txt"
CLIENT_APP = "client_app.app:app"
_CLIENT_CODE = "client_app.round.handlers"


def run(
    config: Mapping[str, Any],
    folder: Path | str,
    engine: Engine | EngineName = "inline",
    *,
    clients: int | None = None,
    show: Callable[[str], None] | None = None,
) -> dict[str, Any]:
    """Run one federation, or go on with one, and return the content of its result.json.

    Args:
        config: run config by kebab-case key, as `fmtl settings` lists them; keys left out take their defaults. With
            `resume` true the run in the folder goes on from its newest checkpoint.
        folder: the run folder, made here.
        engine: where clients run. All engines give the same bits.
        clients: take only so many of the scenario's clients, from the first; None for all.
        show: prints a line of the log; None leaves the log to Flower's own handler.

    Raises:
        EngineError: the engine cannot be used as asked; nothing has been started.
        ValueError: a setting, scenario, or client's data cannot be used; a subclass names it.
        RunFailedError: the run cannot go on; result.json says why.
        RunFolderError: the folder cannot be used as asked.
    """
    chosen = engine if isinstance(engine, Engine) else Engine(engine)
    path = Path(folder).expanduser().absolute()
    # A cluster takes seconds to start, and so does torch: one does it while the other does.
    with starting_cluster(chosen) if chosen.name == "ray" else nullcontext() as cluster:
        plan = _planned(config, path, clients)
        from fmtl.precheck import check_encoders
        from server_app.app import run as serve

        with _grid(chosen, plan, cluster) as grid, _log_to(path / LOG_FILE, show):
            # The workers of a cluster are loading the same meanwhile.
            check_encoders(plan.entries)
            _note_launch(plan, chosen)
            return serve(grid, plan.config, plan.parameters, path)


@dataclass(frozen=True)
class _Plan:
    """A run that has been checked."""

    folder: Path
    config: RunConfig
    parameters: dict[str, Any]
    told: dict[str, Any]
    entries: tuple[ClientEntry, ...]
    node_configs: list[dict[str, Any]]


def _planned(config: Mapping[str, Any], folder: Path, clients: int | None) -> _Plan:
    from fmtl_datasets.scenarios.scenario import load_scenario

    from fmtl.precheck import check_settings
    from server_app.config import parse_run_config

    settings = {**config, "out-dir": str(folder)}
    scenario = str(settings.get("scenario", ""))
    if "/" in scenario or scenario.endswith((".yaml", ".yml")):
        settings["scenario"] = str(Path(scenario).expanduser().absolute())
    parsed, parameters = parse_run_config(settings)
    entries = load_scenario(parsed.scenario).clients
    count = len(entries) if clients is None else clients
    for key, value in (("clients", count), ("min-clients", parsed.waiting.min_clients)):
        if value > len(entries):
            raise EngineError(f"{key} = {value}: scenario {parsed.scenario} has {len(entries)} clients only.")
    check_settings(settings, entries[:count])
    nodes: list[dict[str, Any]] = [{"partition-id": i, "num-partitions": count} for i in range(count)]
    told = {"scenario": parsed.scenario, **settings}
    return _Plan(folder, parsed, parameters, told, tuple(entries[:count]), nodes)


@contextmanager
def _grid(engine: Engine, plan: _Plan, cluster: PrivateCluster | None) -> Iterator[Grid]:
    if engine.name == "inline":
        from client_app.app import app
        from fmtl.engine.inline import InlineGrid

        yield InlineGrid(app, plan.node_configs, plan.told, threads=engine.cpus_per_client)
        return
    from fmtl.engine.ray_grid import RayGrid
    from fmtl.engine.ray_worker import WorkerSettings

    address = cluster.address() if cluster is not None else str(engine.ray_address)
    with connected(address, engine) as ray:
        settings = WorkerSettings(CLIENT_APP, _CLIENT_CODE, plan.told, engine.cpus_per_client, plan.folder)
        grid = RayGrid(ray, engine, settings, plan.node_configs)
        try:
            yield grid
        finally:
            grid.close()


def _note_launch(plan: _Plan, engine: Engine) -> None:
    """Write down for `fmtl resume` how a new run was started."""
    from fmtl_strategies.contract.files import write_json
    from fmtl_strategies.contract.paths import strategy_folder

    if plan.config.resume or (plan.folder / "config.json").exists():
        return
    plan.folder.mkdir(parents=True, exist_ok=True)
    launch = {**asdict(engine), "clients": len(plan.node_configs)}
    if ":" in plan.config.strategy:
        launch["strategy_path"] = str(strategy_folder(os.environ))
    write_json(plan.folder / LAUNCH_FILE, launch)


@contextmanager
def _log_to(path: Path, show: Callable[[str], None] | None) -> Iterator[None]:
    """Write Flower's log to a file, and show its lines instead of letting Flower print them."""
    logger = logging.getLogger("flwr")
    before = list(logger.handlers)
    file = logging.FileHandler(path, delay=True)
    file.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    if show is not None:
        shown = _Shown(show)
        shown.setLevel(logging.INFO)
        logger.handlers = [shown]
    logger.addHandler(file)
    try:
        yield
    finally:
        file.close()
        logger.handlers = before


class _Shown(logging.Handler):
    def __init__(self, show: Callable[[str], None]) -> None:
        super().__init__()
        self._show = show

    def emit(self, record: logging.LogRecord) -> None:
        """Show a record's message."""
        self._show(record.getMessage())
