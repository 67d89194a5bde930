"""A tiny MS COCO 2017 folder in the official format: drawn shapes whose annotations are exact.

Everything that tells an object from another can be seen (shape and colour belong to the class), so a model can learn
from it. Sizes are given as (height, width).

Of the images of a split, number 0 shows a crowd of people beside its objects, number 3 no person, number 6 a person
without a labelled keypoint, and the last one (of four or more) no object at all. The last two columns are void.
"""

from __future__ import annotations

import json
import warnings
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from fmtl_datasets.sources.coco.categories import FIRST_STUFF, PANOPTIC_STUFF, STUFF, THINGS
from fmtl_datasets.sources.procedural import KEYPOINT_NAMES
from PIL import Image
from pycocotools import mask as coco_masks

Mask = npt.NDArray[np.bool_]
Json = dict[str, Any]
Polygon = list[tuple[float, float]]

PERSON, CAR, DOG, BOTTLE = 1, 3, 18, 44
COLOURS = {PERSON: (220, 60, 50), CAR: (60, 60, 210), DOG: (130, 80, 30), BOTTLE: (240, 220, 40)}
SKY, GRASS, ROAD = 187, 193, 149
GROUND_COLOURS = {SKY: (150, 200, 240), GRASS: (70, 150, 60), ROAD: (110, 110, 115)}
STUFF_OF = {SKY: 157, GRASS: 124, ROAD: 149}
"""The category of the stuff annotation that each stuff category of the panoptic one is made from here."""
OTHER = FIRST_STUFF + len(STUFF) - 1
VOID_COLUMNS = 2

# Outlines in a box of width 1 and height 1, x to the right, y down.
SHAPES: dict[int, list[Polygon]] = {
    PERSON: [
        [(0.36, 0.0), (0.64, 0.0), (0.64, 0.24), (0.36, 0.24)],
        [(0.25, 0.22), (0.75, 0.22), (0.75, 0.6), (0.25, 0.6)],
        [(0.0, 0.24), (0.3, 0.24), (0.3, 0.36), (0.18, 0.58), (0.0, 0.58)],
        [(0.7, 0.24), (1.0, 0.24), (1.0, 0.58), (0.82, 0.58), (0.7, 0.36)],
        [(0.25, 0.58), (0.48, 0.58), (0.44, 1.0), (0.2, 1.0)],
        [(0.52, 0.58), (0.75, 0.58), (0.8, 1.0), (0.56, 1.0)],
    ],
    CAR: [[(0.0, 0.75), (0.0, 0.5), (0.25, 0.35), (0.75, 0.35), (1.0, 0.55), (1.0, 0.75), (0.8, 0.9), (0.2, 0.9)]],
    DOG: [[(0.0, 0.3), (0.25, 0.2), (0.35, 0.45), (0.9, 0.45), (1.0, 0.9), (0.8, 0.9), (0.7, 0.7), (0.2, 0.9)]],
    BOTTLE: [[(0.42, 0.0), (0.58, 0.0), (0.6, 0.3), (0.75, 0.4), (0.75, 1.0), (0.25, 1.0), (0.25, 0.4), (0.4, 0.3)]],
}

# Where a person's keypoints lie in the same box; the person faces us, so the own left is on the right.
JOINTS: dict[str, tuple[float, float]] = {
    "nose": (0.5, 0.12),
    "eye": (0.08, 0.08),
    "ear": (0.12, 0.1),
    "shoulder": (0.2, 0.27),
    "elbow": (0.38, 0.42),
    "wrist": (0.4, 0.54),
    "hip": (0.15, 0.57),
    "knee": (0.16, 0.78),
    "ankle": (0.18, 0.95),
}


@dataclass
class Drawing:
    """One image while it is drawn: pixels, things drawn so far, and where each kind of stuff lies."""

    size: tuple[int, int]
    pixels: npt.NDArray[np.uint8]
    ground: dict[int, Mask]
    objects: list[Json] = field(default_factory=list)
    masks: list[Mask] = field(default_factory=list)


