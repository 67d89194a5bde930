"""Programs that have to stay up: started, watched, started again when they die, ended together."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from fmtl.network.errors import NetworkSetupError
from fmtl.processes import ProcessTree

FIRST_PAUSE, LONGEST_PAUSE = 1.0, 30.0
FATAL_PAUSE = 3.0
STEADY_SECONDS = 60.0
"""A program that ran so long before it died is started again at once."""

STUCK_LOOK, STUCK_SECONDS = 5.0, 10.0
"""Seconds between two looks for signs that a program is stuck, and from such a sign to its end by force."""

END_SECONDS = 10.0
"""Seconds a program that is to be started again gets to end by itself."""


@dataclass(frozen=True)
class Program:
    """A program to keep running.

    Attributes:
        name: what messages call it.
        env: its whole environment.
        log: file that gets what it prints, appended to.
        fatal: part of its output by the reason to give up on it: starting it again would not help, or not for long.
        stuck: parts of its output after which it may go on running without doing anything.
    """

    name: str
    command: Sequence[str]
    env: Mapping[str, str]
    folder: Path
    log: Path
    fatal: Mapping[str, str] = field(default_factory=dict)
    stuck: Sequence[str] = ()


class Service:
    """One program that is kept running.

    Args:
        program: what to run.
        tree: owner of the process.
        show: prints one line.

    Attributes:
        patience: seconds for which it is started again although it ended for a fatal reason, which may pass by itself.
        process: the running process, or the last one.
    """

    def __init__(self, program: Program, tree: ProcessTree, show: Callable[[str], None]) -> None:
        self.program = program
        self.patience = 0.0
        self._tree = tree
        self._show = show
        self._pause = FIRST_PAUSE
        self._due: float | None = None
        self._started = 0.0
        self._read_from = self._looked_to = 0
        self._fatal_since: float | None = None
        self._stuck_since: float | None = None
        self._looked = 0.0
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start the program."""
        self.program.log.parent.mkdir(parents=True, exist_ok=True)
        with self.program.log.open("ab") as log:
            self._read_from = self._looked_to = log.tell()
            self.process = self._tree.start(self.program.command, self.program.env, self.program.folder, log)
        self._started, self._due = time.monotonic(), None
        self._stuck_since = None

    def restart(self) -> None:
        """End the program, by force where it does not end by itself, and start it again at once."""
        if self.process is not None and self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(END_SECONDS)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        self.start()

    @property
    def ended(self) -> bool:
        """Whether it has been started and does not run now."""
        return self.process is not None and self.process.poll() is not None

    def excuse(self) -> None:
        """Forget for how long it has been ending for a fatal reason, because the cause lies elsewhere."""
        self._fatal_since = None

    def watch(self) -> None:
        """Start the program again if it has died and its pause is over; to be called again and again.

        The pause doubles with every death that follows soon after a start.
        """
        if self.process is None:
            return
        if self.process.poll() is None:
            self._end_where_stuck()
            return
        now = time.monotonic()
        if self._due is None:
            self._due = now + self._pause_after_end(now)
        if now >= self._due:
            self.start()

    def output(self) -> str:
        """Return what it has printed since its last start."""
        if not self.program.log.is_file():
            return ""
        with self.program.log.open("rb") as log:
            log.seek(self._read_from)
            return log.read().decode(errors="replace")

    def _end_where_stuck(self) -> None:
        now = time.monotonic()
        if not self.program.stuck or now - self._looked < STUCK_LOOK:
            return
        self._looked = now
        if self._stuck_since is None and self._says_stuck():
            self._stuck_since = now
        if self._stuck_since is not None and now - self._stuck_since >= STUCK_SECONDS:
            assert self.process is not None
            self._show(f"{self.program.name} is hanging; killing it (log: {self.program.log})")
            self.process.kill()
            self.process.wait()

    def _says_stuck(self) -> bool:
        """Whether one of the signs has come since the last look; what was looked at is not read again."""
        with self.program.log.open("rb") as log:
            log.seek(self._looked_to)
            new = log.read()
            # A sign may be cut by the end of what is there.
            self._looked_to = max(self._looked_to, log.tell() - max(map(len, self.program.stuck)))
        return any(sign.encode() in new for sign in self.program.stuck)

    def _pause_after_end(self, now: float) -> float:
        """Return the seconds until the next start; say why the program ended."""
        assert self.process is not None
        text = self.output()
        steady = now - self._started > STEADY_SECONDS
        reason = next((reason for sign, reason in self.program.fatal.items() if sign in text), None)
        if reason is not None:
            if first := self._fatal_since is None or steady:
                self._fatal_since = now
            if now - (self._fatal_since or now) >= self.patience:
                raise NetworkSetupError(reason)
            if first:
                self._show(f"{self.program.name} ended: {reason} Trying again for {self.patience:.0f} s.")
            return FATAL_PAUSE
        self._fatal_since = None
        self._pause = FIRST_PAUSE if steady else min(self._pause * 2, LONGEST_PAUSE)
        pause = 0.0 if steady else self._pause
        self._show(
            f"{self.program.name} ended with status {self.process.returncode}; starting it again in {pause:.0f} s "
            f"(log: {self.program.log})"
        )
        return pause
