"""What a check of a data set found."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from fmtl.data.examine import TaskCount
from fmtl.data.findings import KINDS, Finding


@dataclass(frozen=True)
class ListReport:
    """What was found in one list.

    Attributes:
        name: the list.
        listed: images that it names.
        chosen: images that were to be checked.
        read: images of which at least one label could be read.
        sizes: number of images of each height and width.
        tasks: counts by task.
    """

    name: str
    listed: int
    chosen: int
    read: int
    sizes: Mapping[tuple[int, int], int]
    tasks: Mapping[str, TaskCount]

    def as_json(self) -> dict[str, Any]:
        """Return it for ``report.json``."""
        return {
            "list": self.name,
            "listed": self.listed,
            "chosen": self.chosen,
            "read": self.read,
            "sizes": [
                {"height": height, "width": width, "images": number}
                for (height, width), number in sorted(self.sizes.items(), key=lambda item: (-item[1], item[0]))
            ],
            "tasks": {
                task: {"read": count.read, "labelled": count.labelled, **count.tally.facts()}
                for task, count in self.tasks.items()
            },
        }


@dataclass(frozen=True)
class DataReport:
    """What a check found.

    Attributes:
        dataset: name of the data set.
        summary: what was found there, as the data set says it.
        num_classes: class counts.
        class_names: names of the classes by task, where known.
        lists: what was found in each list.
        findings: what is wrong, in the order in which reports show it.
        complete: False where it was interrupted; counts are then of the images up to there.
        sample: how many images of each list were asked for; None for all.
        seconds: how long it took.
    """

    dataset: str
    summary: str
    num_classes: Mapping[str, int]
    class_names: Mapping[str, tuple[str, ...]]
    lists: tuple[ListReport, ...]
    findings: tuple[Finding, ...]
    complete: bool
    sample: int | None
    seconds: float

    @property
    def blocking(self) -> int:
        """Number of findings that training would trip over, or that make its scores meaningless."""
        return sum(finding.blocks for finding in self.findings)

    @property
    def trainable(self) -> bool:
        """Whether the data set can be trained on, as far as it was checked."""
        return self.blocking == 0

    def by_kind(self) -> dict[str, list[Finding]]:
        """Findings of each kind that was found."""
        found: dict[str, list[Finding]] = {kind: [] for kind in KINDS}
        for finding in self.findings:
            found[finding.kind].append(finding)
        return {kind: findings for kind, findings in found.items() if findings}

    def as_json(self) -> dict[str, Any]:
        """Return it for ``report.json``."""
        return {
            "dataset": self.dataset,
            "summary": self.summary,
            "complete": self.complete,
            "sample": self.sample,
            "seconds": round(self.seconds, 1),
            "trainable": self.trainable,
            "num_classes": dict(self.num_classes),
            "class_names": {task: list(names) for task, names in self.class_names.items()},
            "lists": [found.as_json() for found in self.lists],
            "findings": [finding.as_json() for finding in self.findings],
        }
