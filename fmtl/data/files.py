"""The images of one list: which of them are checked, and which of their files can be opened at all."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from fmtl_datasets.shared.source import Indices, SampleDataset, Source

from fmtl.data.findings import Finding
from fmtl.data.labels import TaskCount, empty_count


@dataclass(frozen=True)
class Part:
    """Images of which the same labels can be read: their positions in the list, and their samples in this order."""

    tasks: tuple[str, ...]
    positions: Indices
    dataset: SampleDataset


@dataclass
class ListContent:
    """What is found in one list.

    Attributes:
        name: the list.
        ids: its images.
        chosen: identifiers of the images to check, with their positions.
        files: path of an image (kind ``image``) or label (its task), by identifier and kind.
        parts: the images by what can be read of them.
        findings: what is wrong.
        counts: what the labels hold, by task.
        digests: what tells the contents of image files apart, by identifier.
        read: images of which at least one label could be read.
    """

    name: str
    ids: tuple[str, ...] = ()
    chosen: dict[str, int] = field(default_factory=dict)
    files: dict[tuple[str, str], str] = field(default_factory=dict)
    parts: list[Part] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)
    counts: dict[str, TaskCount] = field(default_factory=dict)
    digests: dict[str, bytes] = field(default_factory=dict)
    read: set[str] = field(default_factory=set)

    def finding(self, kind: str, what: str, image_id: str = "", task: str = "") -> Finding:
        """A finding of this list, with its file where one is known."""
        file = self.files.get((image_id, task or "image"), "")
        return Finding(kind=kind, what=what, image_list=self.name, task=task, image_id=image_id, file=file)


def look_at_files(source: Source, name: str, tasks: Sequence[str], sample: int | None, seed: int) -> ListContent:
    """Choose the images of a list and look for their files; nothing is decoded yet.

    Args:
        source: the data set.
        name: the list.
        tasks: labels to check.
        sample: how many images, drawn with `seed`; all where None.
        seed: of the draw.
    """
    content = ListContent(name)
    try:
        content.ids = source.ids(name)
    except (OSError, ValueError) as error:
        content.findings.append(content.finding("unreadable-list", str(error)))
        return content
    if not content.ids:
        content.findings.append(content.finding("empty-list", "the list names no image"))
        return content
    positions = np.arange(len(content.ids))
    if sample is not None and sample < len(positions):
        positions = np.sort(np.random.default_rng(seed).choice(len(positions), sample, replace=False))
    content.chosen = {content.ids[position]: int(position) for position in positions}
    content.counts = {task: empty_count(task, source.num_classes) for task in tasks}
    for image_id, times in Counter(content.ids).items():
        if times > 1:
            what = "the list names this image more than once"
            content.findings.append(content.finding("duplicate", what, image_id))
    _open_parts(source, content, _unreadable(source, content, tasks), tasks)
    return content


def _unreadable(source: Source, content: ListContent, tasks: Sequence[str]) -> dict[str, set[str]]:
    """Kinds of file that cannot be opened, by image; each is noted once."""
    unreadable: dict[str, set[str]] = {}
    listed, seen = set(content.ids), set()
    for file in source.files(content.name, tasks):
        if file.image_id in listed and file.image_id not in content.chosen:
            continue
        content.files[file.image_id, file.kind] = str(file.path)
        problem = file_problem(file.path)
        if problem is None:
            continue
        unreadable.setdefault(file.image_id, set()).add(file.kind)
        if file.path not in seen:
            seen.add(file.path)
            task = "" if file.kind == "image" else file.kind
            content.findings.append(content.finding(*problem, file.image_id, task))
    return unreadable


def file_problem(path: Path) -> tuple[str, str] | None:
    """Why a file cannot be read: kind of finding and sentence, None where it can."""
    try:
        with path.open("rb") as file:
            return None if file.read(1) else ("damaged-file", "empty, 0 bytes")
    except FileNotFoundError:
        link = path.is_symlink()
        return ("unreadable-file", "a link to a file that is missing") if link else ("missing-file", "missing")
    except OSError as error:
        return "unreadable-file", str(error.strerror or error)


def _open_parts(source: Source, content: ListContent, lacking: dict[str, set[str]], tasks: Sequence[str]) -> None:
    """Open the images, those with the same readable labels together."""
    groups: dict[tuple[str, ...], list[int]] = {}
    # What is named under no image is needed by all, as COCO's annotation files are.
    out_of_reach = {kind for image_id, kinds in lacking.items() if image_id not in content.chosen for kind in kinds}
    for image_id, position in content.chosen.items():
        without = lacking.get(image_id, set()) | out_of_reach
        if "image" not in without:
            groups.setdefault(tuple(task for task in tasks if task not in without), []).append(position)
    for readable, positions in groups.items():
        if not readable:
            continue
        indices = np.array(positions, dtype=np.int64)
        try:
            content.parts.append(Part(readable, indices, source.open(readable, content.name, indices)))
        except (OSError, ValueError):
            # One by one tells whose files are at fault.
            for task in readable:
                try:
                    content.parts.append(Part((task,), indices, source.open((task,), content.name, indices)))
                except (OSError, ValueError) as error:
                    content.findings.append(content.finding("damaged-file", str(error), task=task))
