"""Sweeps over the tiny scenario, runs of theirs that have ended, and what a worker does in tests instead of a run."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fmtl.sweeps.plan import Job
from server_app.config import effective_config, parse_run_config
from tests.support.run_folders import RunFolder, Values

TINY = Path(__file__).parent / "tiny.yaml"
HEAD = f'scenario = "{TINY}"\nrounds = 2\nseeds = [0, 1]\n'
LINES = '[[runs]]\nstrategy = "fedavg"\n[[runs]]\nstrategy = "local"\n'
LOCAL: Values = {"one": {"semseg": 0.5}, "two": {"depth": 2.0, "normals": 30.0}, "three": {"saliency": 40.0}}


def write_sweep(text: str = HEAD + LINES, name: str = "mine.toml") -> Path:
    """A sweep file in the current folder."""
    path = Path.cwd() / name
    path.write_text(text, encoding="utf-8")
    return path


def finish(job: Job, values: Values = LOCAL, **how: Any) -> Path:
    """A run folder as a run leaves it; `how` is what `RunFolder` takes beside."""
    config, parameters = parse_run_config(job.values)
    facts = {"parameters": parameters, "settings": effective_config(config, parameters), **how}
    rounds, scenario = config.local.total_rounds, Path(config.scenario).stem
    return RunFolder(values, config.strategy, job.seed, rounds, scenario, **facts).write(job.folder)


def do(values: Mapping[str, Any], folder: Path, threads: int) -> tuple[str, str | None]:
    """End at once, be killed, or sleep, as the run is called."""
    label = folder.parent.name
    if label == "dies":
        os.kill(os.getpid(), signal.SIGKILL)
    if label == "sleeps":
        time.sleep(600)
    return "completed", None
