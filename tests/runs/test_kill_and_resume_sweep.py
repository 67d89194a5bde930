"""A sweep whose process is killed with SIGKILL goes on when it is started again, to the bits of runs left alone."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from fmtl.engine import run
from fmtl.sweeps.file import Sweep, read_sweep
from fmtl.sweeps.plan import jobs_of, state_of
from server_app.run_folder import RunFolder

ROOT = Path(__file__).parents[2]
SWEEP = f"""
scenario = "{ROOT / "tests/support/tiny.yaml"}"
rounds = 4
seeds = [3]
[[runs]]
strategy = "fedavg"
[[runs]]
strategy = "local"
"""


def start(path: Path) -> subprocess.Popen[str]:
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "fmtl", "sweep", str(path)]
    return subprocess.Popen(
        command, cwd=path.parent, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )


def wait_until(true: Callable[[], bool], seconds: float = 300) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def worker_of(process: subprocess.Popen[str]) -> int:
    found = subprocess.run(["ps", "-A", "-o", "pid=,ppid="], capture_output=True, text=True, check=True).stdout
    return next(int(pid) for pid, parent in (line.split() for line in found.splitlines()) if int(parent) == process.pid)


def runs_no_more(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except (FileNotFoundError, ProcessLookupError):
        return True


def results(sweep: Sweep) -> dict[str, Any]:
    return {job.name: json.loads((job.folder / "result.json").read_text())["clients"] for job in jobs_of(sweep)}


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
def test_sweep_killed_and_started_again_ends_with_the_bits_of_runs_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(SWEEP, encoding="utf-8")
    sweep = read_sweep(path, tmp_path / "runs/mine")
    local, fedavg = jobs_of(sweep)
    first = start(path)
    wait_until(lambda: (fedavg.folder / "config.json").exists())
    process = worker_of(first)
    wait_until(lambda: (fedavg.folder / "checkpoints/round-00001").exists() or first.poll() is not None)
    os.kill(first.pid, signal.SIGKILL)
    first.communicate(timeout=60)
    wait_until(lambda: runs_no_more(process), 60)
    assert state_of(fedavg) == "unfinished"
    done_at = (local.folder / "result.json").stat().st_mtime_ns

    second = start(path)
    printed = second.communicate(timeout=500)[0]
    assert second.returncode == 0, printed
    assert (local.folder / "result.json").stat().st_mtime_ns == done_at

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        for job in (local, fedavg):
            alone = run(job.values, tmp_path / "alone" / job.label)
            assert alone["clients"] == results(sweep)[job.name]
    finally:
        torch.set_num_threads(threads)
    one, other = RunFolder(tmp_path / "alone/fedavg").newest_checkpoint(), RunFolder(fedavg.folder).newest_checkpoint()
    assert one is not None
    assert other is not None
    assert one.arrays.keys() == other.arrays.keys()
    for name, array in one.arrays.items():
        np.testing.assert_array_equal(array, other.arrays[name], err_msg=name)
