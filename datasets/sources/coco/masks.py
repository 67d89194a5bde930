"""Masks from the three ways in which COCO writes them: polygons, run lengths, compressed run lengths.

pycocotools draws the polygons. Run lengths are decoded here, because it leaves memory as it was where the runs of a
damaged file end too early, and with it a mask of arbitrary values.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from pycocotools import mask as coco_masks

Mask = npt.NDArray[np.uint8]

MIN_POLYGON = 6
"""Numbers of a polygon with an area; what is shorter encloses no pixel."""


class SegmentationError(ValueError):
    """A segmentation that is none; the message says why and is completed by whoever knows the annotation."""


def decode_segmentation(segmentation: Any, size: tuple[int, int]) -> Mask:
    """Draw a mask.

    Args:
        segmentation: a list of polygons, or an object with ``size`` and ``counts``.
        size: height and width of the image in pixels.

    Returns:
        (h, w) uint8, 1 on the object.

    Raises:
        SegmentationError: it is damaged or of another size.
    """
    if isinstance(segmentation, list):
        return _polygons(segmentation, size)
    if not isinstance(segmentation, dict) or "counts" not in segmentation:
        raise SegmentationError("its segmentation is neither a list of polygons nor run lengths with size and counts")
    if list(segmentation.get("size", ())) != list(size):
        raise SegmentationError(
            f"its segmentation is for {segmentation.get('size')} pixels, its image has {list(size)} (height, width)"
        )
    counts = segmentation["counts"]
    return _from_runs(_decompressed(counts) if isinstance(counts, str) else _plain_runs(counts), size)


def _polygons(polygons: list[Any], size: tuple[int, int]) -> Mask:
    height, width = size
    kept = []
    for polygon in polygons:
        if not isinstance(polygon, list) or len(polygon) % 2:
            raise SegmentationError("a polygon of its segmentation is no list of pairs x, y")
        try:
            points = np.array(polygon, dtype=np.float64).reshape(-1, 2)
        except (ValueError, TypeError) as error:
            raise SegmentationError("a polygon of its segmentation holds something that is no number") from error
        # pycocotools takes memory in proportion to the coordinates, without a limit, and all of it for NaN.
        if not (np.isfinite(points).all() and (np.abs(points) <= 2 * max(height, width)).all()):
            raise SegmentationError(f"a polygon of its segmentation leaves its image of {height} x {width} pixels")
        if len(polygon) >= MIN_POLYGON:
            kept.append(polygon)
    if not kept:
        return np.zeros(size, dtype=np.uint8)
    drawn = coco_masks.merge(coco_masks.frPyObjects(kept, height, width))
    return _from_runs(_decompressed(drawn["counts"].decode("ascii")), size)


def _plain_runs(counts: Any) -> npt.NDArray[np.int64]:
    if not isinstance(counts, list) or not all(isinstance(count, int) for count in counts):
        raise SegmentationError("the counts of its segmentation are neither a text nor a list of whole numbers")
    return np.array(counts, dtype=np.int64)


def _decompressed(text: str) -> npt.NDArray[np.int64]:
    """Undo COCO's compression of run lengths.

    A number is written in groups of five bits, the lowest first, each as a character from '0' on; 32 is added where
    more groups follow, and the highest bit of the last group is the sign. From the fourth number on, the difference to
    the number two places before is written.

    Source: the file format of the COCO API (cocodataset.org), where it is called LEB128-like.
    """
    codes = np.frombuffer(text.encode("utf-8"), dtype=np.uint8).astype(np.int64) - 48
    if len(codes) == 0 or codes.min() < 0 or codes.max() > 63 or codes[-1] & 32:
        raise SegmentationError("the counts of its segmentation are not the text of compressed run lengths")
    is_last = (codes & 32) == 0
    starts = np.flatnonzero(np.concatenate([[True], is_last[:-1]]))
    lengths = np.diff(np.concatenate([starts, [len(codes)]]))
    if lengths.max() > 7:
        raise SegmentationError("the counts of its segmentation hold a run that is longer than any image")
    place = np.arange(len(codes)) - np.repeat(starts, lengths)
    numbers = np.add.reduceat((codes & 31) << (5 * place), starts)
    negative = (codes[is_last] & 16) > 0
    numbers -= negative.astype(np.int64) << (5 * lengths)
    numbers[1::2] = np.cumsum(numbers[1::2])
    numbers[2::2] = np.cumsum(numbers[2::2])
    return numbers


def _from_runs(runs: npt.NDArray[np.int64], size: tuple[int, int]) -> Mask:
    """Fill a mask down its columns: off, on, off and so forth."""
    height, width = size
    if len(runs) == 0 or runs.min() < 0 or runs.sum() != height * width:
        raise SegmentationError(
            f"the runs of its segmentation cover {int(runs.sum())} pixels, its image has {height * width}"
        )
    values = (np.arange(len(runs)) % 2).astype(np.uint8)
    return np.repeat(values, runs).reshape(width, height).T
