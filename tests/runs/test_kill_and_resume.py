"""A run whose process is killed with SIGKILL, at any moment, ends after resume with the bits of a run left alone."""

from __future__ import annotations

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

ROOT = Path(__file__).parents[2]
ROUNDS = 3

_SCRIPT = """
import sys
from pathlib import Path
from fmtl.local_run import run_in_process
folder, scenario, resume = Path(sys.argv[1]), sys.argv[2], sys.argv[3] == "resume"
values = {"strategy": "fedhca2", "scenario": scenario, "num-server-rounds": int(sys.argv[4]), "resume": resume,
          "warmup-epochs": 0, "encoder-learning-rate": 1e-3, "decoder-learning-rate": 1e-3}
run_in_process(values, folder)
"""


def _start(folder: Path, how: str) -> subprocess.Popen[bytes]:
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", _SCRIPT, str(folder), str(ROOT / "tests/support/tiny.yaml"), how, str(ROUNDS)]
    return subprocess.Popen(command, cwd=ROOT, env=environment, stderr=subprocess.DEVNULL)


def _files(folder: Path) -> set[str]:
    # os.walk skips a folder that is renamed away while we look; Path.rglob would raise.
    return {os.path.join(place, name) for place, folders, files in os.walk(folder) for name in (*folders, *files)}


def _wait_for(process: subprocess.Popen[bytes], folder: Path, part: str) -> None:
    deadline = time.monotonic() + 240
    while not any(part in name for name in _files(folder)):
        assert process.poll() is None, f"the run ended before {part} appeared"
        assert time.monotonic() < deadline
        time.sleep(0.01)


def _arrays(folder: Path) -> dict[str, np.ndarray]:
    checkpoint = RunFolder(folder).newest_checkpoint()
    assert checkpoint is not None
    found = {f"server/{name}": array for name, array in checkpoint.arrays.items()}
    for path in sorted((folder / "clients").rglob(f"round-{ROUNDS:05d}/state.safetensors")):
        found.update({f"{path.parts[-3]}/{name}": array for name, array in load_file(path).items()})
    return found


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("undisturbed") / "run"
    assert _start(folder, "new").wait(300) == 0
    return folder


@pytest.mark.parametrize("moment", ["three/round-00001", "checkpoints/.round-00002", "one/round-00003"])
def test_run_killed_and_resumed_ends_with_the_same_bits(undisturbed: Path, tmp_path: Path, moment: str) -> None:
    folder = tmp_path / "run"
    process = _start(folder, "new")
    _wait_for(process, folder, moment)
    os.kill(process.pid, signal.SIGKILL)
    process.wait(60)
    assert not (folder / "result.json").exists()
    assert _start(folder, "resume").wait(300) == 0
    whole, cut = _arrays(undisturbed), _arrays(folder)
    assert whole.keys() == cut.keys()
    assert len([name for name in whole if name.startswith(("one/", "two/", "three/"))]) > 100
    for name, array in whole.items():
        np.testing.assert_array_equal(array, cut[name], err_msg=name)
    one, other = RunFolder(undisturbed).history(), RunFolder(folder).history()
    for line in (*one, *other):
        line.pop("seconds")
    assert one == other
