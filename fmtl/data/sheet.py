"""The contact sheet of a check: a dozen images with their labels, drawn by a seed."""

from __future__ import annotations

import numpy as np
from fmtl_datasets.pictures.contact_sheet import LabelRow, contact_sheet, sample_row
from fmtl_datasets.shared.source import Source
from PIL import Image

from fmtl.data.files import ListContent
from fmtl.data.labels import has_label
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
    contents = [content for content in report.lists if content.read]
    contents = [content for content in contents if content.name in source.lists[:2]] or contents[:1]
    damaged = {(finding.image_list, finding.image_id) for finding in report.blocking}
    rows: list[LabelRow] = []
    for number, content in enumerate(contents):
        tasks = tuple(task for task, count in content.counts.items() if count.read)
        usable = [image_id for image_id in content.read if (content.name, image_id) not in damaged]
        order = [content.chosen[image_id] for image_id in sorted(usable)]
        order = np.random.default_rng((seed, number)).permutation(np.array(order, dtype=np.int64)).tolist()
        amount = IMAGES // len(contents) + (number < IMAGES % len(contents))
        for turn in range(min(amount, len(order))):
            rows.append(_row(source, content, tasks, order, tasks[turn % len(tasks)]))
    if not rows:
        return None
    return contact_sheet(rows, report.class_names, heading=f"{source.summary}: images drawn with seed {seed}")


def _row(source: Source, content: ListContent, tasks: tuple[str, ...], order: list[int], wanted: str) -> LabelRow:
    """Take the next image that is labelled for a task, or the next one at all where none of the next few is."""
    for position in order[:TRIES]:
        one = np.array([position])
        if len(source.usable(content.name, one, (wanted,))):
            sample = source.open(tasks, content.name, one)[0]
            if has_label(sample[wanted]):
                break
    else:
        position = order[0]
        sample = source.open(tasks, content.name, np.array([position]))[0]
    order.remove(position)
    return sample_row(sample, f"{content.name} {content.ids[position]}")
