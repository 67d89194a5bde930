"""Which annotations belong to which image, and where they stand in their file.

An annotation file is read once and checked as a whole, so that a wrong entry is found when a run begins and not hours
later, when its image is first drawn. What is kept of it are a few arrays (20 MB for the official training annotations);
the annotations of an image are then read from the file by their places. With a folder for derived labels the arrays
are kept there, and a later process reads them instead of the file.
"""

from __future__ import annotations

import io
from array import array
from collections.abc import Collection
from dataclasses import dataclass, fields
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeVar

import msgspec
import numpy as np
import numpy.typing as npt
from fmtl_datasets.shared.label_cache import Derivation, LabelCache
from fmtl_datasets.shared.objects import NUM_KEYPOINTS
from fmtl_datasets.shared.paths import path_problem
from fmtl_datasets.shared.source import DataFileError
from fmtl_datasets.sources.coco.annotation_files import ARCHIVES, CATEGORIES, FileKind
from fmtl_datasets.sources.coco.format import (
    Annotation,
    AnnotationLists,
    BoxedAnnotation,
    Image,
    PanopticAnnotation,
    PersonAnnotation,
    decode_all,
    read_lists,
)

Array = npt.NDArray[Any]
Form = type[BoxedAnnotation] | type[PersonAnnotation] | type[PanopticAnnotation]
Entry = TypeVar("Entry", BoxedAnnotation, PersonAnnotation, PanopticAnnotation)

FORMS: dict[FileKind, Form] = {
    "instances": BoxedAnnotation,
    "stuff": BoxedAnnotation,
    "person_keypoints": PersonAnnotation,
    "panoptic": PanopticAnnotation,
}

TOLERANCE = 2.0
"""How many pixels a box or keypoint may lie outside its image: annotators' strokes end a little beyond the border."""

VERSION = 2
"""To be raised whenever the arrays of an index, or the checks on the way to them, change."""


@dataclass(frozen=True, eq=False)
class AnnotationIndex:
    """The images of an annotation file and the places of their annotations.

    Attributes:
        image_ids: (m,) int64, rising.
        sizes: (m, 2) int64, height and width as annotated.
        file_names: (m,) names of the image files.
        first: (m + 1,) int64; annotations first[i] to first[i + 1] belong to image i.
        spans: (n, 2) int64, first byte and number of bytes in the file.
        visible: (n,) bool: has an area inside its image; everything in a panoptic file.
        trainable: (n,) bool: something to train on: visible and no crowd; of people also with a labelled keypoint.
        map_names: (n,) names of the panoptic maps; empty in the other files.
    """

    image_ids: Array
    sizes: Array
    file_names: Array
    first: Array
    spans: Array
    visible: Array
    trainable: Array
    map_names: Array

    def positions(self, image_ids: Array, path: Path) -> Array:
        """Return the places of images in the index.

        Raises:
            DataFileError: an image that the file does not list.
        """
        found = np.searchsorted(self.image_ids, image_ids)
        known = self.image_ids[found.clip(max=len(self.image_ids) - 1)] == image_ids
        if not known.all():
            missing = np.asarray(image_ids)[~known]
            raise DataFileError(
                f"{path} does not list image {missing[0]} ({len(missing)} of {len(known)} images are missing), which "
                f"another annotation file of this folder lists. The annotation files have to describe the same images; "
                f"unpack them from their archives again."
            )
        return np.asarray(found, dtype=np.int64)

    def read(self, position: int, path: Path, form: type[Entry]) -> list[Entry]:
        """Read the annotations of an image, in the order of the file.

        Args:
            position: place of the image in the index.
            path: the annotation file.
            form: struct of an annotation.

        Raises:
            DataFileError: the file has changed.
        """
        entries = []
        decode = msgspec.json.Decoder(form).decode
        with path.open("rb") as file:
            for start, length in self.spans[self.first[position] : self.first[position + 1]].tolist():
                file.seek(start)
                try:
                    entries.append(decode(file.read(length)))
                except msgspec.DecodeError as error:
                    raise _changed(path) from error
        if any(entry.image_id != self.image_ids[position] for entry in entries):
            raise _changed(path)
        return entries

    def count(self, flags: Array, position: int) -> int:
        """Return of how many annotations of one image a flag (n,) is set."""
        return int(flags[self.first[position] : self.first[position + 1]].sum())

    def trainable_images(self) -> Array:
        """Return (m,) bool: images with at least one annotation to train on."""
        total = np.concatenate([[0], np.cumsum(self.trainable)])
        return np.asarray(total[self.first[1:]] > total[self.first[:-1]])


def _changed(path: Path) -> DataFileError:
    return DataFileError(f"{path} has changed since it was opened; start again to read it anew.")


