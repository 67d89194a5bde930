"""Processes of a run: all found, all ended; signals, ports, the private home."""

from __future__ import annotations

import errno
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

from fmtl.simulation import RunInterruptedError, SimulationError, environment
from fmtl.simulation.environment import check_space, find_program, flower_environment, private_home
from fmtl.simulation.errors import disk_full, mentions_full_disk
from fmtl.simulation.flwr_cli import FlowerCommands, Resources
from fmtl.simulation.interruption import SignalWatch, exclusive
from fmtl.simulation.process_tree import ProcessTree
from fmtl.simulation.superlink import Workplace, start_superlink

linux_only = pytest.mark.skipif(sys.platform != "linux", reason="orphans stay in the tree on Linux only")


def shell(tree: ProcessTree, script: str, folder: Path) -> subprocess.Popen[bytes]:
    """Start a shell script in a tree."""
    return tree.start(["/bin/sh", "-c", script], os.environ, folder, subprocess.DEVNULL)


def wait_until(condition: Callable[[], bool], seconds: float = 10.0) -> bool:
    """Whether a condition becomes true in time."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


@linux_only
def test_orphan_in_a_session_of_its_own_that_ignores_sigterm_is_ended(tmp_path: Path) -> None:
    file = tmp_path / "pid"
    orphan = f"trap '' TERM; echo $$ > {file}; while :; do sleep 0.1; done"
    with ProcessTree(grace=0.5) as tree:
        shell(tree, f'setsid sh -c "{orphan.replace("$$", chr(92) + "$$")}" & exit 0', tmp_path)
        assert wait_until(lambda: file.exists() and file.read_text().strip() != "")
        pid = int(file.read_text())
        assert pid in tree.alive()
    assert not Path(f"/proc/{pid}").exists()


def test_a_tree_within_a_tree_leaves_orphans_to_the_outer_one(tmp_path: Path) -> None:
    file = tmp_path / "pid"
    with ProcessTree(grace=0.5) as outer:
        with ProcessTree(grace=0.5):
            pass
        shell(outer, f'setsid sh -c "sleep 60 & echo \\$! > {file}" & exit 0', tmp_path)
        assert wait_until(lambda: file.exists() and file.read_text().strip() != "")
        assert int(file.read_text()) in outer.alive()


def test_process_from_before_is_left_alone(tmp_path: Path) -> None:
    bystander = subprocess.Popen(["sleep", "60"])
    try:
        with ProcessTree(grace=0.5) as tree:
            started = shell(tree, "sleep 60", tmp_path)
            assert bystander.pid not in tree.alive()
        assert started.poll() is not None
        assert bystander.poll() is None
    finally:
        bystander.kill()
        bystander.wait()


@linux_only
def test_program_is_found_by_its_name_below_a_started_process(tmp_path: Path) -> None:
    script = tmp_path / "some-driver"
    script.write_text("#!/bin/sh\nsleep 60; true\n")
    script.chmod(0o755)
    with ProcessTree(grace=0.5) as tree:
        shell(tree, f"{script}; true", tmp_path)
        assert wait_until(lambda: tree.has_program("some-driver") is True)
        assert tree.has_program("other-driver") is False


def test_signal_raises_only_while_listening() -> None:
    with SignalWatch() as signals:
        os.kill(os.getpid(), signal.SIGTERM)
        with pytest.raises(RunInterruptedError) as caught, signals.listening():
            pytest.fail("the signal from before was forgotten")
        os.kill(os.getpid(), signal.SIGTERM)
    assert caught.value.signal_number == signal.SIGTERM


def test_run_folder_is_held_by_one_process(tmp_path: Path) -> None:
    folder = tmp_path / "runs" / "a"
    refused = pytest.raises(SimulationError, match="Another process is working on")
    with exclusive(folder), refused, exclusive(folder):
        pytest.fail("two held the same folder")
    with exclusive(folder):
        assert not folder.exists()
    assert list((tmp_path / "runs").iterdir()) == []


@pytest.fixture
def place() -> Workplace:
    """A private home that stays after the test only until the temporary folder is cleaned."""
    with private_home() as home:
        yield Workplace(home, home, flower_environment(home, os.environ))


def test_taken_port_is_left_for_another(place: Workplace) -> None:
    with socket.socket() as taken, ProcessTree() as tree:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        busy = int(taken.getsockname()[1])
        proposals = iter([busy])
        superlink = start_superlink(tree, place, lambda: next(proposals, None) or environment.free_port())
        assert superlink.port != busy
        assert f"127.0.0.1:{superlink.port}" in (place.home / "config.toml").read_text()
        commands = FlowerCommands(tree, place, lambda: None)
        with pytest.raises(SimulationError, match="Flower refused `flwr run`: .*pyproject.toml"):
            commands.submit(place.home / "none.toml", Resources(2))


def test_superlink_that_dies_at_its_start_shows_the_end_of_its_log(
    place: Workplace, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = place.home / "flower-superlink"
    program.write_text("#!/bin/sh\necho 'no such flag: --simulation'; exit 2\n")
    program.chmod(0o755)
    monkeypatch.setattr("fmtl.simulation.superlink.find_program", lambda name: str(place.home / name))
    with ProcessTree() as tree, pytest.raises(SimulationError, match="with status 2; .*\nno such flag: --simulation"):
        start_superlink(tree, place)


def test_missing_program_names_this_python_and_what_to_install(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(environment, "_program_folders", lambda: [tmp_path])
    with pytest.raises(SimulationError, match=r"'flwr' is not installed for .*pip install"):
        find_program("flwr")


def test_environment_is_confined_to_the_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    env = flower_environment(tmp_path, {"PATH": "/bin", "FMTL_DATA_ROOT": "data", "RAY_ADDRESS": "auto", "A": "b"})
    assert env["PATH"].split(os.pathsep)[0] == str(Path(sys.executable).parent)
    assert env["PATH"].endswith("/bin")
    assert env["FMTL_DATA_ROOT"] == str(tmp_path / "data")
    assert env["FLWR_HOME"] == env["RAY_TMPDIR"] == str(tmp_path)
    assert env["FLWR_DISABLE_RUNTIME_DEPENDENCY_INSTALLATION"] == "1"
    assert "RAY_ADDRESS" not in env
    assert env["A"] == "b"


def test_home_is_short_enough_for_sockets_and_removed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    long = tmp_path / ("x" * 60)
    long.mkdir()
    monkeypatch.setattr(environment.tempfile, "gettempdir", lambda: str(long))
    with private_home() as home:
        assert len(str(home)) <= 36
        (home / "state").write_text("x")
    assert not home.exists()


def test_full_disk_is_said_before_anything_is_started(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(environment.shutil, "disk_usage", lambda path: SimpleNamespace(free=5 * 2**20))
    with pytest.raises(SimulationError, match=r"Only 5 MiB are free on the disk of .*/new/run.*free some space"):
        check_space(tmp_path / "new" / "run")


def test_full_disk_is_told_from_other_errors(tmp_path: Path) -> None:
    error = disk_full(OSError(errno.ENOSPC, "No space left on device"), tmp_path)
    assert f"No space is left on the disk of {tmp_path}" in str(error)
    assert disk_full(OSError(errno.EACCES, "Permission denied"), tmp_path) is None
    assert mentions_full_disk("OSError: [Errno 28] No space left on device")
    assert not mentions_full_disk("ValueError: no")
