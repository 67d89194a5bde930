"""Annotation files in the formats of COCO with categories of their own, checked as a whole when they are opened."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from fmtl_datasets.shared.objects import NUM_KEYPOINTS
from fmtl_datasets.shared.source import DataFileError
from fmtl_datasets.sources.coco.columns import TOLERANCE
from fmtl_datasets.sources.folder.settings import path_problem

Json = dict[str, Any]
Size = tuple[int, int]


@dataclass(frozen=True)
class AnnotatedImage:
    """One image of an annotation file.

    Attributes:
        size: height and width as annotated.
        annotations: its annotations, in the order of the file.
    """

    size: Size
    annotations: list[Json]


@dataclass(frozen=True)
class AnnotationFile:
    """What an annotation file says.

    Attributes:
        path: the file.
        classes: class index by category: things before stuff, by category number.
        names: names of the classes.
        things: how many of the classes are things.
        images: by image id, the path in the image folder without ending.
    """

    path: Path
    classes: Mapping[int, int]
    names: tuple[str, ...]
    things: int
    images: Mapping[str, AnnotatedImage]


def read_annotations(path: Path, task: str, suffix: str = "") -> AnnotationFile:
    """Read and check an annotation file, at most once in a process while it does not change.

    Args:
        path: JSON file.
        task: ``instance``, ``keypoints`` or ``panoptic``.
        suffix: common end of the images' file names, which is no part of their ids.

    Raises:
        DataFileError: unreadable, or an entry is wrong; the message names the entry.
    """
    status = path.stat()
    return _read(path, task, suffix, (status.st_size, status.st_mtime_ns))


@lru_cache(maxsize=16)
def _read(path: Path, task: str, suffix: str, stamp: tuple[int, int]) -> AnnotationFile:
    try:
        content = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        raise DataFileError(f"{path}: cannot be read as JSON: {error}. Restore this file.") from error
    lists = ("images", "annotations", "categories")
    if not isinstance(content, dict) or not all(isinstance(content.get(name), list) for name in lists):
        raise DataFileError(f"{path}: expected an object with the lists {', '.join(lists)}, as COCO has them.")
    reader = _Reader(path, task)
    classes, names, things = reader.categories(content["categories"])
    images = reader.images(content["images"], suffix)
    for position, annotation in enumerate(content["annotations"]):
        owner = reader.annotation(position, annotation, images, classes)
        owner.annotations.append(annotation)
    by_id = {image_id: images[number] for image_id, number in reader.numbers.items()}
    return AnnotationFile(path, classes, names, things, by_id)


class _Reader:
    """Checks the entries of one file; every complaint names the file and the entry.

    Attributes:
        numbers: the file's number of each image id.
    """

    def __init__(self, path: Path, task: str) -> None:
        self._path = path
        self._task = task
        self.numbers: dict[str, int] = {}
        self._seen: set[int] = set()

    def categories(self, entries: Sequence[Any]) -> tuple[dict[int, int], tuple[str, ...], int]:
        """Return class indices by category, class names, and the number of things."""
        known: dict[int, tuple[bool, str]] = {}
        for position, entry in enumerate(entries):
            self._require(
                isinstance(entry, dict) and _is_whole(entry.get("id")), f"category {position} has no number 'id'"
            )
            name = entry.get("name")
            self._require(isinstance(name, str) and name != "", f"category {entry['id']} has no 'name'")
            self._require(entry["id"] not in known, f"category {entry['id']} is there twice")
            is_thing = entry.get("isthing", None if self._task == "panoptic" else 1)
            self._require(is_thing in (0, 1), f"category {entry['id']} needs 'isthing', 0 or 1")
            known[entry["id"]] = (bool(is_thing), name)
        if self._task == "keypoints":
            self._require(len(known) == 1, f"has {len(known)} categories; keypoints have one, a person")
        self._require(0 < len(known) <= 255, f"has {len(known)} categories; expected 1 to 255")
        order = sorted(known, key=lambda number: (not known[number][0], number))
        names = tuple(known[number][1] for number in order)
        return {number: index for index, number in enumerate(order)}, names, sum(thing for thing, _ in known.values())

    def images(self, entries: Sequence[Any], suffix: str) -> dict[int, AnnotatedImage]:
        """Return images by number."""
        images: dict[int, AnnotatedImage] = {}
        for position, entry in enumerate(entries):
            fields = [entry.get(key) for key in ("id", "height", "width")] if isinstance(entry, dict) else [None]
            self._require(all(map(_is_whole, fields)), f"image {position} needs whole numbers id, height and width")
            name = entry.get("file_name")
            self._require(
                isinstance(name, str) and path_problem(name) is None,
                f"image {entry['id']} has file_name {name!r}; expected its path in the image folder",
            )
            stem = os.path.splitext(name)[0].removesuffix(suffix)
            self._require(entry["id"] not in images, f"image {entry['id']} is there twice")
            self._require(stem not in self.numbers, f"two images are called {stem!r}")
            self.numbers[stem] = entry["id"]
            images[entry["id"]] = AnnotatedImage((entry["height"], entry["width"]), [])
        return images

    def annotation(
        self, position: int, entry: Any, images: Mapping[int, AnnotatedImage], classes: Mapping[int, int]
    ) -> AnnotatedImage:
        """Check an annotation; return the image it belongs to."""
        self._require(isinstance(entry, dict), f"annotation {position} is no object")
        key = "image_id" if self._task == "panoptic" else "id"
        self._require(_is_whole(entry.get(key)), f"annotation {position} (counted from 0) has no number '{key}'")
        number, named = entry[key], f"annotation {entry[key]}"
        self._require(number not in self._seen, f"{named} is there twice")
        self._seen.add(number)
        owner = images.get(entry["image_id"]) if _is_whole(entry.get("image_id")) else None
        if owner is None:
            raise DataFileError(
                f"{self._path}: {named} belongs to image {entry.get('image_id')!r}, which is not listed."
            )
        if self._task == "panoptic":
            self._panoptic(named, entry, classes)
        else:
            self._object(named, entry, classes)
            self._require_inside(named, entry, owner.size)
        return owner

    def _object(self, named: str, entry: Json, classes: Mapping[int, int]) -> None:
        self._require_category(named, entry, classes)
        box: Any = entry.get("bbox")
        area: Any = entry.get("area")
        self._require(
            _are_numbers(box, 4) and min(box[2:]) >= 0,
            f"{named} needs 'bbox': left, top, width, height; it has {box!r}",
        )
        self._require(_are_numbers([area], 1) and area >= 0, f"{named} needs 'area' in pixels; it has {area!r}")
        entry.setdefault("iscrowd", 0)
        self._require(entry["iscrowd"] in (0, 1), f"{named} has iscrowd {entry['iscrowd']!r}; expected 0 or 1")
        if self._task == "keypoints":
            points: Any = entry.get("keypoints")
            self._require(
                _are_numbers(points, 3 * NUM_KEYPOINTS) and all(seen in (0, 1, 2) for seen in points[2::3]),
                f"{named} needs {NUM_KEYPOINTS} times x, y and visibility (0, 1 or 2) in 'keypoints'",
            )
        else:
            self._require("segmentation" in entry, f"{named} has no 'segmentation'")

    def _require_inside(self, named: str, entry: Json, size: Size) -> None:
        """Refuse a box or keypoint outside the image; strokes that end a little beyond its border are let pass."""
        (height, width), image = size, f"image {entry['image_id']} of {size[0]} x {size[1]} pixels"
        left, top, *sides = entry["bbox"]
        self._require(
            min(left, top) >= -TOLERANCE
            and left + sides[0] <= width + TOLERANCE
            and top + sides[1] <= height + TOLERANCE,
            f"{named} has bbox {entry['bbox']}, which does not fit into {image}; expected left, top, width and height, "
            f"not two corners",
        )
        points = entry["keypoints"] if self._task == "keypoints" else []
        for x, y, seen in zip(points[::3], points[1::3], points[2::3], strict=True):
            self._require(
                seen == 0 or (min(x, y) >= -TOLERANCE and x <= width - 1 + TOLERANCE and y <= height - 1 + TOLERANCE),
                f"{named} has a keypoint at x = {x:g}, y = {y:g}, which does not fit into {image}; expected "
                f"pixels from the upper left, or visibility 0",
            )

    def _panoptic(self, named: str, entry: Json, classes: Mapping[int, int]) -> None:
        name: Any = entry.get("file_name")
        segments: Any = entry.get("segments_info")
        self._require(
            isinstance(name, str) and path_problem(name) is None,
            f"{named} has file_name {name!r}; expected the path of its PNG in the folder of panoptic maps",
        )
        self._require(
            isinstance(segments, list) and all(isinstance(s, dict) for s in segments), f"{named} has no segments_info"
        )
        seen: set[int] = set()
        for segment in segments:
            number = segment.get("id")
            self._require(
                _is_whole(number) and 0 < number < 2**24 and number not in seen,
                f"{named} has a segment {number!r}; expected different numbers from 1 to {2**24 - 1}",
            )
            seen.add(number)
            self._require_category(f"{named}, segment {number},", segment, classes)
            segment.setdefault("iscrowd", 0)

    def _require_category(self, named: str, entry: Json, classes: Mapping[int, int]) -> None:
        category = entry.get("category_id")
        self._require(
            _is_whole(category) and category in classes, f"{named} has category {category!r}, which is not listed"
        )

    def _require(self, fulfilled: bool, complaint: str) -> None:
        if not fulfilled:
            raise DataFileError(f"{self._path}: {complaint}.")


def has_people(image: AnnotatedImage) -> bool:
    """Whether an image of a keypoints file has a person to train on: no crowd, with a labelled keypoint."""
    return any(
        not entry["iscrowd"] and has_area(entry, image.size) and any(seen > 0 for seen in entry["keypoints"][2::3])
        for entry in image.annotations
    )


def has_objects(image: AnnotatedImage) -> bool:
    """Whether an image of an instance file has an object to train on: no crowd."""
    return any(not entry["iscrowd"] and has_area(entry, image.size) for entry in image.annotations)


def has_area(entry: Json, size: Size) -> bool:
    """Whether the box of an object has an area inside the image; labels leave out an object without."""
    left, top, width, height = entry["bbox"]
    return bool(min(left + width, size[1]) > max(left, 0) and min(top + height, size[0]) > max(top, 0))


def _is_whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _are_numbers(values: Any, count: int) -> bool:
    return (
        isinstance(values, list)
        and len(values) == count
        and all(
            isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value) for value in values
        )
    )
