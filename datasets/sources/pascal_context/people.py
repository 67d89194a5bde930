"""Objects with their parts (PASCAL-Part), and which images show people."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from fmtl_datasets.shared.conventions import IGNORE
from fmtl_datasets.shared.source import Indices
from fmtl_datasets.sources.pascal_context.classes import PART_INDEX, PERSON
from fmtl_datasets.sources.pascal_context.files import damaged, read_variable

Array = npt.NDArray[Any]

NO_AREA = -1
"""Stands for the class of an object whose mask is empty, as in the lists that the published code writes."""


@dataclass(frozen=True)
class AnnotatedObject:
    """One object of an image.

    Attributes:
        class_number: its VOC class.
        mask: (H, W) bool.
        parts: name and mask of each part, in the order of the file.
    """

    class_number: int
    mask: Array
    parts: tuple[tuple[str, Array], ...]


def read_objects(path: Path) -> tuple[AnnotatedObject, ...]:
    """The objects in a file of ``human_parts``.

    The struct ``anno`` has the fields image name and objects, an object the fields class name, class number, mask and
    parts, a part the fields name and mask; fields are taken by position, as by the published loaders.

    Raises:
        DataFileError: a damaged file.
    """
    annotation = read_variable(path, "anno")
    try:
        objects = tuple(_object(record) for record in annotation[0, 0][1].ravel())
    except (IndexError, TypeError, ValueError, AttributeError, KeyError) as error:
        raise damaged(path, f"its struct 'anno' is not that of PASCAL-Part ({error})") from error
    if not objects:
        raise damaged(path, "has no objects; every annotated image has at least one")
    masks = [mask for item in objects for mask in (item.mask, *(mask for _, mask in item.parts))]
    if any(mask.ndim != 2 or mask.shape != masks[0].shape for mask in masks):
        raise damaged(path, f"its masks differ in size: {sorted({mask.shape for mask in masks})}")
    return objects


def _object(record: Any) -> AnnotatedObject:
    parts = tuple((str(part[0].ravel()[0]), part[1] != 0) for part in record[3].ravel())
    return AnnotatedObject(int(record[1].ravel()[0]), record[2] != 0, parts)


def parts_label(path: Path) -> Array:
    """The parts of all people of an image.

    Returns:
        (H, W) uint8: index in ``PARTS_CLASSES``, a later part over an earlier one as in the published code; 255
        throughout where nobody has parts, for then nothing is known of what is background.

    Raises:
        DataFileError: a damaged file, or a part with an unknown name.
    """
    objects = read_objects(path)
    label = np.zeros(objects[0].mask.shape, dtype=np.uint8)
    people = [item for item in objects if item.class_number == PERSON]
    for name, mask in (part for person in people for part in person.parts):
        if name not in PART_INDEX:
            raise damaged(path, f"a person has a part {name!r}, expected one of {', '.join(sorted(PART_INDEX))}")
        label[mask] = PART_INDEX[name]
    return label if label.any() else np.full_like(label, IGNORE)


def object_classes(path: Path) -> Array:
    """VOC class of every object of an image, as the published code lists them in ``ImageSets/Parts``.

    Returns:
        (objects,) int64; ``NO_AREA`` for an object with an empty mask.

    Raises:
        DataFileError: a damaged file.
    """
    return np.array([item.class_number if item.mask.any() else NO_AREA for item in read_objects(path)], dtype=np.int64)


def with_people(indices: Indices, shows_people: Callable[[int], bool]) -> Indices:
    """Those of some images of a list that show people.

    Args:
        indices: positions in the list.
        shows_people: whether the image at a position in the list does.
    """
    return np.array([index for index in indices if shows_people(int(index))], dtype=np.int64)


def with_people_as_published(indices: Indices, shows_people: Callable[[int], bool]) -> Indices:
    """Those images that the published code keeps for a client whose only task is parts.

    It looks the flag up by position in the client's part, not in the list the flags were made for, and so keeps images
    without people and drops others with (methods 3.5).

    Args:
        indices: positions in the list, in the client's order.
        shows_people: whether the image at a position in the list does.
    """
    kept = [index for position, index in enumerate(indices) if shows_people(position)]
    return np.array(kept, dtype=np.int64)


def flagged_as_published(count: int, shows_people: Callable[[int], bool]) -> Iterator[bool]:
    """Of each of the ``count`` images of a client's part, whether the published code reads its parts label.

    For the same reason it is the flag of the image at that position in the list, whatever the image there.
    """
    return (shows_people(position) for position in range(count))
