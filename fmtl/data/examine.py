"""Reading some images of a list and counting what their labels hold; runs in a worker process or in place."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from fmtl_datasets.shared.conventions import IGNORE, Sample
from fmtl_datasets.shared.objects import Instances, PanopticSegments
from fmtl_datasets.shared.source import Source

from fmtl.data.findings import Finding
from fmtl.data.label_checks import image_problems, label_problems
from fmtl.data.plan import ListPlan, Part
from fmtl.data.tally import Tally, new_tally

READ_BYTES = 1 << 20


@dataclass
class TaskCount:
    """What was counted for a task.

    Attributes:
        tally: classes, objects or values.
        read: labels that were read.
        labelled: labels with anything to train on.
    """

    tally: Tally
    read: int = 0
    labelled: int = 0

    def merge(self, other: TaskCount) -> None:
        """Add the counts of another part of the list."""
        self.tally.merge(other.tally)
        self.read += other.read
        self.labelled += other.labelled


@dataclass
class Examined:
    """What was found in some images of a list.

    Attributes:
        tasks: counts by task.
        sizes: height and width of each image that was read, by position.
        findings: what is wrong.
        digests: content of the image file, by position.
    """

    tasks: dict[str, TaskCount] = field(default_factory=dict)
    sizes: dict[int, tuple[int, int]] = field(default_factory=dict)
    findings: list[Finding] = field(default_factory=list)
    digests: dict[int, bytes] = field(default_factory=dict)

    def merge(self, other: Examined) -> None:
        """Add what was found in other images of the list."""
        for task, count in other.tasks.items():
            if task in self.tasks:
                self.tasks[task].merge(count)
            else:
                self.tasks[task] = count
        self.sizes.update(other.sizes)
        self.findings += other.findings
        self.digests.update(other.digests)


@dataclass(frozen=True)
class Chunk:
    """Some images of a part: which list and part, and from where to where."""

    image_list: int
    part: int
    first: int
    end: int


def examine(source: Source, plans: list[ListPlan], chunk: Chunk) -> Examined:
    """Read the images of a chunk, one at a time.

    Args:
        source: the data set.
        plans: lists that are checked.
        chunk: which images.
    """
    plan = plans[chunk.image_list]
    part = plan.parts[chunk.part]
    examined = Examined(tasks={task: TaskCount(new_tally(task, source.num_classes)) for task in part.tasks})
    for index in range(chunk.first, chunk.end):
        position = int(part.positions[index])
        path = plan.paths.get(position, "")
        if path and position not in examined.digests:
            try:
                examined.digests[position] = _digest(path)
            except OSError as error:
                examined.findings.append(_finding(plan, position, "unreadable-file", str(error.strerror or error)))
        for task, sample in _samples(source, plan, part, index, examined).items():
            _count(source, plan, position, task, sample, examined)
    return examined


def _samples(source: Source, plan: ListPlan, part: Part, index: int, examined: Examined) -> dict[str, Sample]:
    """The sample of each task that can be read; the same one for all where nothing is wrong."""
    position = int(part.positions[index])
    samples: dict[str, Sample] = {}
    # A damaged file can raise anything in the library that decodes it, and training would trip over all of it.
    try:
        sample = part.dataset[index]
        samples = dict.fromkeys(part.tasks, sample)
    except Exception as error:
        if len(part.tasks) == 1:
            examined.findings.append(_finding(plan, position, "damaged-file", _sentence(error), part.tasks[0]))
            return {}
        failed: dict[str, str] = {}
        for task in part.tasks:
            try:
                samples[task] = source.open((task,), plan.name, np.array([position]))[0]
            except Exception as alone:
                failed[task] = _sentence(alone)
        examined.findings += _failures(plan, position, part.tasks, failed or {"": _sentence(error)})
    if samples:
        image = next(iter(samples.values()))["image"]
        size = (int(image.shape[-2]), int(image.shape[-1]))
        examined.sizes[position] = size
        examined.findings += [_finding(plan, position, kind, what) for kind, what in image_problems(size)]
    return samples


def _failures(plan: ListPlan, position: int, tasks: tuple[str, ...], failed: Mapping[str, str]) -> list[Finding]:
    """One finding where the same thing is wrong for every task: then it is the image."""
    if len(failed) == len(tasks) and len(set(failed.values())) == 1:
        return [_finding(plan, position, "damaged-file", next(iter(failed.values())))]
    return [_finding(plan, position, "damaged-file", what, task) for task, what in failed.items()]


def _count(source: Source, plan: ListPlan, position: int, task: str, sample: Sample, examined: Examined) -> None:
    image, label = sample["image"], sample[task]
    size = (int(image.shape[-2]), int(image.shape[-1]))
    problems = dict(label_problems(task, label, size, source.num_classes))
    if "all-ignored" in problems and not len(source.usable(plan.name, np.array([position]), (task,))):
        # The data set says that this image is not for this task, so nothing is wrong with it.
        del problems["all-ignored"]
    examined.findings += [_finding(plan, position, kind, what, task) for kind, what in problems.items()]
    if "wrong-values" in problems or "wrong-size" in problems:
        return
    count = examined.tasks[task]
    count.read += 1
    count.labelled += has_label(label)
    count.tally.add(label)


def has_label(label: Any) -> bool:
    """Whether there is anything to train on in a label."""
    if isinstance(label, Instances):
        single = label.select(~label.crowd)
        if single.keypoints is not None:
            return bool((single.keypoints[..., 2] > 0).any())
        return len(single) > 0
    if isinstance(label, PanopticSegments):
        return len(label) > 0
    values = np.asarray(label)
    if np.issubdtype(values.dtype, np.floating):
        return bool((values != 0).any())
    return bool((values != IGNORE).any())


def _finding(plan: ListPlan, position: int, kind: str, what: str, task: str = "") -> Finding:
    image_id = plan.ids[position]
    file = plan.paths.get(position, "") if not task else ""
    return Finding(kind=kind, what=what, image_list=plan.name, task=task, image_id=image_id, file=file)


def _digest(path: str) -> bytes:
    digest = hashlib.blake2b(digest_size=16)
    with open(path, "rb") as file:
        while block := file.read(READ_BYTES):
            digest.update(block)
    return digest.digest()


def _sentence(error: Exception) -> str:
    text = str(error)
    return text if isinstance(error, ValueError | OSError) and text else f"{type(error).__name__}: {text}"