@dataclass
class Annotations:
    """The four annotation files of a split."""

    images: list[Json] = field(default_factory=list)
    instances: list[Json] = field(default_factory=list)
    keypoints: list[Json] = field(default_factory=list)
    stuff: list[Json] = field(default_factory=list)
    panoptic: list[Json] = field(default_factory=list)


def write_coco(
    root: Path,
    train: int = 8,
    val: int = 4,
    size: tuple[int, int] = (64, 80),
    stuff: bool = False,
    images_in_root: bool = False,
) -> None:
    """Write a COCO 2017 folder.

    Args:
        root: folder to fill.
        train: number of training images.
        val: number of validation images.
        size: height and width of every image, at least 40 pixels each.
        stuff: write stuff_{split}.json too.
        images_in_root: put train2017/ and val2017/ into the root, as the official archives unpack, and not into
            images/.
    """
    for split, count, first in (("train2017", train, 1000), ("val2017", val, 500_000)):
        generator = np.random.default_rng([2017, first])
        pictures = root / split if images_in_root else root / "images" / split
        maps = root / "annotations" / f"panoptic_{split}"
        pictures.mkdir(parents=True, exist_ok=True)
        maps.mkdir(parents=True, exist_ok=True)
        found = Annotations()
        for number in range(count):
            image_id = first + 7 * number
            drawing = _draw(number, count, size, generator)
            Image.fromarray(drawing.pixels).save(pictures / f"{image_id:012d}.jpg", quality=95)
            ids = _annotate(found, drawing, image_id, generator)
            Image.fromarray(ids).save(maps / f"{image_id:012d}.png")
        _write(root / "annotations", split, found, stuff)


def _draw(number: int, count: int, size: tuple[int, int], generator: np.random.Generator) -> Drawing:
    height, width = size
    rows = np.arange(height)[:, None].repeat(width, 1)
    horizon = round(height * generator.uniform(0.35, 0.6))
    ground = {SKY: rows < horizon, (GRASS if number % 2 == 0 else ROAD): rows >= horizon}
    drawing = Drawing(size, np.zeros((height, width, 3), dtype=np.uint8), ground)
    for category, mask in ground.items():
        drawing.pixels[mask] = GROUND_COLOURS[category]
    slots = (width - VOID_COLUMNS) // 3
    for slot, category in enumerate(_contents(number, count, generator)):
        box = _box(slot * slots, slots, height, category, generator)
        if slot == 2 and number == 0:
            _draw_crowd(drawing, box)
        else:
            _draw_thing(drawing, category, box, labelled=number != 6)
    noise = generator.normal(0.0, 8.0, drawing.pixels.shape)
    drawing.pixels = (drawing.pixels + noise).clip(0, 255).astype(np.uint8)
    return drawing


def _contents(number: int, count: int, generator: np.random.Generator) -> list[int]:
    if number == count - 1 and count >= 4:
        return []
    others = [int(category) for category in generator.permutation([CAR, DOG, BOTTLE])]
    return others if number == 3 else [PERSON, others[0], PERSON if number in (0, 6) else others[1]]


def _box(left: int, room: int, height: int, category: int, generator: np.random.Generator) -> tuple[float, ...]:
    """Return left, top, width and height of a box inside its column of the image, in whole pixels."""
    share = {PERSON: 0.7, CAR: 0.35, DOG: 0.4, BOTTLE: 0.5}[category] * generator.uniform(0.8, 1.15)
    tall, wide = round(height * share), round(room * generator.uniform(0.75, 0.95))
    top = int(generator.integers(1, height - tall))
    return (left + 1, top, wide - 1, tall)


