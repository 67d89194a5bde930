"""Where the seconds of a round go, from time stamps of the server, the site's node and the process for each message."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any

Line = dict[str, Any]

PARTS = {
    "waiting": "the node looks for a message (Flower: every 3 s)",
    "fetching": "the node takes the message, until the next process is there",
    "starting": "Flower notices the message and starts a process",
    "importing": "the process imports Flower",
    "taking": "the process takes the message from the node",
    "unpacking": "Flower unpacks and checks the app's files",
    "loading": "the app is imported",
    "answering": "the client answers, training and evaluation taken off",
    "training": "training and evaluation",
    "handing over": "the reply goes to the node",
    "sending": "the node notices the reply and sends it",
    "noticing": "the server notices the reply",
    "serving": "the server between the reply and the next message: aggregation, checkpoint, next messages",
}
"""Parts of a round in the order in which they come, and what happens in each."""


def read_lines(path: Path) -> list[Line]:
    """Return the JSON lines of a file; none where it does not exist."""
    return [json.loads(line) for line in path.read_text().splitlines()] if path.is_file() else []


def round_times(events: Sequence[Line]) -> dict[int, tuple[float, float, float]]:
    """Return when each round was asked for, answered last, and when the next was asked for.

    Args:
        events: lines with `event`, `round` and `time`; a final evaluation counts as the round after the last.
    """
    asked = {line["round"] + bool(line.get("final")): line["time"] for line in events if line["event"] == "asked"}
    answered: dict[int, float] = {}
    for line in events:
        if line["event"] == "answered" and not line.get("final"):
            answered[line["round"]] = max(line["time"], answered.get(line["round"], 0.0))
    return {n: (asked[n], answered[n], asked[n + 1]) for n in sorted(asked) if n in answered and n + 1 in asked}


def parts_of_rounds(
    times: Mapping[int, tuple[float, float, float]], stamps: Sequence[Line], trained: Mapping[int, float]
) -> dict[int, dict[str, float]]:
    """Return seconds by part for each round of a run with one site.

    Args:
        times: what `round_times` returns.
        stamps: all lines of the site.
        trained: seconds of training and evaluation by round; 0 where a round is missing.

    Raises:
        ValueError: a round's stamps are not there.
    """
    found = {}
    for number, (asked, answered, after) in times.items():
        inside = [line for line in stamps if asked <= _time(line) <= answered + 0.5]
        messages = [line for line in inside if line["event"] == "message" and line["kind"] == "train"]
        fetched = [line for line in inside if line["event"] == "fetched"]
        if len(messages) != 1 or not fetched:
            raise ValueError(f"round {number} left {len(messages)} messages and {len(fetched)} transfers, expected one")
        message = messages[0]
        sent = [line["ended"] for line in inside if line["event"] == "sent" and line["ended"] >= message["answered"]]
        # The server may see a reply before the node has written down that it is sent.
        end = min([*sent, answered])
        # The process is started as soon as the node knows of the message, and takes the arrays when they are there.
        points = [asked, fetched[-1]["began"], min(fetched[-1]["ended"], message["born"])]
        points += [message[name] for name in ("born", "imported", "pulled", "installed", "called", "answered")]
        points += [min(message["pushed"], end), end, answered, after]
        names = [name for name in PARTS if name != "training"]
        parts = {name: end - start for name, start, end in zip(names, points, points[1:], strict=False)}
        training = trained.get(number, 0.0)
        parts["answering"] -= training
        found[number] = {name: {**parts, "training": training}[name] for name in PARTS}
    return found


def medians(rounds: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """Return the median of every part over rounds."""
    return {name: median(parts[name] for parts in rounds) for name in rounds[0]} if rounds else {}


def fixed(parts: Mapping[str, float]) -> float:
    """Return the seconds of a round that are not training."""
    return sum(seconds for name, seconds in parts.items() if name != "training")


def _time(line: Line) -> float:
    return float(line["answered"] if line["event"] == "message" else line["ended"])
