"""Masks of COCO files: run lengths and polygons, checked before pycocotools' C code sees them."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from pycocotools import mask as pycocotools_mask

Integers = npt.NDArray[np.int64]

_FIRST_CHARACTER = 48
_CHARACTERS = 64
_CONTINUES = 0x20
_SIGN = 0x10
_BITS = 5


class MaskError(ValueError):
    """A segmentation of a COCO file is none; the message says why, without the file."""


def compressed_mask(segmentation: Any, size: tuple[int, int]) -> bytes:
    """Return a mask as COCO's compressed run lengths.

    Args:
        segmentation: of a COCO file: {size, counts} with compressed or plain counts, or a list of polygons.
        size: height and width of the image in pixels.

    Raises:
        MaskError: it is something else, of another size, or its runs do not fill the image.
    """
    if isinstance(segmentation, dict):
        return _from_runs(segmentation, size)
    if isinstance(segmentation, list):
        return _from_polygons(segmentation, size)
    raise MaskError(f"is {type(segmentation).__name__}; expected run lengths {{size, counts}} or a list of polygons")


def mask_area(mask: bytes, size: tuple[int, int]) -> int:
    """Return the pixels of a compressed mask."""
    return int(pycocotools_mask.area({"size": list(size), "counts": mask}))


def mask_box(mask: bytes, size: tuple[int, int]) -> list[float]:
    """Return left, top, width and height of a compressed mask."""
    box: list[float] = pycocotools_mask.toBbox({"size": list(size), "counts": mask}).tolist()
    return box


def runs(counts: bytes) -> Integers:
    """Return the lengths of the runs of zeros and ones, in turn, that compressed counts stand for.

    A length is written in groups of five bits, lowest first, in characters from "0" on whose sixth bit says that
    another follows; from the fourth on it is written as the difference to the length before the last (maskApi.c of the
    COCO API).

    Raises:
        MaskError: other characters, or the last group is cut off.
    """
    codes = np.frombuffer(counts, dtype=np.uint8).astype(np.int64) - _FIRST_CHARACTER
    if len(codes) == 0:
        return codes
    if codes.min() < 0 or codes.max() >= _CHARACTERS:
        raise MaskError("has counts with characters that compressed run lengths do not use")
    last = (codes & _CONTINUES) == 0
    if not last[-1]:
        raise MaskError("has counts that end in the middle of a number")
    ends = np.flatnonzero(last)
    starts = np.concatenate([[0], ends[:-1] + 1])
    digits = ends - starts + 1
    if digits.max() > 10:
        raise MaskError("has counts with a number that is too large")
    place = np.arange(len(codes)) - np.repeat(starts, digits)
    lengths = np.add.reduceat((codes & (_CONTINUES - 1)) << (_BITS * place), starts)
    lengths -= ((codes[ends] & _SIGN) != 0) * (np.int64(1) << (_BITS * digits))
    lengths[2::2] = np.cumsum(lengths[2::2])
    lengths[1::2] = np.cumsum(lengths[1::2])
    return np.asarray(lengths, dtype=np.int64)


def _from_runs(segmentation: dict[str, Any], size: tuple[int, int]) -> bytes:
    found, counts = segmentation.get("size"), segmentation.get("counts")
    if found != list(size):
        raise MaskError(f"has the size {found}, but the image has {list(size)} (height, width)")
    if isinstance(counts, str):
        try:
            compressed = counts.encode("ascii")
        except UnicodeEncodeError:
            raise MaskError("has counts with characters that compressed run lengths do not use") from None
        _check_runs(runs(compressed), size)
        return compressed
    # The bound keeps the sum within 64 bits, whatever the file says.
    if isinstance(counts, list) and all(type(count) is int and abs(count) < 2**31 for count in counts):
        _check_runs(np.array(counts, dtype=np.int64), size)
        return bytes(pycocotools_mask.frPyObjects({"size": found, "counts": counts}, *size)["counts"])
    raise MaskError("has no counts; expected a text of compressed run lengths or a list of whole numbers")


def _check_runs(lengths: Integers, size: tuple[int, int]) -> None:
    if (lengths < 0).any() or lengths.sum() != size[0] * size[1]:
        raise MaskError(f"has runs of {lengths.sum()} pixels in total, but the image has {size[0] * size[1]}")


def _from_polygons(polygons: list[Any], size: tuple[int, int]) -> bytes:
    for polygon in polygons:
        if not isinstance(polygon, list) or len(polygon) < 6 or len(polygon) % 2:
            raise MaskError("has a polygon that is no list of at least three points x, y")
        if not all(isinstance(value, int | float) for value in polygon) or not np.isfinite(polygon).all():
            raise MaskError("has a polygon with a value that is not a finite number")
    if not polygons:
        raise MaskError("is empty; expected run lengths {size, counts} or a list of polygons")
    return bytes(pycocotools_mask.merge(pycocotools_mask.frPyObjects(polygons, *size))["counts"])
