"""Programs that are kept running: started again when they die, given up when it is of no use."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from fmtl.network import services
from fmtl.network.errors import NetworkSetupError
from fmtl.network.services import Program, Service
from fmtl.processes import ProcessTree


@pytest.fixture
def tree() -> Iterator[ProcessTree]:
    with ProcessTree() as found:
        yield found


@pytest.fixture(autouse=True)
def _short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(services, "FIRST_PAUSE", 0.02)
    monkeypatch.setattr(services, "LONGEST_PAUSE", 0.1)
    monkeypatch.setattr(services, "FATAL_PAUSE", 0.05)


def _program(folder: Path, code: str) -> Program:
    command, fatal = [sys.executable, "-c", code], {"REFUSED": "nobody knows it."}
    return Program("the program", command, dict(os.environ), folder, folder / "log", fatal, ["HANGS"])


def _until(service: Service, condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 120
    while not condition():
        assert time.monotonic() < deadline
        service.watch()
        time.sleep(0.01)


def test_a_program_that_dies_is_started_again_and_that_is_said(tmp_path: Path, tree: ProcessTree) -> None:
    said: list[str] = []
    service = Service(_program(tmp_path, "print('hello', flush=True); raise SystemExit(7)"), tree, said.append)
    service.start()
    _until(service, lambda: (tmp_path / "log").read_text().count("hello") >= 3)
    assert "the program ended with status 7; starting it again" in said[0]


def test_output_is_that_of_the_last_start(tmp_path: Path, tree: ProcessTree) -> None:
    service = Service(_program(tmp_path, "import os; print(os.getpid(), flush=True); input()"), tree, lambda line: None)
    service.start()
    _until(service, lambda: service.output().endswith("\n") or service.process.poll() is not None)  # type: ignore[union-attr]
    assert service.process is not None
    assert service.output().split()[0] == str(service.process.pid)


def test_a_fatal_end_is_given_up_at_once(tmp_path: Path, tree: ProcessTree) -> None:
    service = Service(_program(tmp_path, "print('REFUSED')"), tree, lambda line: None)
    service.start()
    with pytest.raises(NetworkSetupError, match="nobody knows it"):
        _until(service, lambda: False)
    assert (tmp_path / "log").read_text().count("REFUSED") == 1


def test_with_patience_a_fatal_end_is_tried_again_for_a_while(tmp_path: Path, tree: ProcessTree) -> None:
    said: list[str] = []
    service = Service(_program(tmp_path, "print('REFUSED')"), tree, said.append)
    service.patience = 0.5
    service.start()
    started = time.monotonic()
    with pytest.raises(NetworkSetupError, match="nobody knows it"):
        _until(service, lambda: False)
    assert time.monotonic() - started >= 0.5
    assert (tmp_path / "log").read_text().count("REFUSED") > 1
    assert len([line for line in said if "nobody knows it" in line]) == 1


def test_an_excused_end_does_not_count(tmp_path: Path, tree: ProcessTree) -> None:
    service = Service(_program(tmp_path, "print('REFUSED')"), tree, lambda line: None)
    service.patience = 0.3
    service.start()
    started = time.monotonic()

    def excused_for_a_second() -> bool:
        service.excuse()
        return time.monotonic() - started > 1.0

    _until(service, excused_for_a_second)
    with pytest.raises(NetworkSetupError, match="nobody knows it"):
        _until(service, lambda: False)


def test_a_fatal_end_long_after_an_earlier_one_has_the_whole_patience_again(
    tmp_path: Path, tree: ProcessTree, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(services, "STEADY_SECONDS", 0.0)
    service = Service(_program(tmp_path, "print('REFUSED')"), tree, lambda line: None)
    service.patience = 0.2
    service.start()
    started = time.monotonic()
    # It is not given up, however often it ends.
    again = lambda: (tmp_path / "log").read_text().count("REFUSED") > 1  # noqa: E731 - read again at every look
    _until(service, lambda: time.monotonic() - started > 1.0 and again())


def test_a_program_that_hangs_is_ended_and_started_again(
    tmp_path: Path, tree: ProcessTree, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(services, "STUCK_LOOK", 0.02)
    monkeypatch.setattr(services, "STUCK_SECONDS", 0.1)
    said: list[str] = []
    code = "import time; print('HANGS', flush=True); time.sleep(600)"
    service = Service(_program(tmp_path, code), tree, said.append)
    service.start()
    _until(service, lambda: (tmp_path / "log").read_text().count("HANGS") >= 2)
    assert "is hanging" in said[0]


def test_a_sign_is_found_behind_much_output_and_where_it_was_cut(
    tmp_path: Path, tree: ProcessTree, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(services, "STUCK_LOOK", 0.0)
    monkeypatch.setattr(services, "STUCK_SECONDS", 0.0)
    said: list[str] = []
    code = (
        "import sys, time\n"
        "for part in ('works ' * 20000, 'HAN', 'GS'):\n"
        "    sys.stdout.write(part); sys.stdout.flush(); time.sleep(0.4)\n"
        "time.sleep(60)"
    )
    service = Service(_program(tmp_path, code), tree, said.append)
    service.start()
    _until(service, lambda: bool(said))
    assert "is hanging" in said[0]


def test_a_program_that_works_is_not_ended(tmp_path: Path, tree: ProcessTree, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(services, "STUCK_LOOK", 0.0)
    monkeypatch.setattr(services, "STUCK_SECONDS", 0.0)
    service = Service(_program(tmp_path, "import time; print('works', flush=True); time.sleep(60)"), tree, print)
    service.start()
    first, started = service.process, time.monotonic()
    _until(service, lambda: time.monotonic() - started > 0.5)
    assert service.process is first


@pytest.mark.parametrize("deaf", ["", "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); "])
def test_restart_ends_the_program_and_starts_it_at_once(
    tmp_path: Path, tree: ProcessTree, monkeypatch: pytest.MonkeyPatch, deaf: str
) -> None:
    monkeypatch.setattr(services, "END_SECONDS", 0.3)
    code = f"{deaf}import time; print('up', flush=True); time.sleep(60)"
    service = Service(_program(tmp_path, code), tree, lambda line: None)
    service.start()
    first = service.process
    _until(service, lambda: "up" in service.output())
    service.restart()
    assert first is not None
    assert first.poll() is not None
    assert service.process is not first
    _until(service, lambda: "up" in service.output())
