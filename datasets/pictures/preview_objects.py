"""Objects, people and panoptic segments drawn over their image."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from fmtl_datasets.pictures.palette import IGNORED, INK, PAPER, RGB, U8, class_colour, class_colours, font
from fmtl_datasets.shared.conventions import IGNORE
from fmtl_datasets.shared.objects import Instances, PanopticSegments
from PIL import Image, ImageDraw

Box = tuple[float, float, float, float]
"""Left, top, right and bottom in pixels."""

_LEFT: RGB = (255, 150, 40)
_RIGHT: RGB = (70, 170, 255)
_MIDDLE: RGB = (120, 230, 120)

_BONES = (
    ((0, 1), (0, 2), (1, 3), (2, 4)),
    ((5, 7), (7, 9), (6, 8), (8, 10)),
    ((11, 13), (13, 15), (12, 14), (14, 16)),
    ((5, 6), (11, 12), (5, 11), (6, 12)),
)
"""Pairs of COCO keypoints to join: face, arms, legs and trunk. In COCO order odd numbers are the person's left."""

NAME_HEIGHT = 11


def over(below: npt.NDArray[Any], above: npt.NDArray[Any], share: float | npt.NDArray[Any]) -> U8:
    """Mix two pictures; `share` of the upper one, a number or one for each pixel."""
    return np.rint(below * (1 - share) + above * share).clip(0, 255).astype(np.uint8)


def nearest(values: npt.NDArray[Any], size: tuple[int, int]) -> npt.NDArray[Any]:
    """Resize (..., H, W) to `size` (height, width) without mixing values."""
    height, width = values.shape[-2:]
    rows = ((np.arange(size[0]) + 0.5) * height / size[0]).astype(np.int64)
    columns = ((np.arange(size[1]) + 0.5) * width / size[1]).astype(np.int64)
    return values[..., rows[:, None], columns]


