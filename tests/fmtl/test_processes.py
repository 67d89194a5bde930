"""Processes below this one: all found, all ended, also where this one is killed by force; and signals."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from fmtl.errors import RunInterruptedError
from fmtl.interruption import SignalWatch
from fmtl.processes import ProcessTree, ending_leftovers, processes_using

linux_only = pytest.mark.skipif(sys.platform != "linux", reason="orphans stay in the tree on Linux only")

_GUARDED = """
import subprocess, sys, time
from pathlib import Path
from fmtl.processes import ending_leftovers
with ending_leftovers(Path(sys.argv[1])):
    stubborn = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print(1, flush=True); "
    command = [sys.executable, "-c", stubborn + "time.sleep(300)", sys.argv[1]]
    child = subprocess.Popen(command, stdout=subprocess.PIPE, start_new_session=True)
    child.stdout.readline()
    print("up", flush=True)
    time.sleep(300)
"""


def shell(tree: ProcessTree, script: str, folder: Path) -> subprocess.Popen[bytes]:
    """Start a shell script in a tree."""
    return tree.start(["/bin/sh", "-c", script], os.environ, folder, subprocess.DEVNULL)


def wait_until(condition: Callable[[], bool], seconds: float = 60.0) -> bool:
    """Whether a condition becomes true in time."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


@pytest.fixture
def bystander(tmp_path: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A process that was there before, and whose command names `tmp_path / "home"`."""
    command = [sys.executable, "-c", "import time; time.sleep(300)", str(tmp_path / "home")]
    with subprocess.Popen(command) as process:
        yield process
        process.kill()


@linux_only
def test_orphan_in_a_session_of_its_own_that_ignores_sigterm_is_ended(tmp_path: Path) -> None:
    file = tmp_path / "pid"
    orphan = f"trap '' TERM; echo $$ > {file}; while :; do sleep 0.1; done"
    with ProcessTree(grace=0.5) as tree:
        shell(tree, f'setsid sh -c "{orphan.replace("$$", chr(92) + "$$")}" & exit 0', tmp_path)
        assert wait_until(lambda: file.exists() and file.read_text().strip() != "")
        pid = int(file.read_text())
        assert pid in {process.pid for process in tree.alive()}
    assert not psutil.pid_exists(pid)


@linux_only
def test_a_tree_within_a_tree_leaves_orphans_to_the_outer_one(tmp_path: Path) -> None:
    file = tmp_path / "pid"
    with ProcessTree(grace=0.5) as outer:
        with ProcessTree(grace=0.5):
            pass
        shell(outer, f'setsid sh -c "sleep 60 & echo \\$! > {file}" & exit 0', tmp_path)
        assert wait_until(lambda: file.exists() and file.read_text().strip() != "")
        assert int(file.read_text()) in {process.pid for process in outer.alive()}


def test_process_from_before_is_left_alone(tmp_path: Path, bystander: subprocess.Popen[bytes]) -> None:
    with ProcessTree(grace=0.5) as tree:
        started = shell(tree, "sleep 60", tmp_path)
        assert bystander.pid not in {process.pid for process in tree.alive()}
    assert started.poll() is not None
    assert bystander.poll() is None


def test_a_process_that_ended_keeps_its_exit_status(tmp_path: Path) -> None:
    with ProcessTree(grace=0.5) as tree:
        started = shell(tree, "exit 3", tmp_path)
        assert wait_until(lambda: not tree.alive())
    assert started.returncode == 3


def test_a_process_that_ignores_requests_does_not_outlive_a_killed_parent(tmp_path: Path) -> None:
    home = tmp_path / "home"
    command = [sys.executable, "-c", _GUARDED, str(home)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as parent:
        assert parent.stdout is not None
        assert parent.stdout.readline() == b"up\n"
        assert len(processes_using(home)) >= 2
        parent.kill()
    assert wait_until(lambda: not processes_using(home), 120)


def test_nothing_is_ended_where_the_context_is_left(tmp_path: Path, bystander: subprocess.Popen[bytes]) -> None:
    with ending_leftovers(tmp_path / "home"):
        pass
    assert bystander.poll() is None
    assert {process.pid for process in processes_using(tmp_path / "home")} == {bystander.pid}
    assert bystander.pid not in {process.pid for process in processes_using(tmp_path / "other")}


def test_signal_raises_only_while_listening() -> None:
    with SignalWatch() as signals:
        os.kill(os.getpid(), signal.SIGTERM)
        with pytest.raises(RunInterruptedError) as caught, signals.listening():
            pytest.fail("the signal from before was forgotten")
        os.kill(os.getpid(), signal.SIGTERM)
    assert caught.value.signal_number == signal.SIGTERM