def _draw_thing(drawing: Drawing, category: int, box: tuple[float, ...], labelled: bool) -> None:
    left, top, wide, tall = box
    polygons = [
        [float(number) for x, y in outline for number in (left + x * wide, top + y * tall)]
        for outline in SHAPES[category]
    ]
    mask = _drawn(polygons, drawing.size)
    found: Json = {"category_id": category, "iscrowd": 0, "segmentation": polygons}
    if category == PERSON:
        found["keypoints"] = _keypoints(box) if labelled else [0] * (3 * len(KEYPOINT_NAMES))
    elif len(drawing.objects) % 2:
        encoded = coco_masks.encode(np.asfortranarray(mask.astype(np.uint8)))
        found["segmentation"] = {"size": list(drawing.size), "counts": encoded["counts"].decode("ascii")}
    drawing.pixels[mask] = COLOURS[category]
    drawing.objects.append(found)
    drawing.masks.append(mask)
    if category == PERSON:
        # Darker legs tell up from down.
        legs = mask & (np.arange(drawing.size[0])[:, None] > top + 0.6 * tall)
        drawing.pixels[legs] = (60, 20, 60)


def _drawn(polygons: list[list[float]], size: tuple[int, int]) -> Mask:
    with warnings.catch_warnings():
        # pycocotools does not know the copy keyword of numpy 2 yet.
        warnings.simplefilter("ignore", DeprecationWarning)
        drawn: Mask = coco_masks.decode(coco_masks.merge(coco_masks.frPyObjects(polygons, *size))).astype(bool)
    return drawn


def _keypoints(box: tuple[float, ...]) -> list[int]:
    """Return x, y, visibility of 17 keypoints; the ears are unlabelled and the right wrist is hidden."""
    left, top, wide, tall = box
    numbers: list[int] = []
    for name in KEYPOINT_NAMES:
        side, _, joint = name.rpartition("_")
        x, y = JOINTS[joint]
        x = {"": x, "left": 0.5 + x, "right": 0.5 - x}[side]
        visibility = {"left_ear": 0, "right_ear": 0, "right_wrist": 1}.get(name, 2)
        point = (int(left + x * wide), int(top + y * tall), visibility)
        numbers += point if visibility else (0, 0, 0)
    return numbers


def _draw_crowd(drawing: Drawing, box: tuple[float, ...]) -> None:
    """Draw a grid of small red squares and annotate them as one crowd, run lengths not compressed."""
    left, top, wide, tall = (int(number) for number in box)
    mask = np.zeros(drawing.size, dtype=bool)
    mask[top : top + tall, left : left + wide] = True
    mask[::4], mask[:, ::4] = False, False
    drawing.pixels[mask] = COLOURS[PERSON]
    runs = {"size": list(drawing.size), "counts": run_lengths(mask)}
    keypoints = [0] * (3 * len(KEYPOINT_NAMES))
    drawing.objects.append({"category_id": PERSON, "iscrowd": 1, "segmentation": runs, "keypoints": keypoints})
    drawing.masks.append(mask)


def run_lengths(mask: Mask) -> list[int]:
    """Return COCO's uncompressed run lengths: down the columns, beginning with the pixels that are not set."""
    flat = mask.ravel(order="F").astype(np.int8)
    changes = np.flatnonzero(np.diff(np.concatenate([[0], flat])))
    return [int(run) for run in np.diff(np.concatenate([[0], changes, [flat.size]]))]


