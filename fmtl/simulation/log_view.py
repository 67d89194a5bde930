"""What of Flower's log is shown on the terminal, and where the whole log is kept."""

from __future__ import annotations

import re
from collections import deque
from pathlib import Path

__all__ = ["LogFile", "LogView"]

_ANSI = re.compile(r"\x1b\[[0-9;]*m")
_WORKER = re.compile(r"^\((?:ClientAppActor|pid)[^)]*\)\s?")
_LEVEL = re.compile(r"^(DEBUG|INFO|WARNING|ERROR|CRITICAL)\s*:\s?\s*")
_CHATTER = re.compile(
    r"^\((?:raylet|autoscaler|gcs_server|scheduler)|Starting Flower Simulation|Since flwr 1\.32"
    r"|simulated SuperNodes\)|To change federation size|flwr federation simulation-config|^Successfully installed "
    r"|Starting logstream|Using SuperLink|Manually terminating|FutureWarning|^\s*warnings\.warn\(|WARNING: All log "
    r"messages before absl|Started a local Ray instance|^Existing ClientAppActor|No `client_resources`"
    r"|^Simulation raised an exception|^Exit Code: \d+|^An unhandled exception occurred when running the simulation"
    r"|^For more information, visit: <https://flower"
)
_TRACEBACK = re.compile(r"^\s*Traceback \(most recent call last\)|^ray\.exceptions\.\w+|^\s*ray::\w+")
_EXCEPTION = re.compile(r"^[\w.]*(?:Error|Exception): (.+)$")
_INSIDE_TRACEBACK = re.compile(r"^(\s|$|The above exception|During handling)|^[\w.]*(Error|Exception|Interrupt)\b")


class LogView:
    """Turns log lines into what a reader of the terminal wants to see: progress, warnings, errors.

    Flower's and Ray's own reports, colours and prefixes go; tracebacks stay in the log file only, since the reason of
    a failure is printed at the end.
    """

    def __init__(self) -> None:
        self._in_traceback = False

    def line(self, raw: str) -> str | None:
        """The line as it is to be shown, or None where it is not."""
        text = _WORKER.sub("", _ANSI.sub("", raw.rstrip()))
        found = _LEVEL.match(text)
        text = text[found.end() :] if found else text
        if _TRACEBACK.search(text):
            self._in_traceback = True
            return None
        if self._in_traceback and not found and _INSIDE_TRACEBACK.match(text):
            return None
        self._in_traceback = False
        if not text.strip() or _CHATTER.search(text):
            return None
        return f"{found[1].lower()}: {text}" if found and found[1] in ("WARNING", "ERROR", "CRITICAL") else text


class LogFile:
    """The whole log, kept as `flower.log` in the run folder from the moment that the server has made that folder.

    Args:
        folder: the run folder. It is never made here: its existence tells the server that there is a run to resume.

    Attributes:
        last_exception: message of the last exception in the log; None where there is none.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._waiting: list[str] = []
        self._last: deque[str] = deque(maxlen=20)
        self.last_exception: str | None = None

    def write(self, raw: str) -> None:
        """Keep one line.

        Raises:
            OSError: it cannot be written, for example because the disk is full.
        """
        self._waiting.append(_ANSI.sub("", raw.rstrip("\n")) + "\n")
        self._last.append(self._waiting[-1])
        if found := _EXCEPTION.match(self._waiting[-1]):
            self.last_exception = found[1].strip()
        self.flush()

    def flush(self) -> None:
        """Write what waits for the folder, if there is one."""
        if self._waiting and self._folder.is_dir():
            with self.path.open("a", encoding="utf-8") as file:
                file.writelines(self._waiting)
            self._waiting.clear()

    def close(self) -> Path:
        """Write what is left: beside the run folder where the run failed before there was one. Returns the file."""
        self.flush()
        if not self._waiting:
            return self.path
        path = self._folder.with_name(f"{self._folder.name}.flower.log")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("".join(self._waiting), encoding="utf-8")
        return path

    @property
    def path(self) -> Path:
        """Where the log lies once the run folder exists."""
        return self._folder / "flower.log"

    def tail(self) -> str:
        """The last twenty lines."""
        return "".join(self._last).rstrip()
