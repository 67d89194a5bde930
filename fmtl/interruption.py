"""Ctrl-C and other requests to end, raised only where cleaning up is safe."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType, TracebackType
from typing import Self

from fmtl.errors import RunInterruptedError

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
