"""How far a long check has come, on the error output so that the report stays clean."""

from __future__ import annotations

import sys
import time
from types import TracebackType
from typing import Self

SECONDS_BETWEEN_LINES = 30.0
"""Without a terminal there is one line this often."""

SECONDS_BETWEEN_UPDATES = 0.2


class ProgressLine:
    """A line that is written over on a terminal, and written anew now and then elsewhere."""

    def __init__(self) -> None:
        self._start = time.monotonic()
        self._last = self._start
        self._terminal = sys.stderr.isatty()
        self._shown = False

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._terminal and self._shown:
            sys.stderr.write("\r\033[K")
            sys.stderr.flush()

    def advance(self, done: int, total: int) -> None:
        """Show how many images of how many are done, and about how long the others take."""
        now = time.monotonic()
        if now - self._last < (SECONDS_BETWEEN_UPDATES if self._terminal else SECONDS_BETWEEN_LINES):
            return
        self._last = now
        self._shown = True
        rate = done / max(now - self._start, 1e-6)
        left = (total - done) / max(rate, 1e-6)
        text = f"{done} of {total} images, {rate:.0f} a second, about {_duration(left)} left"
        sys.stderr.write(f"\r\033[K{text}" if self._terminal else f"{text}\n")
        sys.stderr.flush()


def _duration(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 90 else f"{seconds / 60:.0f} min"
