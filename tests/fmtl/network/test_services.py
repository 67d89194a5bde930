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


@pytest.fixture(autouse=True)
def _short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(services, "FIRST_PAUSE", 0.02)
    monkeypatch.setattr(services, "LONGEST_PAUSE", 0.1)
    monkeypatch.setattr(services, "FATAL_PAUSE", 0.05)


Start = Callable[..., tuple[Service, list[str]]]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Keep a program with some code running; gives the service, and what it says."""
    with ProcessTree() as tree:

        def begin(code: str, patience: float = 0.0) -> tuple[Service, list[str]]:
            said: list[str] = []
            command, fatal = [sys.executable, "-c", code], {"REFUSED": "nobody knows it."}
            program = Program("the program", command, dict(os.environ), tmp_path, tmp_path / "log", fatal, ["HANGS"])
            service = Service(program, tree, said.append)
            service.patience = patience
            service.start()
            return service, said

        yield begin


@pytest.fixture
def count(tmp_path: Path) -> Callable[[str], int]:
    """How often something stands in the log of the program."""
    return lambda text: (tmp_path / "log").read_text().count(text)


def _until(service: Service, condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 120
    while not condition():
        assert time.monotonic() < deadline
        service.watch()
        time.sleep(0.01)


def _gives_up(service: Service) -> None:
    with pytest.raises(NetworkSetupError, match="nobody knows it"):
        _until(service, lambda: False)


def test_a_program_that_dies_is_started_again_and_that_is_said(start: Start, count: Callable[[str], int]) -> None:
    service, said = start("print('hello', flush=True); raise SystemExit(7)")
    _until(service, lambda: count("hello") >= 3)
    assert "the program ended with status 7" in said[0]


def test_output_is_that_of_the_last_start(start: Start) -> None:
    service, _ = start("import os; print(os.getpid(), flush=True); input()")
    _until(service, lambda: service.output().endswith("\n") or service.ended)
    assert service.process is not None
    assert service.output().split()[0] == str(service.process.pid)


def test_a_fatal_end_is_given_up_at_once(start: Start, count: Callable[[str], int]) -> None:
    _gives_up(start("print('REFUSED')")[0])
    assert count("REFUSED") == 1


def test_with_patience_a_fatal_end_is_tried_again_for_a_while(start: Start, count: Callable[[str], int]) -> None:
    started = time.monotonic()
    service, said = start("print('REFUSED')", patience=0.5)
    _gives_up(service)
    assert time.monotonic() - started >= 0.5
    assert count("REFUSED") > 1
    assert len([line for line in said if "nobody knows it" in line]) == 1


def test_an_excused_end_does_not_count(start: Start, count: Callable[[str], int]) -> None:
    service, _ = start("print('REFUSED')", patience=0.3)
    started = time.monotonic()

    def excused_for_a_second() -> bool:
        service.excuse()
        return time.monotonic() - started > 1.0

    _until(service, excused_for_a_second)
    assert count("REFUSED") >= 1
    _gives_up(service)


def test_a_fatal_end_long_after_an_earlier_one_has_the_whole_patience_again(
    start: Start, count: Callable[[str], int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(services, "STEADY_SECONDS", 0.0)
    service, _ = start("print('REFUSED')", patience=0.2)
    started = time.monotonic()
    # It is not given up, however often it ends.
    _until(service, lambda: time.monotonic() - started > 1.0 and count("REFUSED") > 1)


@pytest.mark.parametrize(
    "code",
    [
        "import time; print('HANGS', flush=True); time.sleep(600)",
        # Behind much output, and cut where it is read.
        """import sys, time
for part in ('works ' * 20000, 'HAN', 'GS'):
    sys.stdout.write(part); sys.stdout.flush(); time.sleep(0.4)
time.sleep(600)""",
    ],
)
def test_a_program_that_hangs_is_ended_and_started_again(
    start: Start, count: Callable[[str], int], monkeypatch: pytest.MonkeyPatch, code: str
) -> None:
    monkeypatch.setattr(services, "STUCK_LOOK", 0.0)
    monkeypatch.setattr(services, "STUCK_SECONDS", 0.0)
    service, said = start(code)
    _until(service, lambda: count("HANGS") >= 2)
    assert "is hanging" in said[0]


def test_a_program_that_works_is_not_ended(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(services, "STUCK_LOOK", 0.0)
    monkeypatch.setattr(services, "STUCK_SECONDS", 0.0)
    service, _ = start("import time; print('works', flush=True); time.sleep(600)")
    first, started = service.process, time.monotonic()
    _until(service, lambda: time.monotonic() - started > 0.5)
    assert service.process is first


@pytest.mark.parametrize("deaf", ["", "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); "])
def test_restart_ends_the_program_and_starts_it_at_once(
    start: Start, monkeypatch: pytest.MonkeyPatch, deaf: str
) -> None:
    monkeypatch.setattr(services, "END_SECONDS", 0.3)
    service, _ = start(f"{deaf}import time; print('up', flush=True); time.sleep(600)")
    first = service.process
    _until(service, lambda: "up" in service.output())
    service.restart()
    assert first is not None
    assert first.poll() is not None
    assert service.process is not first
    _until(service, lambda: "up" in service.output())
