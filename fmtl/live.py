"""What a run is doing, one line for every event, read from the files that its server writes while it runs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from fmtl.tables import format_bytes, printable
from fmtl_strategies.contract.files import JsonLines

Event = dict[str, Any]


class RunLines:
    """The lines of a run that have not been shown yet.

    Args:
        folder: the run folder; it may not exist yet.
    """

    def __init__(self, folder: Path) -> None:
        self._history = JsonLines(folder / "history.jsonl")
        self._progress = JsonLines(folder / "progress.jsonl")

    def show(self, echo: Callable[[str], None]) -> None:
        """Print a line for everything that has happened since the last call."""
        for event in self._events():
            for line in _lines(event):
                echo(printable(line))  # a site's reasons are its own text

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
