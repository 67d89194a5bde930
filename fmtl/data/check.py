"""Checking a data set: every file, every label, what they hold, and images that occur where they should not."""

from __future__ import annotations

import hashlib
import multiprocessing
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from fmtl_datasets.pictures.preview import class_name
from fmtl_datasets.shared.conventions import Sample
from fmtl_datasets.shared.source import LeavesOut, Source
from torch.utils.data import DataLoader, Dataset

from fmtl.data.files import ListContent, Part, look_at_files
from fmtl.data.findings import Finding, unexpected_counts
from fmtl.data.labels import TaskCount, count_label, image_problems, label_problems
from fmtl.data.repeats import duplicates, leaks
from fmtl.data.report import DataReport

ABSENT_SHOWN = 12
"""So many of the classes that never occur are named."""


@dataclass(frozen=True)
class CheckOptions:
    """How a data set is checked.

    Attributes:
        dataset: its name, for what is known of it.
        tasks: labels to check; all that it gives where empty.
        lists: image lists to check; all where empty.
        sample: how many images of each list, drawn with the seed; all where None.
        workers: processes that read images; 0 to read in this one, which a program with threads of its own must.
        seed: of the drawn sample.
        progress: called with the number of images done and to do.
    """

    dataset: str = ""
    tasks: tuple[str, ...] = ()
    lists: tuple[str, ...] = ()
    sample: int | None = None
    workers: int = 0
    seed: int = 0
    progress: Callable[[int, int], None] | None = None


def check_source(source: Source, options: CheckOptions) -> DataReport:
    """Check a data set, one image at a time; nothing is written.

    Args:
        source: the data set, opened.
        options: what to check, and how.

    Raises:
        ValueError: a task or list that the data set does not have, an impossible option, or a process was killed.
    """
    start = time.monotonic()
    for option, asked, known in (("tasks", options.tasks, source.tasks), ("lists", options.lists, source.lists)):
        unknown = [name for name in asked if name not in known]
        if unknown:
            raise ValueError(f"{option} = {unknown[0]!r} is not in {source.summary}; it has {', '.join(known)}.")
    if options.sample is not None and options.sample < 1:
        raise ValueError(
            f"sample = {options.sample} images of each list; expected at least 1, or leave it out for all."
        )
    tasks = tuple(task for task in source.tasks if task in options.tasks or not options.tasks)
    names = tuple(name for name in source.lists if name in options.lists or not options.lists)
    contents = [look_at_files(source, name, tasks, options.sample, options.seed) for name in names]
    _read_images(source, contents, options)
    findings = [finding for content in contents for finding in (*content.findings, *duplicates(content))]
    findings += leaks(source.lists, {content.name: content for content in contents})
    lengths = {content.name: len(content.ids) for content in contents if content.ids}
    findings += [
        Finding(kind="other-count", image_list=name, what=what)
        for name, what in unexpected_counts(options.dataset, lengths).items()
    ]
    for content in contents:
        findings += [*_left_out(source, content), *_of_classes(source, content, whole=options.sample is None)]
    return DataReport(
        dataset=options.dataset,
        summary=source.summary,
        class_names=source.class_names,
        lists=tuple(contents),
        findings=tuple(sorted(findings, key=lambda finding: finding.order)),
        sample=options.sample,
        seconds=time.monotonic() - start,
    )


@dataclass
class _Read:
    """What one image and its labels hold."""

    content: int
    image_id: str
    digest: bytes | None = None
    readable: bool = False
    findings: list[Finding] = field(default_factory=list)
    counts: dict[str, TaskCount] = field(default_factory=dict)


