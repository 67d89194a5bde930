"""The entries of an annotation file as columns, checked as a whole.

A wrong entry is found when a run begins and not hours later, when its image is first drawn.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from array import array
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from fmtl_datasets.shared.objects import NUM_KEYPOINTS
from fmtl_datasets.shared.source import DataFileError
from fmtl_datasets.sources.coco.annotation_files import CATEGORIES, FileKind
from fmtl_datasets.sources.coco.json_lists import Entry, read_entries

Array = npt.NDArray[Any]

LISTS = frozenset({"images", "annotations"})

TOLERANCE = 2.0
"""How many pixels a box or keypoint may lie outside its image: annotators' strokes end a little beyond the border."""


@dataclass(frozen=True, eq=False)
class Columns:
    """What is kept of an annotation file; ``fmtl_datasets.sources.coco.index.AnnotationIndex`` explains most of it.

    Attributes:
        image_ids: (m,) int64, in the order of the file.
        sizes: (m, 2) int64.
        file_names: m names.
        owners: (n,) int64, the image of each annotation.
        annotation_ids: (n,) int64.
        spans: (n, 2) int64.
        trainable: (n,) bool.
    """

    image_ids: Array
    sizes: Array
    file_names: list[str]
    owners: Array
    annotation_ids: Array
    spans: Array
    trainable: Array


def read_columns(path: Path, kind: FileKind) -> Columns:
    """Read and check an annotation file.

    Args:
        path: the file.
        kind: what it annotates.

    Raises:
        DataFileError: the file is damaged or an entry is wrong; the message names the annotation.
    """
    images = _Images(path)
    objects = _Segmentations(path, kind) if kind == "panoptic" else _Objects(path, kind)
    for entry in read_entries(path, LISTS):
        if entry.list_name == "images":
            images.add(entry)
        else:
            objects.add(entry)
    sizes = images.checked_sizes()
    return objects.columns(images, sizes)


class _Images:
    """The images of a file, as they are read."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.ids = array("q")
        self.file_names: list[str] = []
        self._sides = array("q")

    def add(self, entry: Entry) -> None:
        """Take one entry of the file's list of images."""
        try:
            value = entry.value
            self.ids.append(value["id"])
            self._sides.extend((value["height"], value["width"]))
            name = value["file_name"]
        except (KeyError, TypeError, OverflowError) as error:
            raise DataFileError(
                f"{self.path}: image number {len(self.file_names)} in the list is expected to have whole numbers id, "
                f"height and width, and a file_name; the entry at byte {entry.start} has not."
            ) from error
        if not isinstance(name, str) or Path(name).name != name:
            raise DataFileError(f"{self.path}: image {self.ids[-1]} has file_name {name!r}, which is no plain name.")
        self.file_names.append(name)

    def checked_sizes(self) -> Array:
        """Return (m, 2) int64, heights and widths, once the images are known to be there once and to have pixels."""
        ids, sizes = _integers(self.ids), _integers(self._sides).reshape(-1, 2)
        if len(ids) == 0:
            raise DataFileError(f"{self.path} lists no image; unpack it from its archive again.")
        repeated = _repeated(ids)
        if repeated is not None:
            raise DataFileError(f"{self.path} lists image {ids[repeated]} twice.")
        empty = np.flatnonzero((sizes < 1).any(1))
        if len(empty):
            height, width = sizes[empty[0]]
            raise DataFileError(f"{self.path}: image {ids[empty[0]]} is said to have {height} x {width} pixels.")
        return sizes


