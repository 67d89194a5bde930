"""Ends what is left of a run whose `fmtl` was killed by force, which can end nothing itself any more.

SuperLink gets a signal when its parent dies, and Flower and Ray follow; but agents that Ray was just starting wait a
minute for a process that is gone. A guardian is a process that waits for the end of a pipe: closed with a word, the
run has ended well; closed without one, `fmtl` is dead, and everything that uses the run's private folder is ended.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import TracebackType
from typing import Self

__all__ = ["Guardian", "processes_using"]

_PROC = Path("/proc")
_ENDED_WELL = b"."
_SECONDS_TO_END, _LONGEST = 5.0, 60.0
_QUIET_SECONDS = 2.0


class Guardian:
    """Guards a run from entering the context to leaving it. Without /proc it does nothing.

    Args:
        home: the run's private folder; nothing else on the machine uses it.
    """

    def __init__(self, home: Path) -> None:
        self._home = home
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        if _PROC.joinpath("self", "environ").exists():
            # By path, not by module: the guardian needs neither this package nor the caller's import path.
            command = [sys.executable, "-I", str(Path(__file__).resolve()), str(self._home)]
            self._process = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd="/",
                start_new_session=True,
            )  # fmt: skip
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._process is not None:
            self._process.communicate(_ENDED_WELL)


def processes_using(home: Path) -> list[int]:
    """Return the processes of this user that use a folder, by environment, arguments or open files; never this one."""
    needle = os.fsencode(home)
    found = []
    for entry in os.listdir(_PROC):
        if entry.isdigit() and int(entry) != os.getpid() and _uses(_PROC / entry, needle):
            found.append(int(entry))
    return sorted(found)


def _uses(process: Path, needle: bytes) -> bool:
    try:
        if needle in process.joinpath("environ").read_bytes() or needle in process.joinpath("cmdline").read_bytes():
            return True
        links = list(process.joinpath("fd").iterdir())
    except OSError:  # it has just ended, or belongs to somebody else
        return False
    return any(needle in _target(link) for link in links)


def _target(link: Path) -> bytes:
    try:
        return os.fsencode(os.readlink(link))
    except OSError:  # that one file was closed since the listing; the others still count
        return b""


def end_all(home: Path) -> None:
    """End the processes that use a folder: asked first, by force after five seconds, until none comes any more."""
    started, quiet_since = time.monotonic(), time.monotonic()
    while time.monotonic() - started < _LONGEST:
        number = signal.SIGTERM if time.monotonic() - started < _SECONDS_TO_END else signal.SIGKILL
        left = processes_using(home)
        for pid in left:
            try:
                os.kill(pid, number)
            except (ProcessLookupError, PermissionError):
                continue
        if left:
            quiet_since = time.monotonic()
        elif time.monotonic() - quiet_since > _QUIET_SECONDS:
            return
        time.sleep(0.5)


def _main() -> None:
    if not sys.stdin.buffer.read().startswith(_ENDED_WELL):
        end_all(Path(sys.argv[1]))


if __name__ == "__main__":
    _main()
