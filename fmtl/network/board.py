"""The table of a run under way: one row for each client."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from rich.console import Group
from rich.text import Text

from fmtl.report.markdown import format_bytes
from fmtl.screen import plain_table

State = Literal["training", "scoring", "answered", "late", "failed", "set aside", "away"]
_COLOURS: dict[State, str] = {
    "training": "cyan",
    "scoring": "cyan",
    "answered": "green",
    "late": "red",
    "failed": "red",
    "set aside": "red",
    "away": "yellow",
}
_AT_WORK: tuple[State, ...] = ("training", "scoring")


@dataclass
class Row:
    """What is known of a client.

    Attributes:
        state: what it does in this round.
        since: when it was asked, seconds since the epoch.
        seconds: how long it took to answer; None while it is at work.
        bytes_up: size of its answer's arrays.
        scores: its last scores by task, as text.
        scored_round: round of the model that the scores belong to.
    """

    state: State = "away"
    since: float = 0.0
    seconds: float | None = None
    bytes_up: int | None = None
    scores: dict[str, str] = field(default_factory=dict)
    scored_round: int | None = None


class Board:
    """State of all clients, brought up to date by events."""

    def __init__(self) -> None:
        self.rows: dict[str, Row] = {}
        self._round: int | None = None
        self._final = False
        self._bytes_down = 0
        self._last = ""

    def take(self, event: dict[str, Any]) -> None:
        """Take in a line of progress, or one of history (`ended`)."""
        if event["event"] == "ended":
            self._end(event)
        elif event["event"] == "asked":
            self._begin(event)
        else:
            row = self._row(event["client"])
            if event["event"] == "asked again":
                return
            row.state, row.seconds = event["event"], event["seconds"]
            row.bytes_up = event.get("bytes_up")

    def view(self, folder: Path, now: float | None = None) -> Group:
        """Return a heading, the table, and what the last round was.

        Args:
            folder: of the run; its config says how many rounds there are.
            now: seconds since the epoch; the present where left out.
        """
        table = plain_table("Client", "State", "Seconds", "Up", "Last scores", "of round", whole=(0, 1, 2, 3, 5))
        for column in (2, 3, 5):
            table.columns[column].justify = "right"
        moment = time.time() if now is None else now
        for client, row in sorted(self.rows.items()):
            table.add_row(
                Text(client),
                Text(row.state, style=_COLOURS[row.state]),
                _seconds(row, moment),
                "" if row.bytes_up is None else format_bytes(row.bytes_up),
                Text(", ".join(f"{task} {score}" for task, score in row.scores.items())),
                "" if row.scored_round is None else str(row.scored_round),
            )
        return Group(Text(self.heading(folder), style="bold"), table, Text(self._last))

    def _begin(self, event: dict[str, Any]) -> None:
        self._round, self._final, self._bytes_down = event["round"], event["final"], event["bytes_down"]
        asked = set(event["clients"])
        for client in sorted(asked | set(self.rows)):
            row = self._row(client)
            row.state = "away" if client not in asked else "scoring" if event["final"] else "training"
            row.since, row.seconds, row.bytes_up = event["time"], None, None

    def _end(self, line: dict[str, Any]) -> None:
        for client, by_task in line["scores"].items():
            row = self._row(client)
            row.scored_round = line["evaluated_round"]
            row.scores = {
                task: "missing" if score["value"] is None else f"{score['value']:.4g}"
                for task, score in by_task.items()
            }
        for client in line["set_aside"]:
            # A node without a client's name has no row; its line stands above the table. "late" and "failed" say more.
            if client in self.rows and self.rows[client].state == "answered":
                self.rows[client].state = "set aside"
        if not line["final"]:
            seconds = line["seconds"]
            outcome = "skipped" if line["skipped"] else clients_text(len(line["participants"]))
            self._last = (
                f"Round {line['round']}: {outcome}, {format_bytes(line['bytes_up'])} up, "
                f"{format_bytes(line['bytes_down'])} down, {seconds.get('clients', 0.0):.1f} s for clients, "
                f"{seconds.get('aggregation', 0.0):.1f} s here."
            )

    def heading(self, folder: Path) -> str:
        """Return what the run is doing as a whole."""
        if self._round is None:
            return f"{folder.name}: waiting for clients"
        answered = sum(row.state in ("answered", "set aside") for row in self.rows.values())
        asked = sum(row.state != "away" for row in self.rows.values())
        where = "final scores" if self._final else f"round {self._round}{_of_rounds(folder)}"
        return f"{folder.name}: {where}; {answered} of {asked} have answered; {format_bytes(self._bytes_down)} sent"

    def _row(self, client: str) -> Row:
        return self.rows.setdefault(client, Row())


def clients_text(count: int) -> str:
    """Return a number of clients in words: `1 client`, `3 clients`."""
    return f"{count} client{'' if count == 1 else 's'}"


def _seconds(row: Row, now: float) -> str:
    if row.state == "away":
        return ""
    if row.seconds is not None:
        return f"{row.seconds:.1f}"
    return f"{max(0.0, now - row.since):.0f} ..." if row.state in _AT_WORK else ""


def _of_rounds(folder: Path) -> str:
    config = folder / "config.json"
    if not config.is_file():
        return ""
    rounds = json.loads(config.read_text(encoding="utf-8")).get("run_config", {}).get("num-server-rounds")
    return f" of {rounds}" if rounds else ""
