"""Every process that a run started, found and ended for certain.

Flower's SuperLink starts a SuperExec in a session of its own, that starts the simulation, and that starts Ray, whose
workers rewrite their command line and environment. Neither a process group nor an environment variable finds them
all. On Linux this process therefore becomes the parent of every orphan below it (`prctl(2)`,
PR_SET_CHILD_SUBREAPER), so that the tree of parent ids stays complete whichever process in between dies. On other
systems orphans leave the tree; there Flower's own watch on its parent process ends them.
"""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import IO, Self

__all__ = ["ProcessTree"]

_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36
_PR_GET_CHILD_SUBREAPER = 37
_PROC = Path("/proc")


class ProcessTree:
    """Starts processes and, on leaving the context, ends them and everything that they started.

    Args:
        grace: seconds between asking processes to end (SIGTERM) and ending them (SIGKILL).
    """

    def __init__(self, grace: float = 5.0) -> None:
        self._grace = grace
        self._started: list[subprocess.Popen[bytes]] = []
        self._before: frozenset[int] = frozenset()
        self._adopted = False

    def __enter__(self) -> Self:
        self._adopted = _adopts_orphans()
        _adopt_orphans(True)
        self._before = frozenset(pid for pid, (parent, _) in _process_table().items() if parent == os.getpid())
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        try:
            self.stop()
        finally:
            _adopt_orphans(self._adopted)

    def start(
        self,
        command: Sequence[str],
        env: Mapping[str, str],
        cwd: Path,
        output: int | IO[bytes],
        *,
        stdin: int = subprocess.DEVNULL,
    ) -> subprocess.Popen[bytes]:
        """Start a process in a session of its own; it is told to end if this process is killed.

        Args:
            command: program and arguments.
            env: its whole environment.
            cwd: its working directory.
            output: where standard output and standard error go, as for `subprocess.Popen`.
            stdin: where standard input comes from, as for `subprocess.Popen`.
        """
        process = subprocess.Popen(
            list(command),
            env=dict(env),
            cwd=cwd,
            stdin=stdin,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            preexec_fn=_end_with_parent(),
        )
        self._started.append(process)
        return process

    def alive(self) -> tuple[int, ...]:
        """Ids of the living processes below this one that were not there at the start."""
        table = _process_table()
        known, frontier = set[int](), {os.getpid()}
        while frontier:
            frontier = {
                pid
                for pid, (parent, _) in table.items()
                if parent in frontier and pid not in self._before and pid not in known
            }
            known |= frontier
        return tuple(sorted(pid for pid in known if table[pid][1] != "Z"))

    def has_program(self, name: str) -> bool | None:
        """Whether a process below this one runs the program called `name`; None where the system does not say."""
        if not _PROC.joinpath("self", "cmdline").exists():
            return None
        return any(name in _command_names(pid) for pid in self.alive())

    def stop(self) -> None:
        """End all processes: first asked, then after the grace time by force. Returns when none is left."""
        self._signal(signal.SIGTERM)
        if not self._wait(self._grace):
            deadline = time.monotonic() + 10.0
            while time.monotonic() < deadline:
                self._signal(signal.SIGKILL)
                if self._wait(0.3):
                    break
        for process in self._started:
            process.poll()

    def _signal(self, number: int) -> None:
        for pid in self.alive():
            try:
                os.kill(pid, number)
            except ProcessLookupError:
                continue

    def _wait(self, seconds: float) -> bool:
        deadline = time.monotonic() + seconds
        while True:
            self._reap()
            if not self.alive():
                self._reap()  # what ended since the line before last, and so was not alive, still wants collecting
                return True
            if time.monotonic() > deadline:
                return False
            time.sleep(0.05)

    def _reap(self) -> None:
        """Collect ended children: those started here through their Popen, adopted orphans by id."""
        own = {process.pid for process in self._started}
        for process in self._started:
            process.poll()
        for pid, (parent, state) in _process_table().items():
            if parent == os.getpid() and state == "Z" and pid not in own and pid not in self._before:
                try:
                    os.waitpid(pid, os.WNOHANG)
                except ChildProcessError:
                    continue


def _process_table() -> dict[int, tuple[int, str]]:
    """Parent id and state letter of every process."""
    if not _PROC.joinpath("self", "stat").exists():
        return _process_table_of_ps()
    table = {}
    for entry in os.listdir(_PROC):
        if not entry.isdigit():
            continue
        try:
            text = _PROC.joinpath(entry, "stat").read_text(errors="replace")
        except OSError:
            continue
        state, parent = text.rpartition(")")[2].split()[:2]
        table[int(entry)] = (int(parent), state)
    return table


def _process_table_of_ps() -> dict[int, tuple[int, str]]:
    listing = subprocess.run(
        ["ps", "-A", "-o", "pid=,ppid=,state="], capture_output=True, text=True, check=True
    ).stdout.splitlines()
    rows = (line.split() for line in listing)
    return {int(pid): (int(parent), state[:1]) for pid, parent, state, *_ in rows}


def _command_names(pid: int) -> frozenset[str]:
    """Names of the program and, for a script, of the script that a process runs."""
    try:
        arguments = _PROC.joinpath(str(pid), "cmdline").read_bytes().split(b"\0")
    except OSError:
        return frozenset()
    return frozenset(os.path.basename(os.fsdecode(argument)) for argument in arguments[:2])


def _adopts_orphans() -> bool:
    """Whether this process adopts orphans already, as inside another tree."""
    if sys.platform != "linux":
        return False
    found = ctypes.c_int()
    ctypes.CDLL(None).prctl(_PR_GET_CHILD_SUBREAPER, ctypes.byref(found), 0, 0, 0)
    return bool(found.value)


def _adopt_orphans(adopt: bool) -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, int(adopt), 0, 0, 0)


def _end_with_parent() -> Callable[[], None] | None:
    """What a child runs before its program, so that it gets SIGTERM when this process is killed by force."""
    if sys.platform != "linux":
        return None
    library = ctypes.CDLL(None)  # loaded here: a forked child must not load libraries

    def prepare() -> None:
        library.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)

    return prepare
