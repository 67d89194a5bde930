"""`fmtl reproduce`, a whole small one: two methods with two seeds, killed once and gone on with."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from fmtl.report.run_reader import read_run
from fmtl.reproduce.counts import clients_of, count
from fmtl.reproduce.measured import measure
from fmtl.reproduce.plan import reproduction
from fmtl.reproduce.published_table import load_table
from fmtl.reproduce.report import lines_of
from fmtl.sweeps.plan import jobs_of

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.long

TABLE = ROOT / "tests/support/tiny_table.toml"


def command() -> list[str]:
    options = ["--seeds", "0,1", "--rounds", "1", "--methods", "local,fedprox", "--out", "out"]
    return [sys.executable, "-P", "-m", "fmtl", "reproduce", str(TABLE), *options]


def kill_after_the_first_run(environment: dict[str, str]) -> None:
    process = subprocess.Popen(command(), stdout=subprocess.PIPE, text=True, env=environment)
    assert process.stdout is not None
    for line in process.stdout:
        if line.startswith("[1/4]"):
            break
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stdout.close()


def go_on(environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    end = time.monotonic() + 60
    while True:
        ended = subprocess.run(command(), capture_output=True, text=True, env=environment, timeout=900)
        if ended.returncode == 0 or time.monotonic() > end:
            return ended
        time.sleep(0.5)  # what was killed by force is still being cleared away


def test_killed_and_started_again_it_ends_with_the_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1"}
    kill_after_the_first_run(environment)
    done = sorted(Path("out").rglob("result.json"))
    assert 1 <= len(done) < 4
    before = done[0].stat().st_mtime_ns
    ended = go_on(environment)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert done[0].stat().st_mtime_ns == before
    assert "NOT COMPARABLE: 1 of 2 rounds." in ended.stdout
    assert ended.stdout.count("measured, n = 2 ") >= 2
    assert "Not run yet: FedPer." in ended.stdout
    assert Path("out/table.md").is_file()
    work = reproduction(load_table(str(TABLE)), Path("out"), (0, 1), 1)
    for _, _, cells in lines_of(measure(work, {})):
        assert all(cell.replace(" ± ", "±").replace(" *", "*") in ended.stdout for cell in cells)
    clients = next(iter(clients_of(work).values()))
    jobs = jobs_of(next(iter(work.sweeps.values())))
    for job in (one for one in jobs if one.label in ("local", "fedprox") and one.seed == 0):
        foretold, run = count(job, clients), read_run(job.folder)
        assert run.result is not None
        assert foretold.bytes_up == pytest.approx(run.result.bytes_up, rel=0.01)
        assert foretold.bytes_down == pytest.approx(run.result.bytes_down, rel=0.01)
