"""The numbers of a run as curves for TensorBoard, in the run folder's `tensorboard/`.

Everything in it comes from history.jsonl and progress.jsonl. A run that is resumed writes the file anew from what the
history has kept, so that a round which is done again has its points once.
"""

from __future__ import annotations

import os
import struct
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from tensorboardX.proto.event_pb2 import Event, SessionLog
from tensorboardX.record_writer import masked_crc32c

from fmtl_strategies.contract.files import JsonLines, explain_disk_full
from server_app.run_folder import RunFolder

Line = Mapping[str, Any]
FOLDER = "tensorboard"
_LARGEST = 3.4e38


class Scalar(NamedTuple):
    """One point of one curve, at a round; the part of its tag before the first '/' groups curves."""

    tag: str
    step: int
    value: float


def beginning(wall_time: float) -> bytes:
    """Return what a file begins with: its version, and that earlier points of the same run no longer count.

    Args:
        wall_time: seconds since the epoch.
    """
    session = Event(wall_time=wall_time, session_log=SessionLog(status=SessionLog.START))
    return _record(Event(wall_time=wall_time, file_version="brain.Event:2")) + _record(session)


def points(scalars: Iterable[Scalar], wall_time: float) -> bytes:
    """Return the records of some points, which were made at a time (seconds since the epoch)."""
    by_step: dict[int, Event] = {}
    for scalar in scalars:
        event = by_step.setdefault(scalar.step, Event(wall_time=wall_time, step=scalar.step))
        event.summary.value.add(tag=scalar.tag, simple_value=scalar.value)
    return b"".join(map(_record, by_step.values()))


def _record(event: Event) -> bytes:
    """Return an event as TensorBoard reads it. tensorboardX's own writer would write later, from a thread."""
    content: bytes = event.SerializeToString()
    length = struct.pack("<Q", len(content))
    checksums = (struct.pack("<I", masked_crc32c(part)) for part in (length, content))
    return length + next(checksums) + content + next(checksums)


class Telemetry:
    """Writes the event file of a run.

    Args:
        folder: the run's folder; its history is already cut back to the checkpoint from which the run goes on.
    """

    def __init__(self, folder: RunFolder) -> None:
        self._progress = JsonLines(folder.path / "progress.jsonl")
        place = folder.path / FOLDER
        with explain_disk_full(place):
            place.mkdir(exist_ok=True)
            earlier = sorted(place.glob("events.out.tfevents.*.fmtl"))
            # TensorBoard reads a folder's files in the order of their names, and goes on to a new one by itself.
            number = 1 + (int(earlier[-1].name.split(".")[3]) if earlier else 0)
            self.path = place / f"events.out.tfevents.{number:010d}.fmtl"
            beside = place / ".next"
            beside.write_bytes(beginning(time.time()) + self._past(folder.history()))
            beside.replace(self.path)
            for path in earlier:
                # A TensorBoard that reads it at this moment would not find its way to the next if it were gone.
                os.truncate(path, 0)

    def add(self, line: Line) -> None:
        """Add the points of a round that has ended.

        Args:
            line: its line of the history.
        """
        events = last_events(self._progress.new()).get((line["round"], line["final"]), [])
        with explain_disk_full(self.path), self.path.open("ab") as file:
            file.write(points(scalars(line, events), time.time()))

    def _past(self, history: Sequence[Line]) -> bytes:
        progress = last_events(self._progress.new())
        found = b""
        for line in history:
            events = progress.get((line["round"], line["final"]), [])
            found += points(scalars(line, events), events[-1]["time"] if events else time.time())
        return found


def scalars(line: Line, events: Sequence[Line]) -> Iterator[Scalar]:
    """Yield the points of one line of the history and the progress of its round.

    Scores stand at the round whose models they belong to, everything else at the round itself. A number that does not
    exist, or that float32 cannot hold, has no point.
    """
    return (scalar for scalar in _scalars(line, events) if abs(scalar.value) <= _LARGEST)


def _scalars(line: Line, events: Sequence[Line]) -> Iterator[Scalar]:
    for client, by_task in line["scores"].items():
        for task, score in by_task.items():
            if score["value"] is not None:
                yield Scalar(f"score/{task}/{client}", line["evaluated_round"], score["value"])
    step = line["round"]
    if line["final"]:
        return
    for client, losses in line["losses"].items():
        for task, loss in losses.items():
            if loss is not None:
                yield Scalar(f"loss/{task}/{client}", step, loss)
    yield Scalar("round/clients", step, len(line["participants"]))
    yield Scalar("round/set aside", step, len(line["set_aside"]))
    yield Scalar("round/skipped", step, float(line["skipped"]))
    yield Scalar("bytes/up", step, line["bytes_up"])
    yield Scalar("bytes/down", step, line["bytes_down"])
    for name, seconds in line["seconds"].items():
        yield Scalar(f"seconds/{name}", step, seconds)
    for name, value in line["diagnostics"].items():
        yield Scalar(f"diagnostics/{name}", step, value)
    yield from _progress_scalars(step, events)


def last_events(progress: Sequence[Line]) -> dict[tuple[int, bool], list[Line]]:
    """Return the lines of progress by round, those of its last attempt where it was done again."""
    found: dict[tuple[int, bool], list[Line]] = {}
    for event in progress:
        key = (event["round"], event["final"])
        if event["event"] == "asked":
            found[key] = []
        found.setdefault(key, []).append(event)
    return found


def _progress_scalars(step: int, events: Sequence[Line]) -> Iterator[Scalar]:
    for event in events:
        if event["event"] == "answered":
            yield Scalar(f"seconds/{event['client']}/answer", step, event["seconds"])
            yield Scalar(f"bytes/up/{event['client']}", step, event["bytes_up"])
        elif event["event"] in ("late", "failed", "asked again"):
            yield Scalar(f"{event['event']}/{event['client']}", step, 1.0)
