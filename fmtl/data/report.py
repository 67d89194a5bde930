"""What a check of a data set found, as text, as JSON and as files."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

from PIL import Image

from fmtl.data.files import ListContent
from fmtl.data.findings import KINDS, Finding

SHOWN = 20
"""Findings of a kind that are shown; all of them are in ``report.json``."""

HEADING = ("list", "task", "images", "labelled", "what they hold")


@dataclass(frozen=True)
class DataReport:
    """What a check found.

    Attributes:
        dataset: name of the data set.
        summary: what was found there, as the data set says it.
        class_names: names of the classes by task, where known.
        lists: what was found in each list.
        findings: what is wrong, in the order in which reports show it.
        sample: how many images of each list were asked for; None for all.
        seconds: how long it took.
    """

    dataset: str
    summary: str
    class_names: Mapping[str, tuple[str, ...]]
    lists: tuple[ListContent, ...]
    findings: tuple[Finding, ...]
    sample: int | None
    seconds: float

    @property
    def blocking(self) -> tuple[Finding, ...]:
        """What training would trip over, or what makes its scores meaningless."""
        return tuple(finding for finding in self.findings if finding.blocks)

    @property
    def trainable(self) -> bool:
        """Whether the data set can be trained on, as far as it was checked."""
        return not self.blocking

    def rows(self) -> Iterator[tuple[str, ...]]:
        """Cells of the table with one row for each list and task; its heading is ``HEADING``."""
        for content in self.lists:
            listed, chosen = len(content.ids), len(content.chosen)
            first = f"{content.name} ({listed if chosen == listed else f'{chosen} of {listed}'})"
            for task, count in content.counts.items():
                yield first, task, str(count.read), str(count.labelled), count.contents(task) if count.read else "-"
                first = ""
            if first:
                yield first, "-", "0", "0", "nothing could be read"

    def lines(self) -> Iterator[str]:
        """The findings of each kind under its title, at most ``SHOWN`` of each."""
        for kind, group in groupby(self.findings, key=lambda finding: finding.kind):
            about, findings = KINDS[kind], list(group)
            mark = "" if about.blocks else " (to know of)"
            yield f"{about.title}: {len(findings)}{mark}. {about.remedy}"
            for finding in findings[:SHOWN]:
                yield f"  {finding.sentence}"
            if len(findings) > SHOWN:
                yield f"  ... and {len(findings) - SHOWN} more in report.json"

    @property
    def verdict(self) -> str:
        """What follows, in a sentence."""
        scope = "" if self.sample is None else f" in a sample of {self.sample} images of each list"
        if number := len(self.blocking):
            return f"{number} finding{'s' if number > 1 else ''} to put right before training{scope}."
        noted = f"; {len(self.findings)} to know of" if self.findings else ""
        return f"Nothing stands in the way of training{scope}{noted}."

    def as_json(self) -> dict[str, Any]:
        """The report for ``report.json``."""
        return {
            "dataset": self.dataset,
            "summary": self.summary,
            "sample": self.sample,
            "seconds": round(self.seconds, 1),
            "trainable": self.trainable,
            "class_names": {task: list(names) for task, names in self.class_names.items()},
            "lists": [_list_as_json(content) for content in self.lists],
            "findings": [finding.as_json() for finding in self.findings],
        }

    def write(self, folder: Path, sheet: Image.Image | None) -> list[Path]:
        """Write ``report.json`` and, where there is one, ``contact-sheet.png``; returns what was written."""
        folder.mkdir(parents=True, exist_ok=True)
        report, picture = folder / "report.json", folder / "contact-sheet.png"
        report.write_text(json.dumps(self.as_json(), indent=2) + "\n", encoding="utf-8")
        picture.unlink(missing_ok=True)
        if sheet is None:
            return [report]
        sheet.save(picture)
        return [report, picture]


def _list_as_json(content: ListContent) -> dict[str, Any]:
    return {
        "list": content.name,
        "listed": len(content.ids),
        "chosen": len(content.chosen),
        "read": len(content.read),
        "tasks": {
            task: {"read": count.read, "labelled": count.labelled, "per_class": count.per_class.tolist()}
            for task, count in content.counts.items()
        },
    }
