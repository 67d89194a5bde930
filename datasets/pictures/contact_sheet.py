"""Contact sheets: images with their labels side by side, or with predictions below the labels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from fmtl_datasets.pictures.palette import BACKGROUND, INK, MUTED, PAPER, class_colour, font
from fmtl_datasets.pictures.preview import has_background, image_picture, label_caption, label_picture, shown_classes
from fmtl_datasets.pictures.preview_objects import class_name
from fmtl_datasets.shared.conventions import IGNORE, TASKS, Sample
from PIL import Image, ImageDraw

WIDTH = 1600
NARROWEST, WIDEST = 240, 320
"""A sheet is about so wide; its pictures are between these two widths, and their heights follow the images."""

TALLEST = 1.1
"""Height of a picture in widths at most; a taller one is made narrower."""

GAP = 8
HEADING_HEIGHT = 15
TEXT_HEIGHT = 12
LINE = 17
LEGEND_CLASSES = 48
"""A legend names so many classes of a task at most, the most frequent ones."""

ClassNames = Mapping[str, Sequence[str]]
Counts = npt.NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class LabelRow:
    """One image with its labels.

    Attributes:
        image: (3, H, W) uint8.
        labels: by task, in the form of an uncollated sample.
        title: what is written below the image, its identifier for one.
    """

    image: Any
    labels: Mapping[str, Any]
    title: str = ""


@dataclass(frozen=True, kw_only=True)
class PredictionRow(LabelRow):
    """One image with its labels and what was predicted.

    Attributes:
        predictions: by task, in the form of labels; edge and saliency may be float32 probabilities.
    """

    predictions: Mapping[str, Any]


def sample_row(sample: Sample, title: str = "") -> LabelRow:
    """A row from an uncollated sample."""
    labels = {task: sample[task] for task in TASKS if task in sample}
    return LabelRow(image=sample["image"], labels=labels, title=title)


def contact_sheet(rows: Sequence[LabelRow], class_names: ClassNames, *, heading: str = "") -> Image.Image:
    """Draw images with their labels: one row for each image, one column for each task, legends below.

    Args:
        rows: images with labels.
        class_names: names of the classes by task, where known; others get their numbers.
        heading: first line of the sheet.

    Returns:
        An RGB picture.

    Raises:
        ValueError: no rows.
    """
    return _sheet([_Row(row, {"": row.labels}) for row in rows], class_names, heading)


def prediction_sheet(rows: Sequence[PredictionRow], class_names: ClassNames, *, heading: str = "") -> Image.Image:
    """Draw predictions below labels: for each image its labels in one row and what was predicted in the next.

    Args:
        rows: images with labels and predictions; a task may have only one of the two.
        class_names: names of the classes by task, where known; others get their numbers.
        heading: first line of the sheet.

    Returns:
        An RGB picture.

    Raises:
        ValueError: no rows.
    """
    shown = [_Row(row, {"label": row.labels, "prediction": row.predictions}) for row in rows]
    return _sheet(shown, class_names, heading)


@dataclass(frozen=True)
class _Row:
    """One image of a sheet, and the labels of each of its lines under what they are."""

    shown: LabelRow
    lines: Mapping[str, Mapping[str, Any]]


def _sheet(rows: Sequence[_Row], class_names: ClassNames, heading: str) -> Image.Image:
    if not rows:
        raise ValueError("a contact sheet needs at least one image.")
    tasks = tuple(task for task in TASKS if any(task in labels for row in rows for labels in row.lines.values()))
    cells = _Cells(min(max(WIDTH // (1 + len(tasks)), NARROWEST), WIDEST))
    width = cells.left(1 + len(tasks))
    strips = [_heading_strip(heading, width)] if heading else []
    strips.append(_title_strip(("image", *tasks), cells))
    strips += [_row_strip(row, tasks, class_names, cells) for row in rows]
    strips += [
        _legend_strip(task, pixels, class_names, width) for task in tasks if (pixels := _shown(task, rows)).any()
    ]
    sheet = Image.new("RGB", (width, sum(strip.height for strip in strips) + GAP), PAPER)
    top = 0
    for strip in strips:
        sheet.paste(strip, (0, top))
        top += strip.height
    return sheet


def _heading_strip(heading: str, width: int) -> Image.Image:
    letters = font(HEADING_HEIGHT)
    lines = _wrapped(heading, width - 2 * GAP, HEADING_HEIGHT)
    strip = Image.new("RGB", (width, GAP + len(lines) * (HEADING_HEIGHT + 5)), PAPER)
    draw = ImageDraw.Draw(strip)
    for number, line in enumerate(lines):
        draw.text((GAP, GAP + number * (HEADING_HEIGHT + 5)), line, fill=INK, font=letters)
    return strip


@dataclass(frozen=True)
class _Cells:
    """The columns of a sheet, by the width of their pictures in pixels."""

    width: int

    def left(self, column: int) -> int:
        return GAP + column * (self.width + GAP)

    def picture_size(self, size: tuple[int, ...]) -> tuple[int, int]:
        """Height and width of a picture with an image's proportions."""
        height, width = size
        scale = min(self.width / width, self.width * TALLEST / height)
        return max(1, round(height * scale)), max(1, round(width * scale))


