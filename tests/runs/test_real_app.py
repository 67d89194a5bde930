"""The project's own app under the real `flwr run`: killed, resumed, and equal to the run in process, bit for bit."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from server_app.run_folder import RunFolder
from tests.support.small_flower_app import opened_files, pids

ROOT = Path(__file__).parents[2]
SCENARIO = ROOT / "tests/support/tiny.yaml"
ROUNDS = 4
SETTINGS = {"warmup-epochs": 0, "encoder-learning-rate": 0.001, "decoder-learning-rate": 0.001, "schedule": "constant"}

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="finds the server's process in /proc")

_IN_PROCESS = """
import json, sys
from pathlib import Path
from fmtl.local_run import run_in_process
run_in_process(json.loads(sys.argv[1]), Path(sys.argv[2]))
"""


def _environment() -> dict[str, str]:
    # Ray gives each worker one thread for the one core it is promised; the run in process must add in the same order.
    return {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}


def _fmtl(*arguments: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "fmtl", *arguments]
    return subprocess.Popen(
        command, cwd=ROOT, env=_environment(), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )


def _server_pid(run: Path) -> int | None:
    """The process that holds the run folder's lock open: the server, in the simulation's driver."""
    return next((pid for pid in pids() if str(run / "lock") in opened_files(pid)), None)


def _arrays(folder: Path) -> dict[str, np.ndarray]:
    checkpoint = RunFolder(folder).newest_checkpoint()
    assert checkpoint is not None
    found = {f"server/{name}": array for name, array in checkpoint.arrays.items()}
    for path in sorted((folder / "clients").rglob(f"round-{ROUNDS:05d}/state.safetensors")):
        found.update({f"{path.parts[-3]}/{name}": array for name, array in load_file(path).items()})
    return found


def test_killed_simulation_resumes_to_the_bits_of_the_run_in_process(tmp_path: Path) -> None:
    run, reference = tmp_path / "run", tmp_path / "reference"
    options = [f"--set={key}={json.dumps(value)}" for key, value in SETTINGS.items()]
    started = _fmtl(
        "run", "--strategy=fedhca2", f"--scenario={SCENARIO}", f"--rounds={ROUNDS}", f"--out={run}", *options
    )
    deadline, server = time.monotonic() + 900, None
    while server is None or not (run / "checkpoints/round-00001").exists():
        assert started.poll() is None, started.communicate()[0]
        assert time.monotonic() < deadline
        server = server or _server_pid(run)
        time.sleep(0.05)
    os.kill(server, signal.SIGKILL)
    printed, _ = started.communicate(timeout=900)
    assert started.returncode != 0, printed
    assert not (run / "result.json").exists()

    resumed = _fmtl("resume", str(run))
    printed, _ = resumed.communicate(timeout=900)
    assert resumed.returncode == 0, printed
    assert "resuming after round" in printed

    values = {"strategy": "fedhca2", "scenario": str(SCENARIO), "num-server-rounds": ROUNDS, **SETTINGS}
    command = [sys.executable, "-c", _IN_PROCESS, json.dumps(values), str(reference)]
    subprocess.run(command, cwd=ROOT, env=_environment(), check=True, timeout=900, stderr=subprocess.DEVNULL)

    one, other = _arrays(run), _arrays(reference)
    assert one.keys() == other.keys()
    assert any(name.startswith("three/") for name in one)
    for name, array in one.items():
        np.testing.assert_array_equal(array, other[name], err_msg=name)
    results = [json.loads((folder / "result.json").read_text()) for folder in (run, reference)]
    assert results[0]["status"] == "completed"
    assert results[0]["clients"] == results[1]["clients"]
