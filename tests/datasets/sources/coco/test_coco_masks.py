"""Masks from polygons and run lengths: as pycocotools decodes them, and refused where it would read stray memory."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from fmtl_datasets.sources.coco.masks import SegmentationError, decode_segmentation
from hypothesis import given, settings
from hypothesis import strategies as st
from pycocotools import mask as coco_masks
from tiny_coco import run_lengths

Mask = npt.NDArray[np.uint8]


@st.composite
def masks(draw: st.DrawFn) -> Mask:
    height, width = draw(st.integers(1, 40)), draw(st.integers(1, 40))
    generator = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    blocks = generator.random((height, width)) < draw(st.sampled_from([0.0, 0.03, 0.5, 0.97, 1.0]))
    return blocks.astype(np.uint8)


@settings(max_examples=150, deadline=None)
@given(masks())
def test_compressed_and_plain_run_lengths_give_the_mask_that_was_encoded(mask: Mask) -> None:
    size = (mask.shape[0], mask.shape[1])
    text = coco_masks.encode(np.asfortranarray(mask))["counts"].decode("ascii")
    for counts in (text, run_lengths(mask.astype(bool))):
        decoded = decode_segmentation({"size": list(size), "counts": counts}, size)
        assert (decoded.dtype, decoded.shape) == (np.uint8, size)
        assert np.array_equal(decoded, mask)


def test_run_lengths_of_large_images_are_decoded() -> None:
    mask = np.zeros((3000, 2500), dtype=np.uint8)
    mask[2999, 2400:], mask[17, 3] = 1, 1
    text = coco_masks.encode(np.asfortranarray(mask))["counts"].decode("ascii")
    assert np.array_equal(decode_segmentation({"size": [3000, 2500], "counts": text}, (3000, 2500)), mask)


def test_an_axis_parallel_polygon_covers_its_pixels_and_several_are_joined() -> None:
    mask = decode_segmentation([[2, 1, 6, 1, 6, 4, 2, 4], [0, 0, 2, 0, 2, 1, 0, 1]], (5, 8))
    expected = np.zeros((5, 8), dtype=np.uint8)
    expected[1:4, 2:6], expected[0, 0:2] = 1, 1
    assert np.array_equal(mask, expected)


def test_polygons_without_an_area_cover_nothing() -> None:
    assert decode_segmentation([[1, 1, 3, 3], [2, 2], []], (5, 5)).sum() == 0
    assert decode_segmentation([], (5, 5)).shape == (5, 5)
    square = [1, 1, 3, 1, 3, 3, 1, 3]
    assert decode_segmentation([[1, 1, 4, 4], square], (5, 5)).sum() == 4


@pytest.mark.parametrize("cut", [0, 10, -3, -1])
def test_run_lengths_that_end_too_early_are_refused(cut: int) -> None:
    mask = np.zeros((40, 50), dtype=np.uint8)
    mask[5:20, 7:30] = 1
    text = coco_masks.encode(np.asfortranarray(mask))["counts"].decode("ascii")
    with pytest.raises(SegmentationError):
        decode_segmentation({"size": [40, 50], "counts": text[:cut]}, (40, 50))


@pytest.mark.parametrize(
    ("segmentation", "reason"),
    [
        (None, "neither a list of polygons"),
        ("abc", "neither a list of polygons"),
        ({"size": [4, 5]}, "neither a list of polygons"),
        ({"size": [5, 4], "counts": [20]}, r"for \[5, 4\] pixels, its image has \[4, 5\]"),
        ({"size": [4, 5], "counts": [10, 9]}, "cover 19 pixels, its image has 20"),
        ({"size": [4, 5], "counts": [30, -10]}, "cover 20 pixels"),
        ({"size": [4, 5], "counts": [1.5, 18.5]}, "whole numbers"),
        ({"size": [4, 5], "counts": []}, "cover 0 pixels"),
        ({"size": [4, 5], "counts": None}, "whole numbers"),
        ({"size": [4, 5], "counts": "\u00e9\u00e9"}, "not the text of compressed"),
        ({"size": [4, 5], "counts": "oooooooooooooooooooo0"}, "longer than any image"),
        ([[1, 2, 3]], "pairs x, y"),
        ([1, 2, 3, 4, 5, 6], "pairs x, y"),
        ([[1, 2, float("nan"), 4, 5, 6]], "leaves its image"),
        ([[1, 2, 1e9, 4, 5, 6]], "leaves its image"),
        ([[1, 2, "3", {}, 5, 6]], "no number"),
    ],
)
def test_damaged_segmentations_are_refused_with_the_reason(segmentation: object, reason: str) -> None:
    with pytest.raises(SegmentationError, match=reason):
        decode_segmentation(segmentation, (4, 5))
