"""What a run is doing, one line for every event, read from the files that its server writes while it runs."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from fmtl.tables import format_bytes
from fmtl_strategies.contract.files import JsonLines

__all__ = ["RunLines", "show_run"]

_LOOK_SECONDS = 0.5

Event = dict[str, Any]


def show_run(folder: Path, stop: Callable[[], bool] | None, echo: Callable[[str], None], *, past: bool = True) -> None:
    """Print what a run does, one line for every event, until it has ended.

    Args:
        folder: the run folder; it may not exist yet.
        stop: says whether the run has ended; what it has written until then is still printed. None: the run has ended
            as soon as there is a result.json.
        echo: prints one line.
        past: whether what the folder holds already is printed, too; False where a run is resumed.
    """
    lines = RunLines(folder, past=past)
    ended = (folder / "result.json").is_file if stop is None else stop
    while not ended():
        lines.show(echo)
        time.sleep(_LOOK_SECONDS)
    lines.show(echo)


class RunLines:
    """The lines of a run that have not been shown yet.

    Args:
        folder: the run folder; it may not exist yet.
        past: whether what the folder holds already is shown, too; False where a run is resumed.
    """

    def __init__(self, folder: Path, *, past: bool = True) -> None:
        self._history = JsonLines(folder / "history.jsonl")
        self._progress = JsonLines(folder / "progress.jsonl")
        if not past:
            self._events()

    def show(self, echo: Callable[[str], None]) -> None:
        """Print a line for everything that has happened since the last call."""
        for event in self._events():
            for line in _lines(event):
                echo(_printable(line))

    def _events(self) -> list[Event]:
        """Return what has happened since the last call, in its order; a line of the history has the event `ended`."""
        ended = [{"event": "ended", **line} for line in self._history.new()]
        # A round's line of history comes after its own progress and before that of the next one.
        found = [*self._progress.new(), *ended]
        return sorted(found, key=lambda item: (item["round"], item["final"], item["event"] == "ended"))


def _lines(event: Event) -> Iterator[str]:
    where = "final scores" if event["final"] else f"round {event['round']}"
    if event["event"] != "ended":
        yield f"{where}: {_progress(event)}"
        return
    for client, by_task in sorted(event["scores"].items()):
        parts = (
            f"{task} missing ({score['missing_because']})" if score["value"] is None else f"{task} {score['value']:.4g}"
            for task, score in by_task.items()
        )
        yield f"scores after round {event['evaluated_round']}: {client}: {', '.join(parts)}"
    for client, reason in sorted(event["set_aside"].items()):
        yield f"{where}: {client} set aside: {reason}"
    for client, note in sorted(event.get("notes", {}).items()):
        yield f"{where}: {client}: {note}"
    if not event["final"]:
        yield f"{where} ended: {_outcome(event)}"


def _progress(event: Event) -> str:
    if event["event"] == "asked":
        clients = ", ".join(event["clients"]) or "no clients"
        work = "scoring" if event["final"] else "training"
        return f"{clients} {work}; {format_bytes(event['bytes_down'])} sent"
    client, seconds = event["client"], event["seconds"]
    match event["event"]:
        case "answered":
            return f"{client} answered after {seconds:.1f} s, {format_bytes(event['bytes_up'])}"
        case "late":
            return f"{client} is late: no answer after {seconds:.0f} s"
        case kind:  # "failed" or "asked again"
            return f"{client} {kind} after {seconds:.1f} s: {event['reason']}"


def _outcome(event: Event) -> str:
    seconds, count = event["seconds"], len(event["participants"])
    outcome = "skipped, too few good replies" if event["skipped"] else f"{count} client{'' if count == 1 else 's'}"
    traffic = f"{format_bytes(event['bytes_up'])} up, {format_bytes(event['bytes_down'])} down"
    times = f"{seconds.get('clients', 0.0):.1f} s for clients, {seconds.get('aggregation', 0.0):.1f} s aggregation"
    return f"{outcome}; {traffic}; {times}"


def _printable(line: str) -> str:
    """Return a line whose characters cannot move a terminal's cursor or colour: a site's reasons are its own text."""
    return "".join(character if character.isprintable() else "\N{REPLACEMENT CHARACTER}" for character in line)
