"""All engines give the same bits, and whatever ends a run, nothing is left and it resumes to those bits."""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import psutil
import pytest
from safetensors.numpy import load_file

from fmtl.engine import Engine, run
from server_app.rounds import RunFailedError
from server_app.run_folder import RunFolder

SCENARIO = Path(__file__).parents[1] / "support/tiny.yaml"
ROUNDS = 3
VALUES = {
    "strategy": "fedhca2",
    "scenario": str(SCENARIO),
    "num-server-rounds": ROUNDS,
    "warmup-epochs": 0,
    "encoder-learning-rate": 0.001,
    "decoder-learning-rate": 0.001,
}
PROGRAMS = Path(sys.executable).parent


def arrays(folder: Path) -> dict[str, np.ndarray]:
    """What server and clients have at the end, by name."""
    checkpoint = RunFolder(folder).newest_checkpoint()
    assert checkpoint is not None
    found = {f"server/{name}": array for name, array in checkpoint.arrays.items()}
    for path in sorted((folder / "clients").rglob(f"round-{ROUNDS:05d}/state.safetensors")):
        found.update({f"{path.parts[-3]}/{name}": array for name, array in load_file(path).items()})
    return found


def assert_same_bits(one: Path, other: Path) -> None:
    """Compare everything that two runs have at the end."""
    first, second = arrays(one), arrays(other)
    assert first.keys() == second.keys()
    assert any(name.startswith("three/") for name in first)
    for name, array in first.items():
        np.testing.assert_array_equal(array, second[name], err_msg=name)


@pytest.fixture(scope="module")
def inline(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run folder of the inline engine."""
    folder = tmp_path_factory.mktemp("inline") / "run"
    run(VALUES, folder)
    return folder


@pytest.fixture
def temporary() -> Iterator[Path]:
    """A short folder for temporary files, by which the processes of a command are known."""
    folder = Path(tempfile.mkdtemp(prefix="ft-", dir="/tmp"))
    yield folder
    for process in using(folder):
        process.kill()
    shutil.rmtree(folder, ignore_errors=True)


def using(folder: Path) -> list[psutil.Process]:
    """Processes that have a folder among their arguments or environment."""
    found = []
    for process in psutil.process_iter():
        try:
            if str(folder) in " ".join([*process.cmdline(), *process.environ().values()]):
                found.append(process)
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            continue
    return found


def wait_until_gone(folder: Path) -> None:
    """Wait until no process has to do with a folder."""
    deadline = time.monotonic() + 300
    while left := using(folder):
        assert time.monotonic() < deadline, [process.cmdline() for process in left]
        time.sleep(0.2)


def fmtl(temporary: Path, *arguments: str) -> subprocess.Popen[str]:
    """Start a command whose temporary files lie in a folder."""
    environment = {**os.environ, "TMPDIR": str(temporary)}
    command = [sys.executable, "-m", "fmtl", *arguments]
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def start(temporary: Path, folder: Path) -> subprocess.Popen[str]:
    """Start the run as a command on two workers, and wait until it has done a round."""
    settings = [f"--set={key}={value}" for key, value in VALUES.items()]
    process = fmtl(temporary, "run", "--out-dir", str(folder), "--workers=2", *settings)
    deadline = time.monotonic() + 900
    while not (folder / "checkpoints/round-00001").exists():
        assert process.poll() is None, process.communicate()[0]
        assert time.monotonic() < deadline
        time.sleep(0.02)
    return process


def test_ray_gives_the_bits_of_inline(inline: Path, tmp_path: Path) -> None:
    result = run(VALUES, tmp_path / "run", Engine("ray", workers=2))
    assert result["status"] == "completed"
    assert_same_bits(tmp_path / "run", inline)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_ended_command_leaves_nothing_and_resumes_to_the_same_bits(
    inline: Path, tmp_path: Path, temporary: Path, number: signal.Signals
) -> None:
    folder = tmp_path / "run"
    process = start(temporary, folder)
    process.send_signal(number)
    printed, _ = process.communicate(timeout=900)
    assert process.returncode == (-number if number == signal.SIGKILL else 128 + number), printed
    assert number == signal.SIGKILL or f"fmtl resume {folder}" in printed
    wait_until_gone(temporary)
    assert number == signal.SIGKILL or not list(temporary.iterdir())

    resumed = fmtl(temporary, "resume", str(folder), "--engine=inline")
    printed, _ = resumed.communicate(timeout=900)
    assert resumed.returncode == 0, printed
    assert_same_bits(folder, inline)


def test_run_whose_clients_fail_ends_with_their_reason(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scenario = tmp_path / "broken.yaml"
    scenario.write_text(SCENARIO.read_text().replace("batch-size: 2", "batch-size: 2\n  device: cuda:7"))
    with pytest.raises(RunFailedError, match="cuda:7"):
        run({**VALUES, "scenario": str(scenario)}, tmp_path / "run", Engine("ray", workers=1))
    assert "Traceback" in (tmp_path / "run/log.txt").read_text()


def test_plain_flwr_run_gives_the_bits_of_inline(inline: Path, tmp_path: Path, temporary: Path) -> None:
    root, folder = Path(__file__).parents[2], tmp_path / "run"
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("FLWR_", "RAY_"))}
    environment |= {"FLWR_HOME": str(temporary), "RAY_TMPDIR": str(temporary), "OMP_NUM_THREADS": "1"}
    environment |= {"FLWR_DISABLE_RUNTIME_DEPENDENCY_INSTALLATION": "1", "FLWR_TELEMETRY_ENABLED": "0"}
    environment |= {"PATH": f"{PROGRAMS}:{os.environ['PATH']}"}
    from fmtl.network.flower_programs import free_port

    for variable in ("FLWR_LOCAL_SUPERLINK_HTTP_API_PORT", "FLWR_LOCAL_CONTROL_API_PORT"):
        environment[variable] = str(free_port())
    config = tmp_path / "config.toml"
    values = {**VALUES, "out-dir": str(folder)}
    config.write_text("".join(f"{key} = {value!r}\n" for key, value in values.items()))
    federation = "num-supernodes=3 client-resources-num-cpus=1"
    command = ["flwr", "run", str(root), "--stream", "--federation-config", federation, "--run-config", str(config)]
    printed = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=900)
    assert (folder / "result.json").is_file(), printed.stdout + printed.stderr
    assert_same_bits(folder, inline)
