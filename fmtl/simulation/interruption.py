"""Ctrl-C and other requests to end, raised only where cleaning up is safe; and the lock of a run folder."""

from __future__ import annotations

import fcntl
import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType, TracebackType
from typing import Self, TextIO

from fmtl.simulation.errors import RunInterruptedError, SettingError, SimulationError, disk_full

__all__ = ["SignalWatch", "exclusive"]

_WATCHED = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class SignalWatch:
    """Raises `RunInterruptedError` on SIGINT, SIGTERM or SIGHUP, but only inside `listening()`.

    Outside of it, while processes are being started or ended, a signal is only remembered: an exception there could
    leave a process behind.
    """

    def __init__(self) -> None:
        self._listening = False
        self._received: int | None = None
        self._previous: dict[signal.Signals, object] = {}

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            for number in _WATCHED:
                self._previous[number] = signal.signal(number, self._handle)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)  # type: ignore[arg-type]

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Inside, a signal (also one received before) raises."""
        self._listening = True
        try:
            if self._received is not None:
                raise RunInterruptedError(self._received)
            yield
        finally:
            self._listening = False

    def _handle(self, number: int, frame: FrameType | None) -> None:
        self._received = number
        if self._listening:
            self._listening = False
            raise RunInterruptedError(number)


@contextmanager
def exclusive(run_folder: Path) -> Iterator[None]:
    """Hold a run folder for this process; the lock ends with the process, however it ends.

    Args:
        run_folder: absolute path; it need not exist.

    Raises:
        SimulationError: another process runs or resumes the same run.
        SettingError: nothing can be written where the folder is to be.
    """
    path = run_folder.with_name(f".{run_folder.name}.lock")
    while True:
        with _opened(path, run_folder) as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise SimulationError(
                    f"Another process is working on {run_folder}; wait for it, or choose another folder with --out."
                ) from error
            if not _is_open_at(file.fileno(), path):
                continue  # whoever held it removed the file between our opening and locking it
            try:
                yield
            finally:
                path.unlink(missing_ok=True)
            return


def _opened(path: Path, run_folder: Path) -> TextIO:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        return path.open("w")
    except OSError as error:
        unwritable = SettingError(
            f"out = {str(run_folder)!r}: nothing can be written to {path.parent} ({error.strerror}); choose another "
            f"folder with --out."
        )
        raise disk_full(error, path) or unwritable from error


def _is_open_at(descriptor: int, path: Path) -> bool:
    """Whether an open file is still the one at that path."""
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except FileNotFoundError:
        return False
