"""One label as a picture over its image, so that a person can see whether it sits where it should."""

from __future__ import annotations

import colorsys
import math
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

import torch
from fmtl_datasets.shared.conventions import CLASS_TASKS, IGNORE
from fmtl_datasets.shared.nearest import nearest_pixels
from fmtl_datasets.shared.objects import Instances, PanopticSegments
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor
from torchvision.transforms.v2 import InterpolationMode
from torchvision.transforms.v2.functional import pil_to_tensor, resize, to_pil_image
from torchvision.utils import draw_bounding_boxes, draw_keypoints, draw_segmentation_masks

RGB = tuple[int, int, int]
ClassNames = Mapping[str, Sequence[str]]

IGNORED: RGB = (128, 128, 128)
BACKGROUND: RGB = (30, 30, 30)
EDGE: RGB = (255, 220, 40)
SALIENT: RGB = (255, 60, 60)

LEFT: RGB = (255, 150, 40)
RIGHT: RGB = (70, 170, 255)
MIDDLE: RGB = (120, 230, 120)
"""Colours of keypoints. In COCO order odd numbers are the person's left, and the nose is number 0."""

BONES = (
    *((0, 1), (0, 2), (1, 3), (2, 4)),
    *((5, 7), (7, 9), (6, 8), (8, 10)),
    *((11, 13), (13, 15), (12, 14), (14, 16)),
    *((5, 6), (11, 12), (5, 11), (6, 12)),
)
"""Pairs of COCO keypoints to join: face, arms, legs and trunk."""

DIMMED = 0.35
"""Brightness that is left of an image under thin lines and marks."""

_STEP = 0.565
"""Share of the colour circle between two neighbouring classes. Of 365 steps it keeps the nearest two of 14, 22, 41 and
134 classes farthest apart in the CIELAB space."""

_SHADES = ((0.85, 0.95), (0.55, 1.0), (1.0, 0.62), (0.6, 0.75), (0.35, 0.95))
"""Saturation and value, one after the other, so that the few hues an eye can tell apart serve for many classes."""


@cache
def class_colour(index: int) -> RGB:
    """The colour of a class or object, the same in every picture; ``IGNORE`` is grey."""
    if index == IGNORE:
        return IGNORED
    saturation, value = _SHADES[index % len(_SHADES)]
    red, green, blue = colorsys.hsv_to_rgb((0.02 + index * _STEP) % 1.0, saturation, value)
    return (round(red * 255), round(green * 255), round(blue * 255))


def class_name(names: Sequence[str], index: int) -> str:
    """The name of a class, or its number where the data set gives no names."""
    return names[index] if index < len(names) else f"class {index}"


def has_background(names: Sequence[str]) -> bool:
    """Whether the first class is what is left over; it is shown dark instead of in a colour."""
    return bool(names) and names[0] in ("background", "things")


def image_picture(image: Any, size: tuple[int, int]) -> Tensor:
    """The image of a sample, (3, H, W) uint8, at another height and width in pixels."""
    pixels = torch.as_tensor(image).as_subclass(Tensor)
    enlarged = size[0] >= pixels.shape[-2]
    method = InterpolationMode.NEAREST_EXACT if enlarged else InterpolationMode.BILINEAR
    resized: Tensor = resize(pixels, list(size), interpolation=method, antialias=True)
    return resized


def label_picture(task: str, label: Any, picture: Tensor, class_names: ClassNames) -> Tensor:
    """Draw a label over its image.

    Class maps and panoptic segments are tinted in, with boundaries; what is ignored, void or a crowd is grey. Saliency
    and edge are drawn in colour over a dark image, as a probability where they are floating point. Normals are coloured
    (right red, up green, towards the camera blue) and depth is bright where near; both are black where invalid. Objects
    have masks, boxes and names; crowds are faint and
    have no box. The left side of people is orange, the right blue;
    occluded keypoints are small.

    Args:
        task: one of ``fmtl_datasets.shared.conventions.TASKS``.
        label: its value in an uncollated sample, or a prediction in the same form.
        picture: the image at the size to draw at, (3, h, w) uint8 (``image_picture``).
        class_names: names of the classes by task, where known.

    Returns:
        A picture of the same shape.
    """
    size = (int(picture.shape[-2]), int(picture.shape[-1]))
    if isinstance(label, PanopticSegments):
        segments = label.resized(size)
        return _class_map(segments.class_map(IGNORE), segments.ids, picture, plain=False)
    if isinstance(label, Instances):
        objects = label.resized(size)
        return _people(objects, picture) if task == "keypoints" else _objects(objects, picture, class_names, task)
    values = torch.as_tensor(label).as_subclass(Tensor)
    if task in ("edge", "saliency"):
        return _binary(task, values, picture)
    values = nearest_pixels(values, size)
    if task == "normals":
        coloured = (values * torch.tensor([1.0, -1.0, -1.0])[:, None, None] + 1) * 127.5
        return _pixels(coloured * values.abs().sum(dim=0).gt(0))
    if task == "depth":
        near = torch.where(values > 0, 1 / values.clamp(min=0.5), 0.0)
        return _pixels((near / near.max().clamp(min=1e-6) * 255).expand(3, -1, -1))
    return _class_map(values, values, picture, plain=has_background(class_names.get(task, ())))