def _title_strip(titles: Sequence[str], cells: _Cells) -> Image.Image:
    strip = Image.new("RGB", (cells.left(len(titles)), GAP + LINE + 4), PAPER)
    draw = ImageDraw.Draw(strip)
    for column, title in enumerate(titles):
        draw.text((cells.left(column), GAP), title, fill=INK, font=font(HEADING_HEIGHT))
    return strip


def _row_strip(row: _Row, tasks: Sequence[str], class_names: ClassNames, cells: _Cells) -> Image.Image:
    """One image with its labels; a line of pictures for each kind of label."""
    size = cells.picture_size(tuple(np.asarray(row.shown.image).shape[-2:]))
    strip = Image.new("RGB", (cells.left(1 + len(tasks)), len(row.lines) * (size[0] + LINE) + GAP), PAPER)
    draw = ImageDraw.Draw(strip)
    picture = image_picture(row.shown.image, size)
    strip.paste(picture, (cells.left(0), 0))
    draw.text((cells.left(0), size[0] + 1), _fitted(row.shown.title, cells.width), fill=INK, font=font(TEXT_HEIGHT))
    for line, (kind, values) in enumerate(row.lines.items()):
        top = line * (size[0] + LINE)
        for column, task in enumerate(tasks, start=1):
            text = f"no {kind or 'label'}"
            if task in values:
                strip.paste(label_picture(task, values[task], picture, class_names), (cells.left(column), top))
                text = ": ".join(part for part in (kind, label_caption(task, values[task])) if part)
            text = _fitted(text, cells.width)
            draw.text((cells.left(column), top + size[0] + 1), text, fill=MUTED, font=font(TEXT_HEIGHT))
    return strip


def _fitted(text: str, width: int) -> str:
    """A text without its beginning where it is too wide: the end of an identifier tells more."""
    while text and font(TEXT_HEIGHT).getlength(text) > width:
        text = "..." + text.removeprefix("...")[1:]
    return text


def _shown(task: str, rows: Sequence[_Row]) -> Counts:
    pixels = np.zeros(256, dtype=np.int64)
    for labels in (labels for row in rows for labels in row.lines.values() if task in labels):
        pixels += shown_classes(task, labels[task])
    return pixels


def _legend_strip(task: str, pixels: Counts, class_names: ClassNames, width: int) -> Image.Image:
    """Colours and names of the classes that are seen in a sheet, flowing over as many lines as they need."""
    present = [int(index) for index in np.flatnonzero(pixels) if index != IGNORE]
    kept = sorted(sorted(present, key=lambda index: -int(pixels[index]))[:LEGEND_CLASSES])
    entries = [(class_name(class_names.get(task, ()), index), index) for index in kept]
    if pixels[IGNORE]:
        entries.append(("ignored" if task != "panoptic" else "void or crowd", IGNORE))
    letters = font(TEXT_HEIGHT)
    x, y = GAP + 80, 2
    places = []
    for name, index in entries:
        step = round(letters.getlength(name)) + 34
        if x + step > width - GAP:
            x, y = GAP + 80, y + LINE
        places.append((x, y, name, index))
        x += step
    strip = Image.new("RGB", (width, y + LINE + GAP), PAPER)
    draw = ImageDraw.Draw(strip)
    draw.text((GAP, 2), task, fill=INK, font=font(HEADING_HEIGHT))
    plain = has_background(class_names.get(task, ()))
    for x, y, name, index in places:
        colour = BACKGROUND if plain and index == 0 else class_colour(index)
        draw.rectangle((x, y + 2, x + 13, y + 14), fill=colour, outline=INK)
        draw.text((x + 18, y), name, fill=INK, font=letters)
    more = len(present) - len(kept)
    if more > 0:
        draw.text((GAP, strip.height - GAP - 2), f"and {more} more", fill=MUTED, font=font(10))
    return strip


def _wrapped(text: str, width: int, height: int) -> list[str]:
    lines = [""]
    for word in text.split():
        longer = f"{lines[-1]} {word}".strip()
        if lines[-1] and font(height).getlength(longer) > width:
            lines.append(word)
        else:
            lines[-1] = longer
    return lines
