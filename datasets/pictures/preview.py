"""One label as a picture over its image, so that a person can see whether it sits where it should."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from fmtl_datasets.pictures.palette import IGNORED, U8, class_colours
from fmtl_datasets.pictures.preview_objects import (
    draw_instances,
    draw_panoptic,
    draw_people,
    mark_boundaries,
    nearest,
    over,
    striped,
)
from fmtl_datasets.shared.conventions import CLASS_TASKS, IGNORE
from fmtl_datasets.shared.objects import Instances, PanopticSegments
from PIL import Image

Size = tuple[int, int]
"""Height and width in pixels."""

DIMMED = 0.35
"""Brightness that is left of an image under thin lines and marks."""


def image_picture(image: Any, size: Size) -> Image.Image:
    """The image of a sample at another size.

    Args:
        image: (3, H, W) uint8.
        size: height and width of the picture in pixels.
    """
    pixels = np.ascontiguousarray(np.asarray(image).transpose(1, 2, 0).astype(np.uint8))
    enlarged = size[0] >= pixels.shape[0]
    method = Image.Resampling.NEAREST if enlarged else Image.Resampling.BOX
    return Image.fromarray(pixels).resize((size[1], size[0]), method)


def label_picture(task: str, label: Any, picture: Image.Image, class_names: Mapping[str, Sequence[str]]) -> Image.Image:
    """Draw a label over its image.

    Class maps are tinted in, with boundaries; ignored pixels are grey stripes. Saliency and edge are drawn in colour
    over a dark image, as a probability where they are floating point. Normals are coloured (right red, up green,
    towards the camera blue) and depth is bright where near; both are black where invalid. Objects have outlines, boxes
    and names; crowds are hatched.

    Args:
        task: one of ``fmtl_datasets.shared.conventions.TASKS``.
        label: its value in an uncollated sample, or a prediction in the same form.
        picture: the image at the size to draw at (``image_picture``).
        class_names: names of the classes by task, where known.

    Returns:
        A picture of the same size.
    """
    if isinstance(label, PanopticSegments):
        return draw_panoptic(label, picture)
    if isinstance(label, Instances):
        if task == "keypoints":
            return draw_people(label, picture)
        return draw_instances(label, picture, class_names.get(task, ()))
    size = (picture.height, picture.width)
    values = np.asarray(label)
    if task == "normals":
        return Image.fromarray(normals_colours(nearest(values, size)))
    if task == "depth":
        return Image.fromarray(depth_colours(nearest(values[0], size)))
    if task in ("edge", "saliency"):
        return Image.fromarray(_binary(task, values, np.asarray(picture)))
    background = 0 if has_background(class_names.get(task, ())) else None
    return Image.fromarray(_class_map(nearest(values, size), np.asarray(picture), background))


def has_background(names: Sequence[str]) -> bool:
    """Whether the first class is what is left over; it is shown dark instead of in a colour."""
    return bool(names) and names[0] in ("background", "things")


def label_caption(task: str, label: Any) -> str:
    """What a label holds, in a few words."""
    if isinstance(label, PanopticSegments):
        return _counted(len(label), "segment", int(label.crowd.sum()))
    if isinstance(label, Instances):
        return _counted(len(label), "person" if task == "keypoints" else "object", int(label.crowd.sum()))
    values = np.asarray(label)
    if task in ("normals", "depth"):
        valid = np.abs(values).sum(axis=0) > 0
        if not valid.any():
            return "nothing valid"
        share = "" if valid.all() else f"{valid.mean():.1%} valid"
        metres = f"{values[0][valid].min():.2g} to {values[0][valid].max():.2g} m" if task == "depth" else ""
        return ", ".join(part for part in (metres, share) if part) or "all valid"
    if np.issubdtype(values.dtype, np.floating):
        return f"mean {values.mean():.1%}"
    known = values[values != IGNORE]
    if not known.size:
        return "all ignored"
    share = 1 - known.size / values.size
    ignored = f", {f'{share:.0%}' if share >= 0.01 else '<1%'} ignored" if share else ""
    if task in ("edge", "saliency"):
        return f"{(known > 0).mean():.1%} set{ignored}"
    number = len(np.unique(known))
    return f"{number} class{'es' if number > 1 else ''}{ignored}"


def shown_classes(task: str, label: Any) -> npt.NDArray[np.int64]:
    """Pixels of each class in a label, for a legend.

    Returns:
        (256,) counts, all zero for tasks whose picture needs no legend.
    """
    if isinstance(label, PanopticSegments):
        values = np.minimum(label.class_map(IGNORE).numpy(), IGNORE)
    elif isinstance(label, Instances) or task not in CLASS_TASKS - {"edge", "saliency"}:
        return np.zeros(256, dtype=np.int64)
    else:
        values = np.asarray(label)
    return np.bincount(values.astype(np.int64).ravel(), minlength=256)[:256]


def normals_colours(normals: npt.NDArray[Any]) -> U8:
    """Colours (H, W, 3) of normals (3, H, W): right red, up green, towards the camera blue, invalid black."""
    coloured = (normals.transpose(1, 2, 0) * np.array((1, -1, -1)) + 1) * 127.5
    return np.where(np.abs(normals).sum(axis=0)[..., None] > 0, coloured, 0).clip(0, 255).astype(np.uint8)


def depth_colours(depth: npt.NDArray[Any]) -> U8:
    """Greys (H, W, 3) of depth (H, W) in metres: bright where near, black where invalid."""
    near = np.where(depth > 0, 1.0 / np.maximum(depth, 0.5), 0.0)
    return np.repeat((near / max(float(near.max()), 1e-6) * 255)[..., None], 3, axis=2).astype(np.uint8)


def _class_map(values: npt.NDArray[Any], image: U8, background: int | None) -> U8:
    """Tint an image with the classes (H, W) of its pixels; the background class stays dark."""
    grey = image.mean(axis=2, keepdims=True).repeat(3, axis=2)
    tinted = over(grey, class_colours()[values], 0.7)
    tinted = np.where((values == background)[..., None], over(grey, grey * 0, 0.6), tinted)
    tinted = np.where((values == IGNORE)[..., None], striped(grey), tinted).astype(np.uint8)
    return mark_boundaries(tinted, values)


def _binary(task: str, values: npt.NDArray[Any], image: U8) -> U8:
    """Draw a map of 0 and 1, or of probabilities, over an image."""
    size = (image.shape[0], image.shape[1])
    ignored = nearest(values == IGNORE, size)
    known = np.where(values == IGNORE, 0, values).astype(np.float32)
    strength = _strongest(known, size)[..., None]
    if task == "edge":
        drawn = over(image * DIMMED, np.full_like(image, (255, 220, 40)), strength)
    else:
        drawn = over(over(image * DIMMED, image, strength), np.full_like(image, (255, 60, 60)), strength * 0.35)
        drawn = mark_boundaries(drawn, strength[..., 0] > 0.5)
    return np.where(ignored[..., None], np.array(IGNORED), drawn).astype(np.uint8)


def _strongest(values: npt.NDArray[np.float32], size: Size) -> npt.NDArray[np.float32]:
    """Resize so that a line one pixel wide survives: each new pixel has the largest of the values it covers."""
    if values.shape[0] <= size[0] or values.shape[1] <= size[1]:
        return nearest(values, size)
    rows = np.arange(size[0]) * values.shape[0] // size[0]
    columns = np.arange(size[1]) * values.shape[1] // size[1]
    strongest: npt.NDArray[np.float32] = np.maximum.reduceat(np.maximum.reduceat(values, rows), columns, axis=1)
    return strongest


def _counted(number: int, noun: str, crowds: int) -> str:
    plural = noun if number == 1 else {"person": "people"}.get(noun, f"{noun}s")
    crowd = f", {crowds} crowd" if crowds else ""
    return f"{number} {plural}{crowd}"
