"""The runs of a sweep as tasks of Ray: one that dies costs itself only, what is printed is kept."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from fmtl.engine import Engine
from fmtl.errors import RunInterruptedError
from fmtl.interruption import SignalWatch
from fmtl.sweeps import tasks
from fmtl.sweeps.perform import sweep_engine
from fmtl.sweeps.plan import Job
from fmtl.sweeps.tasks import Outcome, do_all
from server_app.rounds import RunFailedError
from tests.support import sweeps


def outcomes_of(folder: Path, *labels: str, workers: int = 1) -> list[Outcome]:
    """How runs end that do what their label says (`tests.support.sweeps.do`)."""
    outcomes: list[Outcome] = []
    jobs = [Job(label, seed, folder / label / f"seed-{seed}", {}) for seed, label in enumerate(labels)]
    do_all(jobs, sweep_engine(workers), outcomes.append, sweeps.do)
    return outcomes


@pytest.mark.process
def test_worker_that_dies_costs_its_own_run_only(tmp_path: Path) -> None:
    outcomes = outcomes_of(tmp_path, "a", "dies", "b", "dies", "c", workers=2)
    assert sorted((outcome.job.label, outcome.status) for outcome in outcomes) == [
        *((label, "completed") for label in "abc"),
        *[("dies", "broken")] * 2,
    ]


@pytest.mark.process
def test_signal_ends_the_sweep(tmp_path: Path) -> None:
    threading.Timer(3.0, os.kill, (os.getpid(), signal.SIGINT)).start()
    with pytest.raises(RunInterruptedError), SignalWatch() as signals, signals.listening():
        outcomes_of(tmp_path, "sleeps", "sleeps", "a")


def test_cores_are_shared_out_unless_threads_were_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(7)), raising=False)
    monkeypatch.setenv("OMP_NUM_THREADS", "")
    assert sweep_engine(2).cpus_per_client == 3
    monkeypatch.setenv("OMP_NUM_THREADS", "5")
    assert sweep_engine(2).cpus_per_client == 5


@pytest.mark.parametrize(
    ("error", "status", "reason"),
    [
        (None, "completed", None),
        (RunFailedError("too few clients"), "failed", "too few clients"),
        (ZeroDivisionError("by nothing"), "broken", "ZeroDivisionError: by nothing"),
    ],
)
def test_outcome_is_told_and_what_is_printed_goes_to_the_log(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, error: Exception | None, status: str, reason: str | None
) -> None:
    asked: list[bool] = []

    def run(values: Mapping[str, Any], folder: Path, engine: Engine) -> None:
        asked.append(values["resume"])
        os.write(1, b"from a library\n")
        if error is not None:
            raise error

    monkeypatch.setattr(tasks, "run", run)
    folder = tmp_path / "run"
    assert tasks.do_run({}, folder, 1) == (status, reason)
    log = (folder / "log.txt").read_text()
    assert "from a library" in log
    assert ("Traceback" in log) == (status == "broken")
    (folder / "config.json").touch()
    tasks.do_run({}, folder, 1)
    assert asked == [False, True]