def load_index(path: Path, kind: FileKind, root: Path, cache: Path | None) -> AnnotationIndex:
    """Return the index of an annotation file of COCO, built at most once in a process.

    Args:
        path: the file.
        kind: what it annotates.
        root: folder of the data set.
        cache: folder for derived labels; None to read the file once in every process.

    Raises:
        DataFileError: the file is damaged, or holds what it should not.
    """
    status = path.stat()
    return _load(path, kind, root, cache, (status.st_size, status.st_mtime_ns))


def forget_indices() -> None:
    """Let go of the indices that this process keeps, as a new process starts without them."""
    _load.cache_clear()


@lru_cache(maxsize=16)
def _load(path: Path, kind: FileKind, root: Path, cache: Path | None, stamp: tuple[int, int]) -> AnnotationIndex:
    """Return the index of a file; its stamp makes it be read anew after a change."""
    derivation = Derivation(f"coco-index-{kind}", VERSION)
    packed = LabelCache(cache, root).get(derivation, path.stem, path, lambda source: _pack(_build(source, kind)))
    with np.load(io.BytesIO(packed.tobytes()), allow_pickle=False) as arrays:
        return AnnotationIndex(**{field.name: arrays[field.name] for field in fields(AnnotationIndex)})


def _pack(index: AnnotationIndex) -> Array:
    buffer = io.BytesIO()
    np.savez(buffer, **{field.name: getattr(index, field.name) for field in fields(index)})
    return np.frombuffer(buffer.getvalue(), dtype=np.uint8)


def _build(path: Path, kind: FileKind) -> AnnotationIndex:
    try:
        return build_index(path, *read_lists(path), FORMS[kind], CATEGORIES[kind])
    except DataFileError as error:
        raise DataFileError(f"{error} ({path.name} comes from {ARCHIVES[kind]}.)") from error


def build_index(
    path: Path, content: bytes, lists: AnnotationLists, form: Form, categories: Collection[int]
) -> AnnotationIndex:
    """Check an annotation file as a whole and return its index.

    Args:
        path: the file, for messages.
        content: its text.
        lists: what it holds.
        form: struct of an annotation.
        categories: those that may occur.

    Raises:
        DataFileError: an entry is wrong; the message names it.
    """
    image_ids, sizes, file_names = _images(path, lists)
    gathered = _Annotations(path, categories)
    for entry in decode_all(path, "annotations", lists.annotations, form):
        gathered.add(entry)
    ids, owners = np.array(gathered.ids, dtype=np.int64), np.array(gathered.owners, dtype=np.int64)
    repeated = _repeated(ids)
    if repeated is not None:
        raise DataFileError(f"{path}: two annotations have the id {ids[repeated]}.")
    image = np.searchsorted(image_ids, owners).clip(max=len(image_ids) - 1)
    lost = np.flatnonzero(image_ids[image] != owners)
    if len(lost):
        raise DataFileError(
            f"{path}: annotation {ids[lost[0]]} belongs to image {owners[lost[0]]}, which the file does not list "
            f"({len(lost)} of {len(ids)} annotations have no image)."
        )
    visible, trainable = gathered.flags(sizes[image])
    order = np.argsort(image, kind="stable")
    return AnnotationIndex(
        image_ids=image_ids,
        sizes=sizes,
        file_names=file_names,
        first=np.searchsorted(image[order], np.arange(len(image_ids) + 1)),
        spans=_spans(content, lists)[order],
        visible=visible[order],
        trainable=trainable[order],
        map_names=np.asarray(gathered.map_names, dtype=np.str_)[order if gathered.map_names else slice(0)],
    )


def _images(path: Path, lists: AnnotationLists) -> tuple[Array, Array, Array]:
    """Return ids (m,), rising, sizes (m, 2) and file names (m,) of the images."""
    images = sorted(decode_all(path, "images", lists.images, Image), key=lambda image: image.id)
    if not images:
        raise DataFileError(f"{path} lists no image.")
    ids = np.array([image.id for image in images], dtype=np.int64)
    repeated = _repeated(ids)
    if repeated is not None:
        raise DataFileError(f"{path} lists image {ids[repeated]} twice.")
    for image in images:
        if path_problem(image.file_name) is not None:
            raise DataFileError(
                f"{path}: image {image.id} has file_name {image.file_name!r}; expected its path in the image folder."
            )
    sizes = np.array([(image.height, image.width) for image in images], dtype=np.int64)
    return ids, sizes, np.array([image.file_name for image in images])


def _spans(content: bytes, lists: AnnotationLists) -> Array:
    """Return (n, 2) int64, first byte and number of bytes of each annotation in the text of the file."""
    if not lists.annotations:
        return np.zeros((0, 2), dtype=np.int64)
    text, first = (np.frombuffer(part, dtype=np.uint8) for part in (content, lists.annotations[0]))
    start = first.__array_interface__["data"][0] - text.__array_interface__["data"][0]
    spans = array("q")
    for raw in lists.annotations:
        # Nothing but blanks and a comma stands between two objects.
        start = content.index(b"{", start)
        length = memoryview(raw).nbytes
        spans.extend((start, length))
        start += length
    return np.array(spans, dtype=np.int64).reshape(-1, 2)