def striped(grey: npt.NDArray[Any]) -> U8:
    """Lay grey stripes over a grey picture (H, W, 3), for what is not annotated."""
    rows, columns = np.indices(grey.shape[:2])
    dark = ((rows + columns) // 4 % 2 == 0)[..., None]
    return np.where(dark, np.array(IGNORED), over(grey, np.full(3, 205), 0.5)).astype(np.uint8)


def mark_boundaries(picture: U8, regions: npt.NDArray[Any], colour: RGB = (255, 255, 255)) -> U8:
    """Draw a thin line where neighbouring pixels (H, W) differ."""
    edge = np.zeros(regions.shape, dtype=bool)
    edge[1:] |= regions[1:] != regions[:-1]
    edge[:, 1:] |= regions[:, 1:] != regions[:, :-1]
    return np.where(edge[..., None], np.array(colour), picture).astype(np.uint8)


def draw_instances(objects: Instances, picture: Image.Image, names: Sequence[str]) -> Image.Image:
    """Draw masks, boxes and class names; a crowd is hatched and has no box."""
    order = np.argsort(-objects.areas.numpy(), kind="stable")
    pixels = over(np.asarray(picture), np.zeros(3), 0.35)
    if objects.masks is not None:
        masks = nearest(objects.masks.numpy(), (picture.height, picture.width))
        for index in order:
            pixels = _tint(pixels, masks[index], class_colour(int(index)), hatched=bool(objects.crowd[index]))
    drawn = Image.fromarray(pixels)
    for index in order:
        if not objects.crowd[index]:
            _box(drawn, _scaled(objects, index, drawn), class_colour(int(index)))
    texts = [class_name(names, int(objects.classes[index])) for index in order]
    texts = [f"{text} (crowd)" if objects.crowd[index] else text for text, index in zip(texts, order, strict=True)]
    boxes = [_scaled(objects, index, drawn) for index in order]
    _write_names(drawn, list(zip(boxes, texts, (class_colour(int(index)) for index in order), strict=True)))
    return drawn


def draw_people(people: Instances, picture: Image.Image) -> Image.Image:
    """Draw boxes and skeletons: left orange, right blue; filled where visible, hollow where occluded."""
    drawn = Image.fromarray(over(np.asarray(picture), np.zeros(3), 0.5))
    scale = (drawn.width / people.size[1], drawn.height / people.size[0])
    for index in range(len(people)):
        if people.crowd[index]:
            box = _scaled(people, index, drawn)
            region = np.zeros((drawn.height, drawn.width), dtype=bool)
            region[int(box[1]) : int(box[3]) + 1, int(box[0]) : int(box[2]) + 1] = True
            if people.masks is not None:
                region = nearest(people.masks[index].numpy(), (drawn.height, drawn.width))
            drawn.paste(Image.fromarray(_tint(np.asarray(drawn), region, (230, 230, 230), hatched=True)))
            continue
        _box(drawn, _scaled(people, index, drawn), (220, 220, 220))
        if people.keypoints is not None:
            joints = people.keypoints[index].numpy().astype(np.float64)
            # A keypoint with whole coordinates lies in the middle of its pixel.
            joints[:, :2] = (joints[:, :2] + 0.5) * scale
            _skeleton(ImageDraw.Draw(drawn), joints, max(1, round(min(drawn.size) / 130)))
    return drawn


def draw_panoptic(segments: PanopticSegments, picture: Image.Image) -> Image.Image:
    """Tint segments by class with lines between them; crowds are hatched, void is grey."""
    size = (picture.height, picture.width)
    ids = nearest(segments.ids.numpy(), size)
    classes = nearest(np.minimum(segments.class_map(IGNORE).numpy(), IGNORE), size)
    grey = np.asarray(picture).mean(axis=2, keepdims=True).repeat(3, axis=2)
    pixels = over(grey, class_colours()[classes], 0.65)
    for position in np.flatnonzero(segments.crowd.numpy()):
        region = ids == int(segments.segment_ids[position])
        colour = class_colour(int(segments.classes[position]))
        pixels = np.where(region[..., None], _tint(grey.astype(np.uint8), region, colour, hatched=True), pixels)
    pixels = np.where((ids == 0)[..., None], striped(grey), pixels).astype(np.uint8)
    return Image.fromarray(mark_boundaries(pixels, ids))


def class_name(names: Sequence[str], index: int) -> str:
    """The name of a class, or its number where the data set gives no names."""
    return names[index] if index < len(names) else f"class {index}"


def _tint(pixels: U8, region: npt.NDArray[Any], colour: RGB, *, hatched: bool) -> U8:
    rows, columns = np.indices(region.shape)
    inside = region & ((rows + columns) % 7 < 2) if hatched else region
    tinted = np.where(inside[..., None], over(pixels, np.array(colour), 0.85 if hatched else 0.5), pixels)
    inner = region.copy()
    inner[1:] &= region[:-1]
    inner[:-1] &= region[1:]
    inner[:, 1:] &= region[:, :-1]
    inner[:, :-1] &= region[:, 1:]
    return np.where((region & ~inner)[..., None], np.array(colour), tinted).astype(np.uint8)


def _scaled(objects: Instances, index: int, drawn: Image.Image) -> Box:
    """Box of an object in the picture, as the pixels it covers."""
    left, top, right, bottom = objects.boxes[index].tolist()
    across, down = drawn.width / objects.size[1], drawn.height / objects.size[0]
    last_column, last_row = drawn.width - 1, drawn.height - 1
    return (
        min(max(left * across, 0), last_column),
        min(max(top * down, 0), last_row),
        min(max(right * across - 1, 0), last_column),
        min(max(bottom * down - 1, 0), last_row),
    )


def _box(drawn: Image.Image, box: Box, colour: RGB) -> None:
    left, top, right, bottom = (round(side) for side in box)
    ImageDraw.Draw(drawn).rectangle((left, top, max(left, right), max(top, bottom)), outline=colour)


def _write_names(drawn: Image.Image, named: Sequence[tuple[Box, str, RGB]]) -> None:
    """Write a name at a corner of each box, where no other name is yet if there is such a corner."""
    draw = ImageDraw.Draw(drawn)
    letters = font(NAME_HEIGHT)
    taken: list[Box] = []
    for box, name, colour in named:
        _, _, width, height = draw.textbbox((0, 0), name, font=letters)
        wide, high = width + 2, height + 1
        corners = [(box[0], box[1]), (box[0], box[1] - high), (box[0], box[3]), (box[2] - wide, box[3] - high)]
        # Inside a small box its own name would hide it.
        corners = corners[1:] + corners[:1] if box[3] - box[1] < 2 * high else corners
        places = [_inside(drawn, corner, wide, high) for corner in corners]
        place = next((place for place in places if not any(_overlap(place, other) for other in taken)), places[0])
        taken.append(place)
        draw.rectangle(place, fill=colour)
        ink = PAPER if sum(colour) < 330 else INK
        draw.text((place[0] + 1, place[1]), name, fill=ink, font=letters)


def _inside(drawn: Image.Image, corner: tuple[float, float], wide: float, high: float) -> Box:
    left = max(0.0, min(corner[0], drawn.width - 1 - wide))
    top = max(0.0, min(corner[1], drawn.height - 1 - high))
    return (left, top, left + wide, top + high)


def _overlap(one: Box, other: Box) -> bool:
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]


def _skeleton(draw: ImageDraw.ImageDraw, joints: npt.NDArray[np.float64], radius: int) -> None:
    labelled = joints[:, 2] > 0
    for a, b in (pair for group in _BONES for pair in group):
        if labelled[a] and labelled[b]:
            side = _MIDDLE if a % 2 != b % 2 else _side(a)
            draw.line([tuple(joints[a, :2]), tuple(joints[b, :2])], fill=side, width=radius)
    for index in np.flatnonzero(labelled):
        x, y, visibility = joints[index]
        fill = _side(int(index)) if visibility == 2 else None
        draw.ellipse((x - radius - 1, y - radius - 1, x + radius + 1, y + radius + 1), fill, _side(int(index)))


def _side(keypoint: int) -> RGB:
    if keypoint == 0:
        return _MIDDLE
    return _LEFT if keypoint % 2 else _RIGHT