class _Annotations(ABC):
    """What the annotations of all kinds of file have in common."""

    def __init__(self, path: Path, kind: FileKind) -> None:
        self.path = path
        self.known = CATEGORIES[kind]
        self.ids = array("q")
        self.owners = array("q")
        self.spans = array("q")

    def add(self, entry: Entry) -> None:
        """Read an entry."""
        try:
            self.take(entry.value)
        except (KeyError, TypeError, OverflowError) as error:
            name = entry.value.get("id", entry.value.get("image_id")) if isinstance(entry.value, dict) else "?"
            raise DataFileError(
                f"{self.path}: annotation {name} (at byte {entry.start}) has no {error}."
                if isinstance(error, KeyError)
                else f"{self.path}: annotation {name} (at byte {entry.start}) holds a value of a wrong type: {error}."
            ) from error
        self.spans.extend((entry.start, entry.end - entry.start))

    @abstractmethod
    def take(self, value: dict[str, Any]) -> None:
        """Take what is needed of an annotation."""

    @abstractmethod
    def trainable(self, sizes: Array) -> Array:
        """Return (n,) bool, once the values were checked; `sizes` (n, 2) are those of the annotations' images."""

    def columns(self, images: _Images, sizes: Array) -> Columns:
        """Return the columns, once every annotation is known to be there once and to have an image."""
        ids, owners, image_ids = _integers(self.ids), _integers(self.owners), _integers(images.ids)
        repeated = _repeated(ids)
        if repeated is not None:
            raise DataFileError(f"{self.path}: two annotations have the id {ids[repeated]}.")
        by_id = np.argsort(image_ids)
        place = np.searchsorted(image_ids[by_id], owners).clip(max=len(by_id) - 1)
        lost = np.flatnonzero(image_ids[by_id][place] != owners)
        if len(lost):
            raise DataFileError(
                f"{self.path}: annotation {ids[lost[0]]} belongs to image {owners[lost[0]]}, which the file does not "
                f"list ({len(lost)} of {len(ids)} annotations have no image)."
            )
        return Columns(
            image_ids=image_ids,
            sizes=sizes,
            file_names=images.file_names,
            owners=owners,
            annotation_ids=ids,
            spans=_integers(self.spans).reshape(-1, 2),
            trainable=self.trainable(sizes[by_id[place]]),
        )

    def check_category(self, category: int, annotation: int) -> None:
        """Refuse a category that this kind of file does not have."""
        if category not in self.known:
            raise DataFileError(
                f"{self.path}: annotation {annotation} has category {category}, which is none of the "
                f"{len(self.known)} categories of COCO 2017 for this file ({min(self.known)} to {max(self.known)})."
            )


