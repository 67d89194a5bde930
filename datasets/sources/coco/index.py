"""Which annotations belong to which image, and where they stand in their file.

An annotation file is read once, entry by entry, and checked as a whole. What is kept of it are a few arrays (20 MB for
the official training annotations); the annotations of an image are then read from the file by their places. With a
folder for derived labels the arrays are kept there, and a later process reads them instead of the file.
"""

from __future__ import annotations

import io
from dataclasses import dataclass, fields
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from fmtl_datasets.shared.label_cache import Derivation, LabelCache
from fmtl_datasets.shared.source import DataFileError
from fmtl_datasets.sources.coco.annotation_files import ARCHIVES, FileKind
from fmtl_datasets.sources.coco.columns import read_columns
from fmtl_datasets.sources.coco.json_lists import read_spans

Array = npt.NDArray[Any]

VERSION = 1
"""To be raised whenever the arrays of an index, or the checks on the way to them, change."""


@dataclass(frozen=True, eq=False)
class AnnotationIndex:
    """The images of an annotation file and the places of their annotations.

    Attributes:
        image_ids: (m,) int64, rising.
        sizes: (m, 2) int64, height and width as annotated.
        file_names: (m,) names of the image files.
        first: (m + 1,) int64; annotations first[i] to first[i + 1] belong to image i.
        annotation_ids: (n,) int64, of a panoptic file the image each belongs to.
        spans: (n, 2) int64, first byte and number of bytes in the file.
        trainable: (n,) bool: something to train on. Of instances: no crowd, and a box that has an area; of people also
            at least one labelled keypoint; everything in the other files.
    """

    image_ids: Array
    sizes: Array
    file_names: Array
    first: Array
    annotation_ids: Array
    spans: Array
    trainable: Array

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

    def read(self, position: int, path: Path) -> list[dict[str, Any]]:
        """Read the annotations of an image, in the order of the file.

        Args:
            position: place of the image in the index.
            path: the annotation file.
        """
        chosen = slice(int(self.first[position]), int(self.first[position + 1]))
        entries = read_spans(path, [(int(start), int(length)) for start, length in self.spans[chosen]])
        image_id = int(self.image_ids[position])
        if any(not isinstance(entry, dict) or entry.get("image_id") != image_id for entry in entries):
            raise DataFileError(f"{path} has changed since it was opened; start again to read it anew.")
        return entries

    def trainable_images(self) -> Array:
        """Return (m,) bool: images with at least one annotation to train on."""
        total = np.concatenate([[0], np.cumsum(self.trainable)])
        return np.asarray(total[self.first[1:]] > total[self.first[:-1]])


def load_index(path: Path, kind: FileKind, root: Path, cache: Path | None) -> AnnotationIndex:
    """Return the index of an annotation file, built at most once in a process.

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
    return _unpack(packed)


def _build(path: Path, kind: FileKind) -> AnnotationIndex:
    try:
        columns = read_columns(path, kind)
    except DataFileError as error:
        raise DataFileError(f"{error} ({path.name} comes from {ARCHIVES[kind]}.)") from error
    image_ids = np.asarray(columns.image_ids)
    by_id = np.argsort(image_ids, kind="stable")
    owner = np.searchsorted(image_ids[by_id], columns.owners)
    order = np.argsort(owner, kind="stable")
    return AnnotationIndex(
        image_ids=image_ids[by_id],
        sizes=columns.sizes[by_id],
        file_names=np.asarray(columns.file_names)[by_id],
        first=np.searchsorted(owner[order], np.arange(len(by_id) + 1)),
        annotation_ids=columns.annotation_ids[order],
        spans=columns.spans[order],
        trainable=columns.trainable[order],
    )


def _pack(index: AnnotationIndex) -> Array:
    buffer = io.BytesIO()
    arrays = {field.name: getattr(index, field.name) for field in fields(index)}
    np.savez(buffer, **arrays)
    return np.frombuffer(buffer.getvalue(), dtype=np.uint8)


def _unpack(packed: Array) -> AnnotationIndex:
    with np.load(io.BytesIO(packed.tobytes()), allow_pickle=False) as arrays:
        return AnnotationIndex(**{field.name: arrays[field.name] for field in fields(AnnotationIndex)})
