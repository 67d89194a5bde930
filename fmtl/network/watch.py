"""What a run is doing, for people: as lines, or as a table that stays in its place on a terminal.

Both are made from the files that the server writes while it runs, progress.jsonl and history.jsonl.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol, Self

from rich.console import Console
from rich.live import Live
from rich.text import Text

from fmtl.network.board import Board, clients_text
from fmtl.report.markdown import format_bytes

Event = dict[str, Any]


class Display(Protocol):
    """What shows the news of a run."""

    def show(self, watch: RunWatch) -> None:
        """Show what has happened since the last call."""


@dataclass
class RunWatch:
    """Follows progress.jsonl and history.jsonl of a run folder.

    Attributes:
        folder: the run folder; it may not exist yet.
    """

    folder: Path
    _read: dict[str, int] = field(default_factory=dict)

    def news(self) -> list[Event]:
        """Return what has happened since the last call, in its order; a line of history has the event `ended`."""
        ended = [{"event": "ended", **line} for line in self._new("history.jsonl")]
        # A round's line of history comes after its own progress and before that of the next one.
        found = [*self._new("progress.jsonl"), *ended]
        return sorted(found, key=lambda item: (item["round"], item["final"], item["event"] == "ended"))

    def lines(self) -> Iterator[str]:
        """Yield a line for everything that has happened since the last call."""
        for event in self.news():
            yield from event_lines(event)

    def _new(self, name: str) -> list[Event]:
        path = self.folder / name
        if not path.is_file():
            return []
        with path.open("rb") as file:
            position = self._read.get(name, 0)
            if file.seek(0, 2) < position:
                # A resumed run has cut what came after its checkpoint.
                position = 0
            file.seek(position)
            content = file.read()
        whole = content[: content.rfind(b"\n") + 1]
        self._read[name] = position + len(whole)
        return [json.loads(line) for line in whole.splitlines()]


@dataclass(frozen=True)
class LineDisplay:
    """Shows a run as lines, one for everything that happens.

    Attributes:
        line: prints one.
    """

    line: Callable[[str], None]

    def show(self, watch: RunWatch) -> None:
        """Print a line for everything that has happened since the last call."""
        for line in watch.lines():
            self.line(line)


class TableDisplay:
    """Shows a run as a table that stays in its place; what went wrong scrolls by above it.

    Args:
        console: a terminal.
    """

    def __init__(self, console: Console) -> None:
        self._live = Live(console=console, refresh_per_second=2, transient=False)
        self._board = Board()

    def __enter__(self) -> Self:
        self._live.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._live.__exit__(kind, error, traceback)

    def show(self, watch: RunWatch) -> None:
        """Bring the table up to date."""
        for event in watch.news():
            self._board.take(event)
            for line in trouble_lines(event):
                self._live.console.print(Text(line))
        self._live.update(self._board.view(watch.folder))


def event_lines(event: Event) -> Iterator[str]:
    """Yield the lines that tell of an event."""
    return map(_printable, _event_lines(event))


def trouble_lines(event: Event) -> Iterator[str]:
    """Yield those lines of an event that somebody may have to act on."""
    return map(_printable, _trouble_lines(event))


def _event_lines(event: Event) -> Iterator[str]:
    if event["event"] != "ended":
        yield _progress_line(event)
        return
    for client, by_task in sorted(event["scores"].items()):
        parts = (
            f"{task} missing ({score['missing_because']})" if score["value"] is None else f"{task} {score['value']:.4g}"
            for task, score in by_task.items()
        )
        yield f"scores after round {event['evaluated_round']}: {client}: {', '.join(parts)}"
    yield from _trouble_lines(event)
    if not event["final"] and not event["skipped"]:
        yield _outcome(event)


def _trouble_lines(event: Event) -> Iterator[str]:
    if event["event"] in ("failed", "late", "asked again"):
        yield _progress_line(event)
    elif event["event"] == "ended":
        for client, reason in sorted(event["set_aside"].items()):
            yield f"{_where(event)}: {client} set aside: {reason}"
        for client, note in sorted(event.get("notes", {}).items()):
            yield f"{_where(event)}: {client}: {note}"
        if event["skipped"]:
            yield _outcome(event)


def _printable(line: str) -> str:
    """Return a line whose characters cannot move a terminal's cursor or colour: a site's reasons are its own text."""
    return "".join(character if character.isprintable() else "\N{REPLACEMENT CHARACTER}" for character in line)


def _progress_line(event: Event) -> str:
    if event["event"] == "asked":
        clients = ", ".join(event["clients"]) or "nobody"
        return f"{_where(event)}: {clients} at work; {format_bytes(event['bytes_down'])} sent"
    who = f"{_where(event)}: {event['client']}"
    if event["event"] == "answered":
        return f"{who} answered after {event['seconds']:.1f} s, {format_bytes(event['bytes_up'])}"
    if event["event"] == "asked again":
        return f"{who} asked again after {event['seconds']:.1f} s: {event['reason']}"
    if event["event"] == "failed":
        return f"{who} failed after {event['seconds']:.1f} s: {event['reason']}"
    return f"{who} is late: no answer after {event['seconds']:.0f} s"


def _outcome(event: Event) -> str:
    seconds = event["seconds"]
    outcome = "skipped, too few good replies" if event["skipped"] else clients_text(len(event["participants"]))
    traffic = f"{format_bytes(event['bytes_up'])} up, {format_bytes(event['bytes_down'])} down"
    times = f"{seconds.get('clients', 0.0):.1f} s for clients, {seconds.get('aggregation', 0.0):.1f} s here"
    return f"{_where(event)} ended: {outcome}; {traffic}; {times}"


def _where(event: Event) -> str:
    return "final scores" if event["final"] else f"round {event['round']}"
