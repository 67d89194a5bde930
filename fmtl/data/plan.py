"""Which images of which lists are checked, and whether their files can be opened at all."""

from __future__ import annotations

import errno
import stat
from collections.abc import Sequence
from dataclasses import dataclass, field
from os import R_OK, access
from pathlib import Path

import numpy as np
from fmtl_datasets.shared.source import Indices, SampleDataset, Source, SourceFile

from fmtl.data.findings import Finding


@dataclass(frozen=True)
class Part:
    """Images of a list of which the same labels can be read.

    Attributes:
        image_list: the list.
        tasks: the labels.
        positions: where the images stand in the list.
        dataset: samples of these images, in this order.
    """

    image_list: str
    tasks: tuple[str, ...]
    positions: Indices
    dataset: SampleDataset


@dataclass
class ListPlan:
    """What is checked of one list.

    Attributes:
        name: the list.
        ids: images of the list.
        chosen: positions of the images to check.
        paths: image file of each chosen position, empty where the data set names none.
        parts: the chosen images by what can be read of them.
        findings: what is wrong before anything is decoded.
    """

    name: str
    ids: tuple[str, ...] = ()
    chosen: Indices = field(default_factory=lambda: np.zeros(0, dtype=np.int64))
    paths: dict[int, str] = field(default_factory=dict)
    parts: list[Part] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)


def plan_list(source: Source, name: str, tasks: Sequence[str], sample: int | None, seed: int) -> ListPlan:
    """Choose the images of a list and look for their files.

    Args:
        source: the data set.
        name: the list.
        tasks: labels to check.
        sample: how many images, drawn with `seed`; all where None.
        seed: of the draw.
    """
    plan = ListPlan(name)
    try:
        plan.ids = source.ids(name)
    except (OSError, ValueError) as error:
        plan.findings.append(Finding(kind="unreadable-list", image_list=name, what=str(error)))
        return plan
    if not plan.ids:
        plan.findings.append(Finding(kind="empty-list", image_list=name, what="the list names no image"))
        return plan
    plan.chosen = _chosen(len(plan.ids), sample, seed)
    plan.findings += _repeated(name, plan.ids)
    _open_parts(source, plan, _readable_tasks(source, plan, tasks))
    return plan


def _chosen(available: int, sample: int | None, seed: int) -> Indices:
    if sample is None or sample >= available:
        return np.arange(available, dtype=np.int64)
    return np.sort(np.random.default_rng(seed).choice(available, sample, replace=False)).astype(np.int64)


def _repeated(name: str, ids: tuple[str, ...]) -> list[Finding]:
    if len(set(ids)) == len(ids):
        return []
    seen: set[str] = set()
    twice = [image_id for image_id in ids if image_id in seen or seen.add(image_id)]  # type: ignore[func-returns-value]
    return [
        Finding(kind="duplicate", image_list=name, image_id=image_id, what="the list names this image more than once")
        for image_id in dict.fromkeys(twice)
    ]


def _readable_tasks(source: Source, plan: ListPlan, tasks: Sequence[str]) -> dict[int, tuple[str, ...]]:
    """Tasks of each chosen position whose files can be opened; notes the files that cannot.

    An image whose own file is out of reach has no entry.
    """
    position_of = {plan.ids[position]: int(position) for position in plan.chosen}
    unreadable: dict[int, set[str]] = {}
    told: set[Path] = set()
    listed = set(plan.ids)
    for file in source.files(plan.name, tasks):
        position = position_of.get(file.image_id)
        if position is None:
            # What is named under no image is needed by all, as COCO's annotation files are.
            shared = file.image_id not in listed and file_problem(file.path)
            if shared:
                plan.findings.append(_file_finding(plan.name, file, shared))
            continue
        if file.kind == "image":
            plan.paths[position] = str(file.path)
        problem = file_problem(file.path)
        if problem is None:
            continue
        unreadable.setdefault(position, set()).add(file.kind)
        if file.path not in told:
            told.add(file.path)
            plan.findings.append(_file_finding(plan.name, file, problem))
    plan.chosen = np.array(sorted(position_of.values()), dtype=np.int64)
    return {
        position: tuple(task for task in tasks if task not in unreadable.get(position, ()))
        for position in position_of.values()
        if "image" not in unreadable.get(position, ())
    }


def _file_finding(image_list: str, file: SourceFile, problem: tuple[str, str]) -> Finding:
    kind, what = problem
    task = "" if file.kind == "image" else file.kind
    return Finding(kind=kind, what=what, image_list=image_list, task=task, image_id=file.image_id, file=str(file.path))


def file_problem(path: Path) -> tuple[str, str] | None:
    """Why a file cannot be opened: kind of finding and sentence, None where it can."""
    try:
        facts = path.stat()
    except FileNotFoundError:
        return (
            ("unreadable-file", "a link to a file that is missing")
            if path.is_symlink()
            else ("missing-file", "missing")
        )
    except OSError as error:
        what = "a link that leads back to itself" if error.errno == errno.ELOOP else str(error.strerror or error)
        return "unreadable-file", what
    if not stat.S_ISREG(facts.st_mode):
        return "unreadable-file", "not a file"
    if facts.st_size == 0:
        return "damaged-file", "empty, 0 bytes"
    return None if access(path, R_OK) else ("unreadable-file", "no permission to read it")


def _open_parts(source: Source, plan: ListPlan, readable: dict[int, tuple[str, ...]]) -> None:
    """Open the images, those with the same readable labels together."""
    groups: dict[tuple[str, ...], list[int]] = {}
    for position in sorted(readable):
        groups.setdefault(readable[position], []).append(position)
    for tasks, positions in groups.items():
        indices = np.array(positions, dtype=np.int64)
        opened = _open(source, plan, tasks, indices) if tasks else None
        if opened is not None:
            plan.parts.append(Part(plan.name, tasks, indices, opened))
            continue
        for task in tasks if len(tasks) > 1 else ():
            alone = _open(source, plan, (task,), indices)
            if alone is not None:
                plan.parts.append(Part(plan.name, (task,), indices, alone))


def _open(source: Source, plan: ListPlan, tasks: tuple[str, ...], indices: Indices) -> SampleDataset | None:
    try:
        return source.open(tasks, plan.name, indices)
    except (OSError, ValueError) as error:
        # Several tasks are tried one by one next, which tells whose files are at fault.
        if len(tasks) == 1:
            plan.findings.append(Finding(kind="damaged-file", image_list=plan.name, task=tasks[0], what=str(error)))
        return None