class _Images(Dataset[_Read]):
    """All images of all lists, read and counted where they are asked for, which may be in a worker process."""

    def __init__(self, source: Source, contents: Sequence[ListContent]) -> None:
        self._source, self._contents = source, contents
        self._places = [
            (number, part, index)
            for number, content in enumerate(contents)
            for part in content.parts
            for index in range(len(part.positions))
        ]

    def __len__(self) -> int:
        return len(self._places)

    def __getitem__(self, place: int) -> _Read:
        number, part, index = self._places[place]
        content, position = self._contents[number], int(part.positions[index])
        read = _Read(number, content.ids[position])
        file = content.files.get((read.image_id, "image"))
        if file:
            try:
                with Path(file).open("rb") as image:
                    read.digest = hashlib.file_digest(image, "sha256").digest()
            except OSError as error:
                what = str(error.strerror or error)
                read.findings.append(content.finding("unreadable-file", what, read.image_id))
        for task, sample in self._samples(content, part, index, read).items():
            self._count(content, position, task, sample, read)
        return read

    def _samples(self, content: ListContent, part: Part, index: int, read: _Read) -> dict[str, Sample]:
        """The sample of each task that can be read; the same one for all where nothing is wrong."""
        samples: dict[str, Sample] = {}
        # A damaged file can raise anything in the library that decodes it, and training would trip over all of it.
        try:
            sample = part.dataset[index]
            samples = dict.fromkeys(part.tasks, sample)
        except Exception as error:
            failed = {"": _sentence(error)}
            for task in part.tasks:
                try:
                    one = part.positions[index : index + 1]
                    samples[task] = self._source.open((task,), content.name, one)[0]
                except Exception as alone:
                    failed[task] = _sentence(alone)
            of_tasks = {task: what for task, what in failed.items() if task}
            if len(of_tasks) != 1 and len(of_tasks) == len(part.tasks) and len(set(of_tasks.values())) == 1:
                # The same is wrong for every task: then it is the image.
                of_tasks = {"": next(iter(of_tasks.values()))}
            for task, what in (of_tasks or failed).items():
                read.findings.append(content.finding("damaged-file", what, read.image_id, task))
        for sample in list(samples.values())[:1]:
            read.readable = True
            problems = image_problems(_size(sample))
            read.findings += [content.finding(kind, what, read.image_id) for kind, what in problems]
        return samples

    def _count(self, content: ListContent, position: int, task: str, sample: Sample, read: _Read) -> None:
        label, classes = sample[task], self._source.num_classes
        problems = dict(label_problems(task, label, _size(sample), classes))
        if "all-ignored" in problems and not len(self._source.usable(content.name, np.array([position]), (task,))):
            # The data set says that this image is not for this task, so nothing is wrong with it.
            del problems["all-ignored"]
        read.findings += [content.finding(kind, what, read.image_id, task) for kind, what in problems.items()]
        if "wrong-values" not in problems and "wrong-size" not in problems:
            read.counts[task] = count_label(task, label, classes)


def _read_images(source: Source, contents: Sequence[ListContent], options: CheckOptions) -> None:
    """Read every image; `contents` is filled as results come in, in the order of the lists."""
    images = _Images(source, contents)
    # A forked process shares what the parent has read (the annotations of COCO take gigabytes).
    forks = options.workers > 1 and "fork" in multiprocessing.get_all_start_methods()
    loader = DataLoader(
        images,
        batch_size=None,
        num_workers=min(options.workers, len(images)) if forks else 0,
        multiprocessing_context="fork" if forks and len(images) else None,
        collate_fn=_unchanged,
        generator=torch.Generator(),
    )
    try:
        for done, read in enumerate(loader, start=1):
            _add(contents[read.content], read)
            if options.progress is not None:
                options.progress(done, len(images))
    except RuntimeError as error:
        if not str(error).startswith("DataLoader worker"):
            raise
        raise ValueError(
            f"workers = {options.workers}: a process ended unexpectedly, most likely for lack of memory. Use fewer "
            "workers."
        ) from error


def _unchanged(read: Any) -> Any:
    return read


def _add(content: ListContent, read: _Read) -> None:
    content.findings += read.findings
    if read.readable:
        content.read.add(read.image_id)
    if read.digest is not None:
        content.digests[read.image_id] = read.digest
    for task, count in read.counts.items():
        content.counts[task].add(count)


def _size(sample: Sample) -> tuple[int, int]:
    height, width = sample["image"].shape[-2:]
    return int(height), int(width)


def _sentence(error: Exception) -> str:
    text = str(error)
    return text if isinstance(error, ValueError | OSError) and text else f"{type(error).__name__}: {text}"


def _left_out(source: Source, content: ListContent) -> Iterator[Finding]:
    """Annotated objects of the checked images that their labels do not have."""
    if not isinstance(source, LeavesOut):
        return
    for task in content.counts:
        for image_id, count in source.left_out(content.name, task).items():
            if image_id in content.chosen:
                what = f"{count} of the annotated objects left out: the box has no area inside the image"
                yield content.finding("left-out", what, image_id, task)


def _of_classes(source: Source, content: ListContent, *, whole: bool) -> Iterator[Finding]:
    """Tasks that nothing is labelled for, and classes that the whole training list never has."""
    positions = np.array(list(content.chosen.values()), dtype=np.int64)
    for task, count in content.counts.items():
        if count.read and not count.labelled:
            # A few images drawn at random need not show anybody.
            if whole or len(source.usable(content.name, positions, (task,))):
                what = f"none of {count.read} images has anything to train on for {task}"
                yield content.finding("nothing-labelled", what, task=task)
        elif whole and content.name == source.lists[0]:
            names = source.class_names.get(task, ())
            absent = [class_name(names, int(index)) for index in np.flatnonzero(count.per_class == 0)]
            more = f" and {len(absent) - ABSENT_SHOWN} more" if len(absent) > ABSENT_SHOWN else ""
            if absent:
                shown = f"{', '.join(absent[:ABSENT_SHOWN])}{more}"
                what = f"{len(absent)} of {len(count.per_class)} classes never occur: {shown}"
                yield content.finding("absent-class", what, task=task)
