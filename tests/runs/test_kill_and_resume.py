"""A run whose process is killed with SIGKILL, at any moment, ends after resume with the bits of a run left alone."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from server_app.run_folder import RunFolder

ROOT = Path(__file__).parents[2]
ROUNDS = 3

# Watching the folder from outside would miss a moment that lasts a millisecond, so the process ends itself: Python
# reports every file operation to the hook before it is carried out.
_SCRIPT = """
import os, re, signal, sys
from pathlib import Path
from fmtl.engine import run
folder, scenario, resume, moment = Path(sys.argv[1]), sys.argv[2], sys.argv[3] == "resume", sys.argv[5]
def die_at_the_moment(event, arguments):
    if event in ("open", "os.mkdir", "os.rename") and any(re.search(moment, str(part)) for part in arguments):
        os.kill(os.getpid(), signal.SIGKILL)
if moment:
    sys.addaudithook(die_at_the_moment)
values = {"strategy": "fedhca2", "scenario": scenario, "num-server-rounds": int(sys.argv[4]), "resume": resume,
          "warmup-epochs": 0, "encoder-learning-rate": 1e-3, "decoder-learning-rate": 1e-3}
run(values, folder)
"""


def _run(folder: Path, how: str, moment: str = "") -> int:
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    scenario = str(ROOT / "tests/support/tiny.yaml")
    command = [sys.executable, "-c", _SCRIPT, str(folder), scenario, how, str(ROUNDS), moment]
    return subprocess.run(command, cwd=ROOT, env=environment, stderr=subprocess.DEVNULL, timeout=900).returncode


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
    assert _run(folder, "new") == 0
    return folder


# In turn: before the folder of a client's state exists, between a checkpoint's files, just before a checkpoint gets
# its final name, and just before a client's last state does.
@pytest.mark.parametrize(
    "moment",
    [
        r"three/\.round-00001",
        r"checkpoints/\.round-00002.*state\.json",
        pytest.param("checkpoints/round-00002", marks=pytest.mark.long),
        pytest.param("one/round-00003", marks=pytest.mark.long),
    ],
)
def test_run_killed_and_resumed_ends_with_the_same_bits(undisturbed: Path, tmp_path: Path, moment: str) -> None:
    folder = tmp_path / "run"
    assert _run(folder, "new", moment) == -signal.SIGKILL
    assert not (folder / "result.json").exists()
    assert _run(folder, "resume") == 0
    whole, cut = _arrays(undisturbed), _arrays(folder)
    assert whole.keys() == cut.keys()
    assert len([name for name in whole if name.startswith(("one/", "two/", "three/"))]) > 100
    for name, array in whole.items():
        np.testing.assert_array_equal(array, cut[name], err_msg=name)
    one, other = RunFolder(undisturbed).history(), RunFolder(folder).history()
    for line in (*one, *other):
        line.pop("seconds")
    assert one == other