class _Annotations:
    """What is needed of the annotations of a file, as they are read."""

    def __init__(self, path: Path, categories: Collection[int]) -> None:
        self.path = path
        self.ids = array("q")
        self.owners = array("q")
        self.map_names: list[str] = []
        self._categories = frozenset(categories)
        self._boxes = array("d")
        self._crowd = array("b")
        self._points = array("d")

    def add(self, entry: BoxedAnnotation | PersonAnnotation | PanopticAnnotation) -> None:
        """Take one annotation."""
        self.owners.append(entry.image_id)
        if isinstance(entry, PanopticAnnotation):
            self.ids.append(entry.image_id)
            self._add_segments(entry)
            return
        self.ids.append(entry.id)
        self._check_category(entry, entry.category_id)
        self._boxes.extend(entry.bbox)
        self._crowd.append(entry.iscrowd)
        if isinstance(entry, PersonAnnotation):
            self._points.extend(entry.keypoints)

    def flags(self, sizes: Array) -> tuple[Array, Array]:
        """Return which annotations are visible and which trainable; `sizes` (n, 2) are those of their images.

        Raises:
            DataFileError: a box or labelled keypoint lies outside its image.
        """
        if self.map_names:
            return np.ones(len(self.ids), dtype=bool), np.ones(len(self.ids), dtype=bool)
        left, top, wide, high = np.array(self._boxes).reshape(-1, 4).T
        right, bottom = left + wide, top + high
        height, width = sizes.T
        outside = (np.minimum(left, top) < -TOLERANCE) | (right > width + TOLERANCE) | (bottom > height + TOLERANCE)
        expected = "expected left, top, width and height, not two corners"
        self._refuse(outside, "bbox", np.array(self._boxes).reshape(-1, 4), sizes, expected)
        visible = (np.minimum(right, width) > np.maximum(left, 0)) & (np.minimum(bottom, height) > np.maximum(top, 0))
        trainable = visible & (np.array(self._crowd) == 0)
        return visible, trainable & self._labelled(sizes) if self._points else trainable

    def _labelled(self, sizes: Array) -> Array:
        """Return (n,) bool: people with a labelled keypoint."""
        points = np.array(self._points).reshape(-1, NUM_KEYPOINTS, 3)
        x, y, visibility = points[..., 0], points[..., 1], points[..., 2]
        height, width = sizes[:, :1], sizes[:, 1:]
        wrong = ~np.isin(visibility, (0, 1, 2))
        self._refuse(wrong.any(1), "keypoints", points, sizes, "expected a visibility of 0, 1 or 2")
        outside = (x > width - 1 + TOLERANCE) | (y > height - 1 + TOLERANCE) | (np.minimum(x, y) < -TOLERANCE)
        expected = "expected pixels from the upper left, or visibility 0"
        self._refuse((outside & (visibility > 0)).any(1), "keypoints", points, sizes, expected)
        return np.asarray((visibility > 0).any(1))

    def _add_segments(self, entry: PanopticAnnotation) -> None:
        if path_problem(entry.file_name) is not None:
            raise DataFileError(
                f"{self.path}: annotation {entry.image_id} has file_name {entry.file_name!r}; expected the path of its "
                f"PNG in the folder of panoptic maps."
            )
        self.map_names.append(entry.file_name)
        seen: set[int] = set()
        for segment in entry.segments_info:
            self._check_category(entry, segment.category_id)
            if segment.id in seen:
                raise DataFileError(f"{self.path}: annotation {entry.image_id} has segment {segment.id} twice.")
            seen.add(segment.id)

    def _check_category(self, entry: Annotation | PanopticAnnotation, category: int) -> None:
        if category not in self._categories:
            number = entry.image_id if isinstance(entry, PanopticAnnotation) else entry.id
            raise DataFileError(
                f"{self.path}: annotation {number} has category_id {category}, which is none of the "
                f"{len(self._categories)} categories ({min(self._categories)} to {max(self._categories)})."
            )

    def _refuse(self, wrong: npt.ArrayLike, what: str, values: Array, sizes: Array, expected: str) -> None:
        """Refuse the file if an annotation does not fit into its image."""
        places = np.flatnonzero(wrong)
        if len(places) == 0:
            return
        at = int(places[0])
        shown = " ".join(f"{number:g}" for number in np.asarray(values[at], dtype=float).ravel()[:12])
        raise DataFileError(
            f"{self.path}: annotation {self.ids[at]} has {what} {shown}, which does not fit into image "
            f"{self.owners[at]} of {sizes[at, 0]} x {sizes[at, 1]} pixels; {expected}."
        )


def _repeated(numbers: Array) -> int | None:
    """Return the place of a number that is there twice, None where each is there once."""
    order = np.argsort(numbers, kind="stable")
    twice = np.flatnonzero(np.diff(numbers[order]) == 0)
    return int(order[twice[0] + 1]) if len(twice) else None
