"""Annotation files in the formats of COCO with categories of their own, checked as a whole when they are opened."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from fmtl_datasets.shared.source import DataFileError
from fmtl_datasets.sources.coco.format import AnnotationLists, Category, decode_all, read_lists
from fmtl_datasets.sources.coco.index import FORMS, AnnotationIndex, build_index

KINDS = {"instance": FORMS["instances"], "keypoints": FORMS["person_keypoints"], "panoptic": FORMS["panoptic"]}


@dataclass(frozen=True)
class AnnotationFile:
    """What an annotation file says.

    Attributes:
        path: the file.
        index: its images and annotations.
        positions: places of the images in the index by image id: the path in the image folder without ending.
        classes: class index by category: things before stuff, by category number.
        names: names of the classes.
        things: how many of the classes are things.
    """

    path: Path
    index: AnnotationIndex
    positions: Mapping[str, int]
    classes: Mapping[int, int]
    names: tuple[str, ...]
    things: int


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
    content, lists = read_lists(path)
    categories = _categories(path, lists, task)
    index = build_index(path, content, lists, KINDS[task], [category.id for category in categories])
    positions: dict[str, int] = {}
    for position, name in enumerate(index.file_names.tolist()):
        stem = os.path.splitext(name)[0].removesuffix(suffix)
        if positions.setdefault(stem, position) != position:
            raise DataFileError(f"{path}: two images are called {stem!r}.")
    return AnnotationFile(
        path,
        index,
        positions,
        {category.id: place for place, category in enumerate(categories)},
        tuple(category.name for category in categories),
        sum(_is_thing(category) for category in categories),
    )


def _categories(path: Path, lists: AnnotationLists, task: str) -> list[Category]:
    """Return the categories in the order of their classes."""
    categories = list(decode_all(path, "categories", lists.categories, Category))
    seen: set[int] = set()
    for place, category in enumerate(categories):
        named = f"{path}, categories[{place}] (id {category.id})"
        if category.id in seen:
            raise DataFileError(f"{named}: this id is there twice; give each category its own.")
        seen.add(category.id)
        if not category.name:
            raise DataFileError(f"{named}: name is missing.")
        if task == "panoptic" and category.isthing is None:
            raise DataFileError(f"{named}: isthing is missing; write 1 for things and 0 for stuff.")
    if task == "keypoints" and len(categories) != 1:
        raise DataFileError(f"{path}: has {len(categories)} categories; keypoints have one, a person.")
    if not 0 < len(categories) <= 255:
        raise DataFileError(f"{path}: has {len(categories)} categories; expected 1 to 255.")
    return sorted(categories, key=lambda category: (not _is_thing(category), category.id))


def _is_thing(category: Category) -> bool:
    """Whether a category is a thing; all are where the file does not say."""
    return category.isthing is None or bool(category.isthing)
