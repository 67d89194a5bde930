"""A tiny PASCAL-Context in the file formats of the real packages: a few made-up pictures of rooms with people and dogs.

Every third image has no person, one person of the fourth image has no parts, and every second image has its semantic
labels in ``semseg/pascal-context`` instead of ``semseg/VOC12``.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from PIL import Image
from scipy.io import savemat

Layout = Literal["repacked", "astmt"]
Array = npt.NDArray[Any]

CONTEXT = {"dog": 113, "floor": 158, "person": 284, "sky": 360, "tvmonitor": 427, "unknown": 431, "wall": 440}
"""Some of the 459 classes of the LabelMap, with their real numbers; sky and unknown have no valid normals."""

NYU = {"dog": 701, "floor": 11, "person": 331, "unknown": 0, "wall": 21}
VOC = {"dog": 12, "person": 15, "tvmonitor": 20}
OBJECTS = np.dtype([("class", "O"), ("class_ind", "O"), ("mask", "O"), ("parts", "O")])
PARTS = np.dtype([("part_name", "O"), ("mask", "O")])
ANNOTATION = np.dtype([("imname", "O"), ("objects", "O")])

FIGURE = {
    "head": (0.00, 0.18, 0.35, 0.65),
    "hair": (0.00, 0.05, 0.35, 0.65),
    "neck": (0.18, 0.22, 0.42, 0.58),
    "torso": (0.22, 0.55, 0.28, 0.72),
    "luarm": (0.22, 0.38, 0.72, 0.92),
    "ruarm": (0.22, 0.38, 0.08, 0.28),
    "llarm": (0.38, 0.52, 0.75, 0.92),
    "rlarm": (0.38, 0.52, 0.08, 0.25),
    "lhand": (0.52, 0.58, 0.75, 0.92),
    "rhand": (0.52, 0.58, 0.08, 0.25),
    "luleg": (0.55, 0.76, 0.52, 0.72),
    "ruleg": (0.55, 0.76, 0.28, 0.48),
    "llleg": (0.76, 0.94, 0.52, 0.70),
    "rlleg": (0.76, 0.94, 0.30, 0.48),
    "lfoot": (0.94, 1.00, 0.52, 0.76),
    "rfoot": (0.94, 1.00, 0.24, 0.48),
}
"""The parts of a standing person: top, bottom, left and right as shares of its height and width."""


@dataclass
class Figure:
    """One annotated object: its VOC class, its mask and its parts, bool (H, W) each."""

    kind: str
    mask: Array
    parts: dict[str, Array]


def write_pascal_context(
    root: Path, layout: Layout = "repacked", train: int = 12, val: int = 4, size: tuple[int, int] = (64, 80)
) -> None:
    """Write a data set of either layout.

    Args:
        root: its folder, made where it does not exist.
        layout: ``repacked`` (class lists in ``json/``) or ``astmt`` (without).
        train: number of training images.
        val: number of validation images.
        size: height and width of every image in pixels, at least 48 x 48.
    """
    ids = [f"2008_{number:06d}" for number in range(2, 2 + train + val)]
    for folder in ("JPEGImages", "ImageSets/Context", "ImageSets/Parts", "human_parts", "pascal-context/trainval"):
        (root / folder).mkdir(parents=True, exist_ok=True)
    for folder in ("semseg/VOC12", "semseg/pascal-context", "normals_distill", "sal_distill"):
        (root / folder).mkdir(parents=True, exist_ok=True)
    for name, members in (("train", ids[:train]), ("val", ids[train:])):
        (root / "ImageSets" / "Context" / f"{name}.txt").write_text("".join(f"{member}\n" for member in members))
    for index, image_id in enumerate(ids):
        _write_image(root, image_id, index, size)
    if layout == "repacked":
        (root / "json").mkdir(exist_ok=True)
        (root / "json" / "nyu_classes.json").write_text(json.dumps(NYU))
        (root / "json" / "context_classes.json").write_text(json.dumps(CONTEXT))
        (root / "json" / "pascal_part.json").write_text(json.dumps({"12": {"head": 1, "torso": 5}}))


def shows_people(index: int) -> bool:
    """Whether the image at this position (training images first) shows a person."""
    return index % 3 != 2


def write_human_parts(path: Path, figures: list[Figure]) -> None:
    """Write the objects of an image as PASCAL-Part does: struct ``anno`` with ``imname`` and ``objects``."""
    objects = np.zeros((1, len(figures)), dtype=OBJECTS)
    for position, figure in enumerate(figures):
        parts = np.zeros((1, len(figure.parts)) if figure.parts else (0, 0), dtype=PARTS)
        for place, (name, mask) in enumerate(figure.parts.items()):
            parts[0, place] = (name, mask.astype(np.uint8))
        objects[0, position] = (figure.kind, VOC[figure.kind], figure.mask.astype(np.uint8), parts)
    annotation = np.zeros((1, 1), dtype=ANNOTATION)
    annotation[0, 0] = (path.stem, objects)
    savemat(path, {"anno": annotation}, do_compression=True)


def standing_person(size: tuple[int, int], top: int, left: int, height: int, has_parts: bool = True) -> Figure:
    """A person with all its parts, as wide as half its height."""
    width = height // 2
    parts = {}
    for name, (first_row, last_row, first_column, last_column) in FIGURE.items():
        mask = np.zeros(size, dtype=np.bool_)
        rows = slice(top + round(first_row * height), top + round(last_row * height))
        mask[rows, left + round(first_column * width) : left + round(last_column * width)] = True
        parts[name] = mask
    return Figure("person", np.any(list(parts.values()), axis=0), parts if has_parts else {})


def _dog(size: tuple[int, int], draws: np.random.Generator) -> Figure:
    height, width = size
    mask = np.zeros(size, dtype=np.bool_)
    left = int(draws.integers(width // 2, 3 * width // 4))
    mask[3 * height // 4 : 7 * height // 8, left : left + width // 5] = True
    head = mask.copy()
    head[:, left + width // 12 :] = False
    return Figure("dog", mask, {"head": head})


def _figures(index: int, size: tuple[int, int], draws: np.random.Generator) -> list[Figure]:
    height, width = size
    figures = [_dog(size, draws)]
    if shows_people(index):
        tall = int(draws.integers(height // 2, 3 * height // 4))
        left = int(draws.integers(2, width // 4))
        figures.append(standing_person(size, height - tall - 2, left, tall))
    if index == 3:
        figures.append(standing_person(size, height // 3, width - height // 4 - 2, height // 2, has_parts=False))
    return figures


def _context_labels(figures: list[Figure], size: tuple[int, int]) -> Array:
    height, width = size
    labels = np.full(size, CONTEXT["wall"], dtype=np.uint16)
    labels[5 * height // 8 :] = CONTEXT["floor"]
    labels[: height // 4, : width // 4] = CONTEXT["sky"]
    labels[: height // 8, width // 2 : width // 2 + width // 8] = CONTEXT["unknown"]
    labels[height // 4 : height // 2, 3 * width // 4 :] = CONTEXT["tvmonitor"]
    for figure in figures:
        labels[figure.mask] = CONTEXT[figure.kind]
    return labels


def _semantic_labels(context: Array) -> Array:
    labels = np.zeros(context.shape, dtype=np.uint8)
    for name, class_index in VOC.items():
        labels[context == CONTEXT[name]] = class_index
    objects = labels > 0
    inner = objects[1:-1, 1:-1] & objects[:-2, 1:-1] & objects[2:, 1:-1] & objects[1:-1, :-2] & objects[1:-1, 2:]
    border = objects.copy()
    border[1:-1, 1:-1] &= ~inner
    # VOC marks the outlines of objects as void.
    labels[border] = 255
    return labels


def _normals(context: Array) -> Array:
    codes = np.full((*context.shape, 3), 127, dtype=np.uint8)
    codes[:] = (128, 128, 0)
    codes[context == CONTEXT["floor"]] = (128, 25, 51)
    codes[context == CONTEXT["person"]] = (51, 128, 25)
    return codes


def _colours(context: Array, draws: np.random.Generator) -> Array:
    tints = {number: draws.integers(40, 216, size=3) for number in sorted(CONTEXT.values())}
    picture = np.zeros((*context.shape, 3))
    for number, tint in tints.items():
        picture[context == number] = tint
    picture += draws.normal(0.0, 6.0, size=picture.shape)
    return np.clip(np.rint(picture), 0, 255).astype(np.uint8)


def _write_image(root: Path, image_id: str, index: int, size: tuple[int, int]) -> None:
    draws = np.random.default_rng(index)
    figures = _figures(index, size, draws)
    context = _context_labels(figures, size)
    Image.fromarray(_colours(context, draws)).save(root / "JPEGImages" / f"{image_id}.jpg", quality=95)
    savemat(root / "pascal-context" / "trainval" / f"{image_id}.mat", {"LabelMap": context}, do_compression=True)
    write_human_parts(root / "human_parts" / f"{image_id}.mat", figures)
    semseg = Image.fromarray(_semantic_labels(context))
    semseg.putpalette(np.random.default_rng(0).integers(0, 256, 768, dtype=np.uint8).tobytes())
    semseg.save(root / "semseg" / ("VOC12" if index % 2 == 0 else "pascal-context") / f"{image_id}.png")
    Image.fromarray(_normals(context)).save(root / "normals_distill" / f"{image_id}.png")
    salient = np.any([figure.mask for figure in figures], axis=0)
    # A distilled map is a soft prediction; 127 is just below the threshold and 128 just above.
    soft = np.where(salient, 128 + draws.integers(0, 128, size), draws.integers(0, 128, size)).astype(np.uint8)
    Image.fromarray(soft).save(root / "sal_distill" / f"{image_id}.png")