class _Objects(_Annotations):
    """Annotations with an id and a box: instances, people and stuff."""

    def __init__(self, path: Path, kind: FileKind) -> None:
        super().__init__(path, kind)
        self._keypoints = array("d") if kind == "person_keypoints" else None
        self._crowd = array("b")
        self._boxes = array("d")
        self._areas = array("d")

    def take(self, value: dict[str, Any]) -> None:
        """Take an object: its box, area, crowd flag and, of people, keypoints."""
        number = value["id"]
        self.ids.append(number)
        self.owners.append(value["image_id"])
        self.check_category(value["category_id"], number)
        self._crowd.append(value["iscrowd"])
        self._areas.append(value["area"])
        if len(value["bbox"]) != 4:
            raise TypeError(f"bbox has {len(value['bbox'])} numbers, expected left, top, width and height")
        self._boxes.extend(value["bbox"])
        if self._keypoints is not None:
            if len(value["keypoints"]) != 3 * NUM_KEYPOINTS:
                raise TypeError(f"keypoints has {len(value['keypoints'])} numbers, expected {3 * NUM_KEYPOINTS}")
            self._keypoints.extend(value["keypoints"])

    def trainable(self, sizes: Array) -> Array:
        """Whether an object is no crowd, has an area inside its image and, of people, a labelled keypoint."""
        boxes = np.frombuffer(self._boxes).reshape(-1, 4) if self._boxes else np.zeros((0, 4))
        areas, crowd = np.array(self._areas), np.array(self._crowd)
        self._refuse(~np.isfinite(boxes).all(axis=1), "box", boxes)
        self._refuse(~(areas >= 0) | np.isinf(areas), "area", areas)
        self._refuse((crowd != 0) & (crowd != 1), "iscrowd", crowd)
        height, width = sizes.T
        right, bottom = boxes[:, 0] + boxes[:, 2], boxes[:, 1] + boxes[:, 3]
        outside = (boxes < -TOLERANCE).any(1) | (right > width + TOLERANCE) | (bottom > height + TOLERANCE)
        self._refuse(outside, "box (left, top, width, height)", boxes, sizes)
        seen = (boxes[:, 2:] > 0).all(1) & (boxes[:, 0] < width) & (boxes[:, 1] < height)
        trainable = (crowd == 0) & seen & (right > 0) & (bottom > 0)
        if self._keypoints is None:
            return np.asarray(trainable)
        return np.asarray(trainable & self._labelled(sizes))

    def _labelled(self, sizes: Array) -> Array:
        points = np.array(self._keypoints).reshape(-1, NUM_KEYPOINTS, 3)
        x, y, visibility = points[..., 0], points[..., 1], points[..., 2]
        self._refuse(~np.isfinite(points).all((1, 2)), "keypoints", points)
        self._refuse(~np.isin(visibility, (0, 1, 2)).all(1), "a visibility other than 0, 1, 2 in its keypoints", points)
        height, width = sizes[:, None, 0], sizes[:, None, 1]
        low, outside = -TOLERANCE, (x > width - 1 + TOLERANCE) | (y > height - 1 + TOLERANCE)
        outside = (outside | (x < low) | (y < low)) & (visibility > 0)
        self._refuse(outside.any(1), "keypoints", points, sizes)
        return np.asarray((visibility > 0).any(1))

    def _refuse(self, wrong: npt.ArrayLike, what: str, values: Array, sizes: Array | None = None) -> None:
        """Refuse the file if an annotation is wrong; with sizes, because it does not fit into its image."""
        places = np.flatnonzero(wrong)
        if len(places) == 0:
            return
        at = int(places[0])
        reason = "expected finite numbers, none of them negative where it is a size, and 0 or 1 for iscrowd"
        if sizes is not None:
            reason = f"which does not fit into image {self.owners[at]} of {sizes[at, 0]} x {sizes[at, 1]} pixels"
        shown = " ".join(f"{number:g}" for number in np.asarray(values[at], dtype=float).ravel()[:12])
        raise DataFileError(f"{self.path}: annotation {self.ids[at]} has {what} {shown}, {reason}.")


class _Segmentations(_Annotations):
    """Panoptic annotations: one for each image, with its segments."""

    def __init__(self, path: Path, kind: FileKind) -> None:
        super().__init__(path, kind)
        self._file_names: list[str] = []

    def take(self, value: dict[str, Any]) -> None:
        """Take an image's segments: their map's file name and that each is there once."""
        number = value["image_id"]
        self.ids.append(number)
        self.owners.append(number)
        self._file_names.append(str(value["file_name"]))
        seen: set[int] = set()
        for segment in value["segments_info"]:
            self.check_category(segment["category_id"], number)
            if segment["id"] in seen or not 0 < segment["id"] < 2**24:
                raise TypeError(f"segment {segment['id']} is there twice or is no number from 1 to {2**24 - 1}")
            if segment["iscrowd"] not in (0, 1):
                raise TypeError(f"segment {segment['id']} has iscrowd {segment['iscrowd']}, expected 0 or 1")
            seen.add(segment["id"])

    def columns(self, images: _Images, sizes: Array) -> Columns:
        """Return the columns, once every map is seen to bear the name of its image."""
        names = dict(zip(images.ids, images.file_names, strict=True))
        for owner, name in zip(self.owners, self._file_names, strict=True):
            if owner in names and Path(names[owner]).with_suffix(".png").name != name:
                raise DataFileError(
                    f"{self.path}: the map of image {owner} is called {name!r}, expected the name of the image file "
                    f"{names[owner]} with .png."
                )
        return super().columns(images, sizes)

    def trainable(self, sizes: Array) -> Array:
        return np.ones(len(sizes), dtype=bool)


def _integers(values: array[int]) -> Array:
    return np.array(values, dtype=np.int64)


def _repeated(numbers: Array) -> int | None:
    """Return the place of a number that is there twice, None where each is there once."""
    order = np.argsort(numbers, kind="stable")
    twice = np.flatnonzero(np.diff(numbers[order]) == 0)
    return int(order[twice[0] + 1]) if len(twice) else None
