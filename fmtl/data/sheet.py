"""The contact sheet of a check: a dozen images with their labels, drawn by a seed."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from fmtl_datasets.pictures.contact_sheet import LabelRow, contact_sheet, sample_row
from fmtl_datasets.shared.source import Indices, Source
from PIL import Image

from fmtl.data.examine import has_label
from fmtl.data.report import DataReport

IMAGES = 12
TRIES = 40
"""Images looked at for each one shown, in search of one with a label of a task that few images have."""


def draw_sheet(source: Source, report: DataReport, seed: int) -> Image.Image | None:
    """Draw images of the data set's main lists with their labels.

    Images are drawn at random. Each task in turn has one that is labelled for it, since most images have no people.

    Args:
        source: the data set.
        report: of its check; images with damaged labels are left out.
        seed: of the draw.

    Returns:
        The picture; None where no image could be read.
    """
    names = [found.name for found in report.lists if found.read and found.tasks]
    names = [name for name in names if name in source.lists[:2]] or names[:1]
    rows: list[LabelRow] = []
    for number, name in enumerate(names):
        amount = IMAGES // len(names) + (number < IMAGES % len(names))
        rows += _rows(source, report, name, (seed, number), amount)
    if not rows:
        return None
    return contact_sheet(rows, report.class_names, heading=f"{source.summary}: images drawn with seed {seed}")


def _rows(source: Source, report: DataReport, name: str, seed: tuple[int, int], amount: int) -> list[LabelRow]:
    found = next(found for found in report.lists if found.name == name)
    ids = source.ids(name)
    damaged = {finding.image_id for finding in report.findings if finding.image_list == name and finding.blocks}
    order = [int(i) for i in np.random.default_rng(seed).permutation(len(ids)) if ids[int(i)] not in damaged]
    tasks = tuple(found.tasks)
    rows: list[LabelRow] = []
    for turn in range(amount):
        row = _labelled_row(source, name, tasks, order, tasks[turn % len(tasks)])
        if row is None:
            break
        rows.append(row)
    return rows


def _labelled_row(source: Source, name: str, tasks: Sequence[str], order: list[int], wanted: str) -> LabelRow | None:
    """Take the next image that is labelled for a task, or the next one at all where none of the next few is."""
    fallback: tuple[int, LabelRow] | None = None
    for position in order[:TRIES]:
        usable = source.usable(name, _one(position), (wanted,))
        if fallback is not None and not len(usable):
            continue
        row = _row(source, name, tasks, position)
        if row is None:
            continue
        if len(usable) and has_label(row.labels[wanted]):
            order.remove(position)
            return row
        fallback = fallback or (position, row)
    if fallback is None:
        return None
    order.remove(fallback[0])
    return fallback[1]


def _row(source: Source, name: str, tasks: Sequence[str], position: int) -> LabelRow | None:
    try:
        sample = source.open(tasks, name, _one(position))[0]
    except (OSError, ValueError):
        # Only in a check by sample: the check says nothing of this image, and the sheet shows another.
        return None
    return sample_row(sample, f"{name} {source.ids(name)[position]}")


def _one(position: int) -> Indices:
    return np.array([position], dtype=np.int64)
