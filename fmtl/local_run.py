"""A whole run in this process, from a run config: what a sweep or a test uses instead of `flwr run`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fmtl_datasets.scenarios.scenario import load_scenario

from client_app.app import app as client_app
from fmtl.in_process import InProcessGrid
from server_app.app import run
from server_app.config import parse_run_config


def run_in_process(values: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """Run a scenario without Ray and without a network, clients one after another.

    Args:
        values: run config by key, as in pyproject.toml; keys left out take their defaults.
        folder: absolute path of the run folder.

    Returns:
        The content of result.json.

    Raises:
        RunConfigError, ScenarioError: settings that do not exist or are impossible.
        RunFailedError: the run cannot go on; result.json says why.
    """
    settings = {**values, "out-dir": str(folder)}
    config, parameters = parse_run_config(settings)
    clients = load_scenario(config.scenario).clients
    nodes: list[dict[str, Any]] = [{"partition-id": i, "num-partitions": len(clients)} for i in range(len(clients))]
    told = {"scenario": config.scenario, "out-dir": config.out_dir}
    grid = InProcessGrid(client_app, nodes, {**told, **{k: v for k, v in settings.items() if k not in told}})
    return run(grid, config, parameters, folder)
