"""Contact sheets: images with their labels side by side, with predictions below the labels where there are any."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from textwrap import wrap
from typing import Any

import torch
from fmtl_datasets.pictures.preview import (
    BACKGROUND,
    RGB,
    ClassNames,
    class_colour,
    class_name,
    has_background,
    image_picture,
    label_caption,
    label_picture,
    shown_classes,
)
from fmtl_datasets.shared.conventions import IGNORE, TASKS, Sample
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor
from torchvision.transforms.v2.functional import pil_to_tensor, to_pil_image
from torchvision.utils import make_grid

WIDTH = 1600
NARROWEST, WIDEST = 240, 320
"""A sheet is about so wide; its pictures are between these two widths, and their heights follow the images."""

TALLEST = 1.1
"""Height of a picture in widths at most; a taller one is made narrower."""

GAP = 8
LINE = 17
LARGE, SMALL = 15, 12
"""Heights of letters."""

LEGEND_CLASSES = 48
"""A legend names so many classes of a task at most, the most frequent ones."""

INK: RGB = (20, 20, 20)
MUTED: RGB = (105, 105, 105)


@dataclass(frozen=True, kw_only=True)
class LabelRow:
    """One image with its labels.

    Attributes:
        image: (3, H, W) uint8.
        labels: by task, in the form of an uncollated sample.
        title: what is written below the image, its identifier for one.
        predictions: by task, in the form of labels; edge and saliency may be float32 probabilities. None where the
            sheet is about labels only.
    """

    image: Any
    labels: Mapping[str, Any]
    title: str = ""
    predictions: Mapping[str, Any] | None = None

    @property
    def lines(self) -> dict[str, Mapping[str, Any]]:
        """What stands in each line of pictures, under what it is."""
        if self.predictions is None:
            return {"": self.labels}
        return {"label": self.labels, "prediction": self.predictions}


def sample_row(sample: Sample, title: str = "") -> LabelRow:
    """A row from an uncollated sample."""
    labels = {task: sample[task] for task in TASKS if task in sample}
    return LabelRow(image=sample["image"], labels=labels, title=title)


def contact_sheet(rows: Sequence[LabelRow], class_names: ClassNames, *, heading: str = "") -> Image.Image:
    """Draw images with their labels: rows for each image, a column for each task, legends below.

    Args:
        rows: images with labels, and with predictions in a second row of pictures where there are any.
        class_names: names of the classes by task, where known; others get their numbers.
        heading: first line of the sheet.

    Returns:
        An RGB picture.

    Raises:
        ValueError: no rows.
    """
    if not rows:
        raise ValueError("a contact sheet needs at least one image.")
    shown = [values for row in rows for values in row.lines.values()]
    tasks = tuple(task for task in TASKS if any(task in values for values in shown))
    cell = min(max(WIDTH // (1 + len(tasks)), NARROWEST), WIDEST)
    strips = [_row(row, tasks, class_names, cell) for row in rows]
    width = strips[0].shape[-1]
    titles = Image.new("RGB", (width, GAP + LINE + 4), "white")
    for column, title in enumerate(("image", *tasks)):
        _write(titles, (GAP + column * (cell + GAP), GAP), title, LARGE)
    head = [_heading(heading, width)] if heading else []
    legends = []
    for task in tasks:
        pixels = torch.stack([shown_classes(task, values[task]) for values in shown if task in values]).sum(dim=0)
        if pixels.any():
            legends.append(_legend(task, pixels, class_names.get(task, ()), width))
    sheet: Image.Image = to_pil_image(torch.cat([*head, _tensor(titles), *strips, *legends], dim=1))
    return sheet


def _row(row: LabelRow, tasks: Sequence[str], class_names: ClassNames, width: int) -> Tensor:
    """One image with its labels; a line of pictures for each kind of label."""
    height, across = row.image.shape[-2:]
    scale = min(width / across, width * TALLEST / height)
    size = (max(1, round(height * scale)), max(1, round(across * scale)))
    picture = image_picture(row.image, size)
    tiles: list[Tensor] = []
    for kind, values in row.lines.items():
        first = not tiles
        tiles.append(_tile(picture if first else None, row.title if first else "", (size[0], width), INK))
        for task in tasks:
            drawn, text = None, f"no {kind or 'label'}"
            if task in values:
                drawn = label_picture(task, values[task], picture, class_names)
                text = ": ".join(part for part in (kind, label_caption(task, values[task])) if part)
            tiles.append(_tile(drawn, text, (size[0], width), MUTED))
    grid: Tensor = make_grid(torch.stack(tiles), nrow=1 + len(tasks), padding=GAP, pad_value=255)
    return grid


def _tile(picture: Tensor | None, caption: str, size: tuple[int, int], colour: RGB) -> Tensor:
    """A picture (or none) with a line of text below, in a cell of a height and width in pixels."""
    height, width = size
    while caption and _font(SMALL).getlength(caption) > width:
        # The end of an identifier tells more than its beginning.
        caption = "..." + caption.removeprefix("...")[1:]
    tile = Image.new("RGB", (width, height + LINE), "white")
    _write(tile, (0, height + 1), caption, SMALL, colour)
    pixels = _tensor(tile)
    if picture is not None:
        pixels[:, : picture.shape[-2], : picture.shape[-1]] = picture
    return pixels


def _heading(text: str, width: int) -> Tensor:
    lines = wrap(text, width // (LARGE // 2))
    strip = Image.new("RGB", (width, GAP + len(lines) * (LARGE + 5)), "white")
    _write(strip, (GAP, GAP), "\n".join(lines), LARGE)
    return _tensor(strip)


def _legend(task: str, pixels: Tensor, names: Sequence[str], width: int) -> Tensor:
    """Colours and names of the classes that are seen in a sheet, flowing over as many lines as they need."""
    present = [index for index in torch.nonzero(pixels).flatten().tolist() if index != IGNORE]
    kept = sorted(sorted(present, key=lambda index: -int(pixels[index]))[:LEGEND_CLASSES])
    entries = [(class_name(names, index), index) for index in kept]
    if pixels[IGNORE]:
        entries.append(("void or crowd" if task == "panoptic" else "ignored", IGNORE))
    if len(present) > len(kept):
        entries.append((f"and {len(present) - len(kept)} more", -1))
    x, y = GAP + 80, 2
    places: list[tuple[int, int, str, int]] = []
    for name, index in entries:
        step = round(_font(SMALL).getlength(name)) + 34
        if x + step > width - GAP:
            x, y = GAP + 80, y + LINE
        places.append((x, y, name, index))
        x += step
    strip = Image.new("RGB", (width, y + LINE + GAP), "white")
    _write(strip, (GAP, 2), task, LARGE)
    for x, y, name, index in places:
        if index >= 0:
            colour = BACKGROUND if index == 0 and has_background(names) else class_colour(index)
            ImageDraw.Draw(strip).rectangle((x, y + 2, x + 13, y + 14), fill=colour, outline=INK)
        _write(strip, (x + 18, y), name, SMALL)
    return _tensor(strip)


def _write(picture: Image.Image, place: tuple[int, int], text: str, height: int, colour: RGB = INK) -> None:
    ImageDraw.Draw(picture).text(place, text, fill=colour, font=_font(height))


def _tensor(picture: Image.Image) -> Tensor:
    pixels: Tensor = pil_to_tensor(picture)
    return pixels


@cache
def _font(height: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(height)
