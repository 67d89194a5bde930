"""Processes that this one starts, found and ended for certain.

What is started starts processes of its own, in sessions of their own. On Linux this process therefore becomes the
parent of every orphan below it (`prctl(2)`, PR_SET_CHILD_SUBREAPER), so that the tree of parent ids stays complete
whichever process in between dies. On other systems orphans leave the tree; there Flower's own watch on its parent
process ends them.
"""

from __future__ import annotations

import ctypes
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import IO, Self

import psutil

_PR_SET_PDEATHSIG, _PR_SET_CHILD_SUBREAPER, _PR_GET_CHILD_SUBREAPER = 1, 36, 37
_KILL_SECONDS = 10.0
_LEFTOVER_SECONDS, _QUIET_SECONDS = 5.0, 2.0
_ENDED_WELL = b"."


class ProcessTree:
    """Starts processes and, on leaving the context, ends them and everything that they started.

    Args:
        grace: seconds between asking processes to end (SIGTERM) and ending them (SIGKILL).
    """

    def __init__(self, grace: float = 5.0) -> None:
        self._grace = grace
        self._started: list[subprocess.Popen[bytes]] = []
        self._before: frozenset[psutil.Process] = frozenset()
        self._adopted = False

    def __enter__(self) -> Self:
        self._adopted = _adopts_orphans()
        _adopt_orphans(True)
        self._before = frozenset(psutil.Process().children())
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        try:
            self.stop()
        finally:
            _adopt_orphans(self._adopted)

    def start(
        self, command: Sequence[str], env: Mapping[str, str], cwd: Path, output: int | IO[bytes]
    ) -> subprocess.Popen[bytes]:
        """Start a process in a session of its own; it is told to end if this process is killed.

        Args:
            command: program and arguments.
            env: its whole environment.
            cwd: its working directory.
            output: where standard output and standard error go, as for `subprocess.Popen`.
        """
        process = subprocess.Popen(
            list(command),
            env=dict(env),
            cwd=cwd,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            preexec_fn=_end_with_parent(),
        )
        self._started.append(process)
        return process

    def alive(self) -> set[psutil.Process]:
        """Living processes below this one that were not there at the start; ended ones are collected."""
        # Through their Popen, which would lose the exit status if anybody else collected it.
        own = {process.pid: process for process in self._started if process.poll() is None}
        return {
            process
            for process in self._below()
            if not (own[process.pid].poll() is not None if process.pid in own else _has_ended(process))
        }

    def stop(self) -> None:
        """End all processes: first asked, then after the grace time by force. Returns when none is left."""
        for end, seconds in ((psutil.Process.terminate, self._grace), (psutil.Process.kill, _KILL_SECONDS)):
            _end_all(self.alive, end, seconds)

    def _below(self) -> Iterator[psutil.Process]:
        for child in psutil.Process().children():
            if child not in self._before:
                yield child
                with suppress(psutil.NoSuchProcess):
                    yield from child.children(recursive=True)


@contextmanager
def ending_leftovers(folder: Path) -> Iterator[None]:
    """Inside, should this process be killed by force, another ends everything that uses a folder.

    It waits for the end of a pipe: closed with a word, this process has left the context; closed without one, it is
    dead. A tree's processes are told of that by the system, but one that ignores it, or that was just being started by
    one that died of it, would stay.

    Args:
        folder: named in the command or the environment of every process to end; nothing else on the machine uses it.
    """
    # By path, not by module: this package and whatever it imports are not needed there.
    command = [sys.executable, "-I", str(Path(__file__).resolve()), str(folder)]
    waiting = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd="/",
        start_new_session=True,
    )  # fmt: skip
    try:
        yield
    finally:
        waiting.communicate(_ENDED_WELL)


def processes_using(folder: Path) -> set[psutil.Process]:
    """Return the processes of this user whose command or environment names a folder; never this one."""
    return {p for p in psutil.process_iter() if p != psutil.Process() and _names(p, str(folder))}


def _names(process: psutil.Process, text: str) -> bool:
    try:
        return any(text in part for part in (*process.cmdline(), *process.environ().values()))
    except (psutil.Error, OSError):  # it has just ended, or belongs to somebody else
        return False


def _end_all(
    alive: Callable[[], Iterable[psutil.Process]], end: Callable[[psutil.Process], None], seconds: float
) -> None:
    """Tell every process once to end, also one that appears meanwhile, until none is alive or the time is over."""
    deadline, told = time.monotonic() + seconds, set[psutil.Process]()
    while (left := set(alive())) and time.monotonic() < deadline:
        for process in left - told:
            with suppress(psutil.NoSuchProcess, psutil.AccessDenied):
                end(process)
        told |= left
        time.sleep(0.05)


def _has_ended(process: psutil.Process) -> bool:
    """Whether a process has ended; an orphan that this process has adopted is collected then."""
    try:
        if process.status() != psutil.STATUS_ZOMBIE:
            return False
        process.wait(0)
    except (psutil.NoSuchProcess, psutil.TimeoutExpired):
        pass
    return True


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


def _main() -> None:
    if sys.stdin.buffer.read().startswith(_ENDED_WELL):
        return
    folder, quiet_since = Path(sys.argv[1]), time.monotonic()
    while time.monotonic() - quiet_since < _QUIET_SECONDS:
        for end in (psutil.Process.terminate, psutil.Process.kill):
            if processes_using(folder):
                _end_all(lambda: processes_using(folder), end, _LEFTOVER_SECONDS)
                quiet_since = time.monotonic()
        time.sleep(0.5)


if __name__ == "__main__":
    _main()