def _annotate(
    found: Annotations, drawing: Drawing, image_id: int, generator: np.random.Generator
) -> npt.NDArray[np.uint8]:
    """Add an image to the annotations; return its panoptic map as RGB."""
    height, width = drawing.size
    file_name = f"{image_id:012d}"
    found.images.append({"id": image_id, "file_name": f"{file_name}.jpg", "height": height, "width": width})
    things = np.zeros(drawing.size, dtype=bool)
    regions: list[tuple[int, int, Mask]] = []
    for thing, mask in zip(drawing.objects, drawing.masks, strict=True):
        number = 10_000 + len(found.instances) * 3
        common = {"id": number, "image_id": image_id, "area": float(mask.sum()), "bbox": _bbox(mask)}
        found.instances.append({**{key: thing[key] for key in thing if key != "keypoints"}, **common})
        if thing["category_id"] == PERSON:
            labelled = sum(visibility > 0 for visibility in thing["keypoints"][2::3])
            found.keypoints.append({**thing, **common, "num_keypoints": labelled})
        things |= mask
        regions.append((thing["category_id"], thing["iscrowd"], mask))
    annotated = np.arange(width)[None] < width - VOID_COLUMNS
    stuff = [(category, mask & ~things & annotated) for category, mask in drawing.ground.items()]
    regions += [(category, 0, mask) for category, mask in stuff if mask.any()]
    stuff_regions = [(STUFF_OF[category], mask) for category, mask in stuff] + [(OTHER, things)]
    for category, mask in stuff_regions:
        if mask.any():
            found.stuff.append(_stuff_annotation(20_000 + len(found.stuff), image_id, category, mask))
    return _panoptic(found, regions, image_id, generator)


def _stuff_annotation(number: int, image_id: int, category: int, mask: Mask) -> Json:
    encoded = coco_masks.encode(np.asfortranarray(mask.astype(np.uint8)))
    return {
        "id": number,
        "image_id": image_id,
        "category_id": category,
        "iscrowd": 0,
        "area": float(mask.sum()),
        "bbox": _bbox(mask),
        "segmentation": {"size": list(mask.shape), "counts": encoded["counts"].decode("ascii")},
    }


def _panoptic(
    found: Annotations, regions: list[tuple[int, int, Mask]], image_id: int, generator: np.random.Generator
) -> npt.NDArray[np.uint8]:
    ids = np.zeros(regions[0][2].shape, dtype=np.int64)
    numbers = generator.choice(2**24 - 1, len(regions), replace=False) + 1
    segments = []
    for number, (category, crowd, mask) in zip(numbers, regions, strict=True):
        ids[mask] = number
        segments.append(
            {
                "id": int(number),
                "category_id": category,
                "iscrowd": crowd,
                "area": int(mask.sum()),
                "bbox": [int(side) for side in _bbox(mask)],
            }
        )
    found.panoptic.append({"image_id": image_id, "file_name": f"{image_id:012d}.png", "segments_info": segments})
    return np.stack([ids % 256, ids // 256 % 256, ids // 65536], axis=-1).astype(np.uint8)


def _bbox(mask: Mask) -> list[float]:
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    left, top = int(columns[0]), int(rows[0])
    return [float(left), float(top), float(columns[-1] + 1 - left), float(rows[-1] + 1 - top)]


def _write(folder: Path, split: str, found: Annotations, stuff: bool) -> None:
    info = {"description": "drawn shapes in the format of COCO 2017", "year": 2017}
    things = [{"supercategory": "thing", "id": number, "name": name} for number, name in THINGS.items()]
    person = {**things[0], "keypoints": list(KEYPOINT_NAMES), "skeleton": [[16, 14], [14, 12], [12, 13]]}
    merged = [{"supercategory": "stuff", "id": number, "name": name} for number, name in PANOPTIC_STUFF.items()]
    files: dict[str, tuple[list[Json], list[Json]]] = {
        "instances": (found.instances, things),
        "person_keypoints": (found.keypoints, [person]),
        "panoptic": (
            found.panoptic,
            [{**entry, "isthing": 1} for entry in things] + [{**entry, "isthing": 0} for entry in merged],
        ),
    }
    if stuff:
        names = [{"supercategory": "stuff", "id": FIRST_STUFF + rank, "name": name} for rank, name in enumerate(STUFF)]
        files["stuff"] = (found.stuff, names)
    for kind, (entries, categories) in files.items():
        content = {"info": info, "licenses": [], "images": found.images, "annotations": entries}
        (folder / f"{kind}_{split}.json").write_text(json.dumps({**content, "categories": categories}))
