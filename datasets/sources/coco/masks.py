"""Masks from the three ways in which COCO writes them: polygons, run lengths, compressed run lengths.

faster-coco-eval draws polygons and compresses. Run lengths are decoded and checked here before its C code sees them,
because like pycocotools it leaves memory as it was where the runs of a damaged file end too early.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from faster_coco_eval.core import mask as coco_masks
from fmtl_datasets.sources.coco.format import Segmentation

Mask = npt.NDArray[np.uint8]
Size = tuple[int, int]
Runs = npt.NDArray[np.int64]

MIN_POLYGON = 6
"""Numbers of a polygon with an area; what is shorter encloses no pixel."""


class SegmentationError(ValueError):
    """A segmentation that is none; the message says why and is completed by whoever knows the annotation."""


def draw_mask(segmentation: Segmentation, size: Size) -> Mask:
    """Draw a mask.

    Args:
        segmentation: polygons or run lengths.
        size: height and width of the image in pixels.

    Returns:
        (h, w) uint8, 1 on the object.

    Raises:
        SegmentationError: it is damaged or of another size.
    """
    runs = run_lengths(segmentation, size)
    values = (np.arange(len(runs)) % 2).astype(np.uint8)
    return np.repeat(values, runs).reshape(size[1], size[0]).T


def compressed_mask(segmentation: Segmentation, size: Size) -> bytes:
    """Return a mask as COCO's compressed run lengths; arguments and errors as in `draw_mask`."""
    runs = run_lengths(segmentation, size).tolist()
    return bytes(coco_masks.frPyObjects({"size": list(size), "counts": runs}, *size)["counts"])


def run_lengths(segmentation: Segmentation, size: Size) -> Runs:
    """Return the lengths of the runs of zeros and ones, in turn, down the columns of a mask.

    They are known to fill the image. Arguments and errors as in `draw_mask`.
    """
    if isinstance(segmentation, list):
        return _polygons(segmentation, size)
    if segmentation.size != size:
        raise SegmentationError(
            f"its segmentation is for {list(segmentation.size)} pixels, its image has {list(size)} (height, width)"
        )
    counts = segmentation.counts
    runs = _decompressed(counts) if isinstance(counts, str) else np.array(counts, dtype=np.int64)
    if len(runs) == 0 or runs.min() < 0 or runs.sum() != size[0] * size[1]:
        raise SegmentationError(
            f"the runs of its segmentation cover {int(runs.sum())} pixels, its image has {size[0] * size[1]}"
        )
    return runs


def _polygons(polygons: list[list[float]], size: Size) -> Runs:
    height, width = size
    for polygon in polygons:
        if len(polygon) % 2:
            raise SegmentationError(f"a polygon of its segmentation is no list of pairs x, y: it has {len(polygon)}")
        # The library takes memory in proportion to the coordinates, without a limit.
        if not all(abs(value) <= 2 * max(height, width) for value in polygon):
            raise SegmentationError(f"a polygon of its segmentation leaves its image of {height} x {width} pixels")
    kept = [polygon for polygon in polygons if len(polygon) >= MIN_POLYGON]
    if not kept:
        return np.array([height * width], dtype=np.int64)
    drawn = coco_masks.merge(coco_masks.frPyObjects(kept, height, width))
    return _decompressed(drawn["counts"].decode("ascii"))


def _decompressed(text: str) -> Runs:
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
    return np.asarray(numbers, dtype=np.int64)