def label_caption(task: str, label: Any) -> str:
    """What a label holds, in a few words."""
    if isinstance(label, Instances | PanopticSegments):
        noun = "segment" if isinstance(label, PanopticSegments) else "person" if task == "keypoints" else "object"
        nouns = noun if len(label) == 1 else {"person": "people"}.get(noun, f"{noun}s")
        crowds = int(label.crowd.sum())
        return f"{len(label)} {nouns}" + (f", {crowds} crowd" if crowds else "")
    values = torch.as_tensor(label).as_subclass(Tensor)
    if task in ("normals", "depth"):
        valid = values.abs().sum(dim=0) > 0
        if not valid.any():
            return "nothing valid"
        metres = f"{values[0][valid].min():.2g} to {values[0][valid].max():.2g} m, " if task == "depth" else ""
        return f"{metres}{valid.float().mean():.1%} valid"
    if values.is_floating_point():
        return f"mean {values.mean():.1%}"
    known = values[values != IGNORE]
    if not len(known):
        return "all ignored"
    share = 1 - len(known) / values.numel()
    ignored = f", {f'{share:.0%}' if share >= 0.01 else '<1%'} ignored" if share else ""
    if task in ("edge", "saliency"):
        return f"{(known > 0).float().mean():.1%} set{ignored}"
    number = len(torch.unique(known))
    return f"{number} class{'es' if number > 1 else ''}{ignored}"


def shown_classes(task: str, label: Any) -> Tensor:
    """Pixels of each class in a label, for a legend: (256,) int64, all zero where a picture needs none."""
    if isinstance(label, PanopticSegments):
        return torch.bincount(label.class_map(IGNORE).flatten(), minlength=256)
    if task not in CLASS_TASKS - {"edge", "saliency"}:
        return torch.zeros(256, dtype=torch.int64)
    return torch.bincount(torch.as_tensor(label).as_subclass(Tensor).flatten().long(), minlength=256)


def _class_map(classes: Tensor, regions: Tensor, picture: Tensor, *, plain: bool) -> Tensor:
    """Tint an image with the classes (h, w) of its pixels, with a line where regions (h, w) meet."""
    found = [int(index) for index in torch.unique(classes)]
    colours = [BACKGROUND if plain and index == 0 else class_colour(index) for index in found]
    grey = _pixels(picture.float().mean(dim=0).expand(3, -1, -1))
    masks = torch.stack([classes == index for index in found])
    return _with_lines(_tinted(grey, masks, colours, 0.7), regions)


def _binary(task: str, values: Tensor, picture: Tensor) -> Tensor:
    """Draw a map (H, W) of 0 and 1, or of probabilities, over an image."""
    size = (int(picture.shape[-2]), int(picture.shape[-1]))
    known = torch.where(values == IGNORE, 0, values).float()
    # A line one pixel wide survives: each pixel of a smaller picture has the largest of the values that it covers.
    strength = torch.nn.functional.adaptive_max_pool2d(known[None], size)
    image = picture.float()
    colour = torch.tensor(EDGE if task == "edge" else SALIENT)[:, None, None]
    above = colour if task == "edge" else image * 0.65 + colour * 0.35
    drawn = _pixels(image * DIMMED * (1 - strength) + above * strength)
    if task == "saliency":
        drawn = _with_lines(drawn, strength[0] > 0.5)
    ignored = nearest_pixels(values == IGNORE, size)
    return _tinted(drawn, ignored, [IGNORED], 1.0)


