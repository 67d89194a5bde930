"""`fmtl sweep`: what a run leaves in its folder, and parameters of strategies that wrap another."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from run_folders import RunFolder as WrittenRun

from fmtl.errors import SettingError
from fmtl.sweeps.file import Sweep, read_sweep
from fmtl.sweeps.perform import planned
from fmtl.sweeps.plan import Job, clear, jobs_of, state_of
from fmtl.sweeps.summary import failures, summarise
from server_app.config import effective_config, parse_run_config
from server_app.run_folder import RunFolder

TINY = Path(__file__).parents[2] / "tests/support/tiny.yaml"


def sweep_of(folder: Path, runs: str) -> Sweep:
    file = folder / "mine.toml"
    file.write_text(f'scenario = "{TINY}"\nrounds = 2\nseeds = [0]\n{runs}', encoding="utf-8")
    return read_sweep(file, folder / "out")


def finish(job: Job) -> None:
    """A run folder as a finished run leaves it."""
    run = RunFolder(job.folder)
    run.create({"run_config": effective_config(*parse_run_config(job.values))})
    run.write_unified({"encoder.stem": np.zeros(2, np.float32)})
    run.write_result({"status": "completed"})
    run.close()


def test_parameters_of_a_wrapped_strategy_reach_its_run(tmp_path: Path) -> None:
    sweep = sweep_of(
        tmp_path,
        '[[runs]]\nstrategy = "feddea"\nparameters = { base = "fedprox" }\n'
        "settings = { fedprox = { mu = [0.5, 2] } }\n",
    )
    recorded = [effective_config(*parse_run_config(job.values))["fedprox.mu"] for job in jobs_of(sweep)]
    assert recorded == [0.5, 2.0]


def test_run_that_left_a_unified_model_can_be_done_anew(tmp_path: Path) -> None:
    (job,) = jobs_of(sweep_of(tmp_path, '[[runs]]\nstrategy = "feddea"\n'))
    finish(job)
    assert state_of(job) == "done"
    clear(job)
    assert not job.folder.exists()


def test_foreign_files_in_a_run_to_be_done_anew_are_named_before_anything_is_removed(tmp_path: Path) -> None:
    sweep = sweep_of(tmp_path, '[[runs]]\nstrategy = "local"\n[[runs]]\nstrategy = "fedavg"\n')
    jobs = jobs_of(sweep)
    for job in jobs:
        finish(job)
    (jobs[-1].folder / "thesis.tex").touch()
    with pytest.raises(SettingError, match=r"thesis\.tex"):
        planned(sweep, again=["*"])
    assert json.loads((jobs[0].folder / "result.json").read_text())["status"] == "completed"


def test_clients_that_missed_rounds_are_named_beside_the_result(tmp_path: Path) -> None:
    sweep = sweep_of(tmp_path, '[[runs]]\nstrategy = "local"\n')
    (job,) = jobs_of(sweep)
    scores = {"one": {"semseg": 0.5}, "two": {"depth": 2.0}, "three": {"saliency": 40.0}}
    settings = effective_config(*parse_run_config(job.values))
    WrittenRun(scores, "local", 0, 2, str(TINY), {}, settings).write(job.folder)
    lines = [json.loads(line) for line in (job.folder / "history.jsonl").read_text().splitlines()]
    training = [line for line in lines if not line.get("final")]
    training[0]["participants"] = ["one", "three"]
    training[1]["skipped"] = True
    (job.folder / "history.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    named = [line for line in failures(summarise(sweep, {})[0]) if "missed" in line]
    assert named == [
        f"local/seed-0: client {client} missed {count} of 2 rounds (see history.jsonl)"
        for client, count in (("one", 1), ("three", 1), ("two", 2))
    ]
