"""What is left of a run is ended when its `fmtl` is killed by force, and left alone when the run ends well."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from fmtl.simulation.guardian import Guardian, processes_using

ROOT = Path(__file__).parents[2]

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="looks for processes in /proc")

_GUARDED = """
import subprocess, sys, time
sys.path.insert(0, sys.argv[1])
from pathlib import Path
from fmtl.simulation.guardian import Guardian
with Guardian(Path(sys.argv[2])):
    stubborn = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print(1, flush=True); "
    command = [sys.executable, "-c", stubborn + "time.sleep(300)", sys.argv[2]]
    child = subprocess.Popen(command, stdout=subprocess.PIPE, start_new_session=True)
    child.stdout.readline()
    print("up", flush=True)
    time.sleep(300)
"""


def wait_until_gone(home: Path, seconds: float) -> list[int]:
    deadline = time.monotonic() + seconds
    while processes_using(home) and time.monotonic() < deadline:
        time.sleep(0.2)
    return processes_using(home)


def test_a_process_that_ignores_requests_does_not_outlive_a_killed_parent(tmp_path: Path) -> None:
    home = tmp_path / "home"
    command = [sys.executable, "-c", _GUARDED, str(ROOT), str(home)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as parent:
        assert parent.stdout is not None
        assert parent.stdout.readline() == b"up\n"
        assert len(processes_using(home)) >= 2
        parent.send_signal(signal.SIGKILL)
    assert wait_until_gone(home, 90) == []


def test_nothing_is_ended_when_the_run_ends_well(tmp_path: Path) -> None:
    home = tmp_path / "home"
    other = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)", str(home)])
    try:
        with Guardian(home):
            pass
        assert other.poll() is None
        assert processes_using(home) == [other.pid]
    finally:
        other.kill()
        other.wait()


def test_a_process_that_has_nothing_to_do_with_the_folder_is_not_found(tmp_path: Path) -> None:
    other = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    try:
        assert other.pid not in processes_using(tmp_path / "home")
    finally:
        other.kill()
        other.wait()