def _objects(objects: Instances, picture: Tensor, class_names: ClassNames, task: str) -> Tensor:
    order = torch.argsort(objects.areas, descending=True, stable=True)
    objects, colours = objects.select(order), [class_colour(int(index)) for index in order]
    drawn = _pixels(picture * 0.65)
    # One after the other, since of masks that are drawn together the overlaps become black.
    for index, mask in enumerate(objects.masks if objects.masks is not None else ()):
        drawn = _tinted(drawn, mask, [colours[index]], 0.25 if objects.crowd[index] else 0.55)
    crowds = [" (crowd)" if crowd else "" for crowd in objects.crowd]
    names = [class_name(class_names.get(task, ()), int(index)) for index in objects.classes]
    names = [f"{name}{crowd}" for name, crowd in zip(names, crowds, strict=True)]
    single = torch.nonzero(~objects.crowd).flatten().tolist()
    drawn = _boxes(drawn, objects.select(~objects.crowd), [colours[index] for index in single])
    return _named(drawn, _covered(objects, drawn), names, colours)


def _people(people: Instances, picture: Tensor) -> Tensor:
    people = people.select(~people.crowd)
    drawn: Tensor = _boxes(_pixels(picture * 0.5), people, [(220, 220, 220)] * len(people))
    if people.keypoints is None:
        return drawn
    places, visibility = people.keypoints[..., :2].round(), people.keypoints[..., 2]
    radius = max(1, round(min(drawn.shape[-2:]) / 130))
    drawn = draw_keypoints(drawn, places, list(BONES), LEFT, 0, radius, visibility=visibility > 0)
    number = torch.arange(visibility.shape[1])
    sides = ((LEFT, number % 2 == 1), (RIGHT, number % 2 == 0), (MIDDLE, number == 0))
    for colour, side in sides:
        for level, size in ((1, radius), (2, radius + 1)):
            drawn = draw_keypoints(drawn, places, None, colour, size, visibility=(visibility == level) & side)
    return drawn


def _boxes(drawn: Tensor, objects: Instances, colours: list[RGB]) -> Tensor:
    if not len(objects):
        return drawn
    boxed: Tensor = draw_bounding_boxes(drawn, _covered(objects, drawn), colors=colours)
    return boxed


def _covered(objects: Instances, drawn: Tensor) -> Tensor:
    """The first and last column and row of each box, (n, 4) int64."""
    height, width = drawn.shape[-2:]
    last = torch.tensor([width, height, width, height]) - 1
    boxes = (objects.boxes - torch.tensor([0.0, 0, 1, 1])).round().clamp(min=0).minimum(last)
    boxes[:, 2:] = boxes[:, 2:].maximum(boxes[:, :2])
    return boxes.long()


def _named(drawn: Tensor, boxes: Tensor, names: list[str], colours: list[RGB]) -> Tensor:
    """Write names on the upper edge of boxes; torchvision writes them without a ground before version 0.23."""
    picture: Image.Image = to_pil_image(drawn)
    draw, font = ImageDraw.Draw(picture), ImageFont.load_default(11)
    for (left, top, _, _), name, colour in zip(boxes.tolist(), names, colours, strict=True):
        width, height = math.ceil(font.getlength(name)) + 2, 12
        x, y = max(0, min(left, picture.width - width)), max(0, top - height)
        draw.rectangle((x, y, x + width, y + height), fill=colour)
        draw.text((x + 1, y), name, fill="white" if sum(colour) < 330 else "black", font=font)
    pixels: Tensor = pil_to_tensor(picture)
    return pixels


def _with_lines(drawn: Tensor, regions: Tensor) -> Tensor:
    """Draw a thin white line where neighbouring pixels (h, w) differ."""
    line = torch.zeros(regions.shape, dtype=torch.bool)
    line[1:] |= regions[1:] != regions[:-1]
    line[:, 1:] |= regions[:, 1:] != regions[:, :-1]
    return _tinted(drawn, line, [(255, 255, 255)], 1.0)


def _tinted(drawn: Tensor, masks: Tensor, colours: list[RGB], share: float) -> Tensor:
    tinted: Tensor = draw_segmentation_masks(drawn, masks, alpha=share, colors=colours)
    return tinted


def _pixels(values: Tensor) -> Tensor:
    return values.round().clamp(0, 255).to(torch.uint8)
