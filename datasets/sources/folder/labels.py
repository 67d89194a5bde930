"""Decoding the label file of one image, for each task whose labels are maps of pixels.

What a decoder returns is what a sample holds: see ``fmtl_datasets.shared.conventions`` and
``fmtl_datasets.shared.source``.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
from fmtl_datasets.scenarios.share import StrictModel
from fmtl_datasets.shared.conventions import IGNORE
from fmtl_datasets.shared.edge_annotators import MAX_ANNOTATORS
from fmtl_datasets.shared.source import DataFileError
from fmtl_datasets.sources.folder.pixels import read_array, read_three_channels, read_values
from fmtl_datasets.sources.folder.settings import ClassFiles, DepthFiles, EdgeFiles, MaskFiles, NormalFiles

Array = npt.NDArray[Any]
Floats = npt.NDArray[np.float32]

MIN_NORMAL_LENGTH = 0.5
"""A decoded normal shorter than this is no normal: rounding to 8 bits shortens a unit vector by less than 0.01."""

SAVE_AS_PNG = "Save labels as PNG: other formats change their numbers or are not read."

_UNEXPECTED = -1


class LabelDecoder(Protocol):
    """Decodes the label files of one task.

    Attributes:
        suffixes: file name endings that hold such labels; the first is the usual one.
        advice: what to do where no such file is found.
    """

    @property
    def suffixes(self) -> tuple[str, ...]: ...

    @property
    def advice(self) -> str: ...

    def __call__(self, path: Path) -> Array:
        """Decode a file; the last two axes are rows and columns.

        Raises:
            DataFileError: unreadable, or it holds something else.
        """
        ...


def decoder(labels: StrictModel) -> LabelDecoder:
    """Return what decodes the label files that a part of the description speaks of."""
    if isinstance(labels, ClassFiles):
        return Lookup(labels.meaning(), labels.ignore, f"the classes 0 to {labels.count - 1}", (0, 1))
    if isinstance(labels, EdgeFiles) and labels.annotators == "bits":
        return AnnotatorBits()
    if isinstance(labels, MaskFiles):
        return Lookup(labels.meaning(), labels.ignore, _listed(labels.meaning()), (0, 255))
    if isinstance(labels, NormalFiles):
        return Normals(labels)
    if isinstance(labels, DepthFiles):
        return Depth(labels)
    raise TypeError(f"{type(labels).__name__} describes no map of pixels")


class Lookup:
    """Pixel values to class indices, ``IGNORE`` where they are to be ignored.

    Args:
        meaning: class index by pixel value.
        ignore: pixel values that mean nothing.
        expected: which values are right, for messages.
        bits: what the two values of a 1-bit file count as.
    """

    suffixes: tuple[str, ...] = (".png",)
    advice = SAVE_AS_PNG

    def __init__(
        self, meaning: dict[int, int], ignore: Iterable[int], expected: str, bits: tuple[int, int] = (0, 1)
    ) -> None:
        self._table = np.full(65536, _UNEXPECTED, dtype=np.int16)
        self._table[list(ignore)] = IGNORE
        for value, index in meaning.items():
            self._table[value] = index
        self._expected = expected
        self._ignored = _listed(ignore)
        self._bits = np.array(bits, dtype=np.uint8)

    def __call__(self, path: Path) -> npt.NDArray[np.uint8]:
        """Decode a label file to (H, W) uint8."""
        values = read_values(path)
        if values.dtype == np.bool_:
            values = self._bits[values.astype(np.uint8)]
        indices = self._table[values]
        if indices.min(initial=0) == _UNEXPECTED:
            raise DataFileError(self._complaint(path, np.unique(values[indices == _UNEXPECTED])))
        return indices.astype(np.uint8)

    def _complaint(self, path: Path, wrong: Array) -> str:
        ignored = f" and not ignored ({self._ignored})" if self._ignored else ""
        several = f"s {_listed(wrong[:5].tolist())} are" if len(wrong) > 1 else f" {wrong[0]} is"
        return (
            f"{path}: the value{several} none of {self._expected}{ignored}. Correct the file, or say in the "
            f"description what the value means or that it is to be ignored."
        )


class AnnotatorBits:
    """16-bit files whose bit k is the boundary map of annotator k."""

    suffixes: tuple[str, ...] = (".png",)
    advice = SAVE_AS_PNG

    def __call__(self, path: Path) -> npt.NDArray[np.int32]:
        """Decode a file to (H, W) int32 (see ``fmtl_datasets.shared.edge_annotators``)."""
        values = read_values(path)
        if values.dtype != np.uint16:
            raise DataFileError(
                f"{path}: holds {values.dtype}; expected 16 bits, of which bit k is the drawing of annotator k (at "
                f"most {MAX_ANNOTATORS}). A mask of one annotator needs no 'annotators: bits'."
            )
        return values.astype(np.int32)


class Normals:
    """Surface normals from RGB codes of 8 or 16 bits, or from arrays.

    Args:
        labels: which axes to turn round.
    """

    suffixes: tuple[str, ...] = (".png", ".npy")
    advice = "Save normals as PNG or .npy; the compression of JPEG bends them."

    def __init__(self, labels: NormalFiles) -> None:
        flips = (labels.flip_x, labels.flip_y, labels.flip_z)
        self._signs = np.array([-1.0 if flip else 1.0 for flip in flips], dtype=np.float32)

    def __call__(self, path: Path) -> Floats:
        """Decode a file to (3, H, W) float32, unit vectors or zero."""
        vectors = _vectors(path) * self._signs
        length = np.linalg.norm(vectors, axis=-1, keepdims=True)
        known = np.isfinite(length) & (length >= MIN_NORMAL_LENGTH)
        unit = np.where(known, vectors / np.where(known, length, 1), 0)
        return np.ascontiguousarray(unit.transpose(2, 0, 1), dtype=np.float32)


def _vectors(path: Path) -> Floats:
    """Return what a file of normals holds as (H, W, 3)."""
    if path.suffix.lower() == ".npy":
        vectors = read_array(path)
        if vectors.ndim == 3 and vectors.shape[2] != 3 and vectors.shape[0] == 3:
            vectors = vectors.transpose(1, 2, 0)
        if vectors.ndim != 3 or vectors.shape[2] != 3:
            raise DataFileError(f"{path}: has the shape {vectors.shape}; expected (height, width, 3) or (3, H, W).")
        return vectors.astype(np.float32)
    codes = read_three_channels(path)
    coded: Floats = codes.astype(np.float32)
    return coded * np.float32(2 / np.iinfo(codes.dtype).max) - np.float32(1)


class Depth:
    """Depth in metres from 16-bit files or arrays.

    Args:
        labels: scale and the mark of unknown depth.
    """

    def __init__(self, labels: DepthFiles) -> None:
        self._units = labels.units_per_metre
        self._invalid = labels.invalid
        self.suffixes: tuple[str, ...] = (".npy",) if self._units is None else (".png",)
        self.advice = (
            "Depth as 16-bit PNG needs 'units-per-metre', for example 1000 for millimetres."
            if self._units is None
            else "Depth as .npy holds metres and takes no 'units-per-metre'; remove that key."
        )

    def __call__(self, path: Path) -> Floats:
        """Decode a file to (1, H, W) float32 metres, 0 where unknown."""
        stored = self._stored(path)
        known = np.isfinite(stored) & (stored != np.float32(self._invalid))
        lowest = float(stored[known].min(initial=np.inf))
        if lowest <= 0:
            raise DataFileError(
                f"{path}: holds the depth {lowest:g}; expected values above 0, or {self._invalid:g} where it is "
                f"unknown. Say with 'invalid' which value marks pixels without a depth."
            )
        metres = np.where(known, stored, 0) / (self._units or 1.0)
        return metres[None].astype(np.float32)

    def _stored(self, path: Path) -> Floats:
        if self._units is not None:
            values = read_values(path)
            if values.dtype != np.uint16:
                raise DataFileError(
                    f"{path}: holds {values.dtype}; expected a depth PNG of 16 bits, or .npy in metres."
                )
            return values.astype(np.float32)
        array = read_array(path)
        array = array[0] if array.ndim == 3 and len(array) == 1 else array
        if array.ndim != 2:
            raise DataFileError(f"{path}: has the shape {array.shape}; expected one depth per pixel (height, width).")
        return array.astype(np.float32)


def _listed(values: Iterable[int]) -> str:
    return ", ".join(str(value) for value in sorted(values))
