"""Masks from polygons and run lengths: as pycocotools draws them, and refused where it would read stray memory."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from fmtl_datasets.sources.coco.format import RunLengths, Segmentation
from fmtl_datasets.sources.coco.masks import SegmentationError, compressed_mask, draw_mask
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
        decoded = draw_mask(RunLengths(size, counts), size)
        assert compressed_mask(RunLengths(size, counts), size) == text.encode("ascii")
        assert (decoded.dtype, decoded.shape) == (np.uint8, size)
        assert np.array_equal(decoded, mask)


def test_run_lengths_of_large_images_are_decoded() -> None:
    mask = np.zeros((3000, 2500), dtype=np.uint8)
    mask[2999, 2400:], mask[17, 3] = 1, 1
    text = coco_masks.encode(np.asfortranarray(mask))["counts"].decode("ascii")
    assert np.array_equal(draw_mask(RunLengths((3000, 2500), text), (3000, 2500)), mask)


def test_an_axis_parallel_polygon_covers_its_pixels_and_several_are_joined() -> None:
    mask = draw_mask([[2, 1, 6, 1, 6, 4, 2, 4], [0, 0, 2, 0, 2, 1, 0, 1]], (5, 8))
    expected = np.zeros((5, 8), dtype=np.uint8)
    expected[1:4, 2:6], expected[0, 0:2] = 1, 1
    assert np.array_equal(mask, expected)


def test_polygons_without_an_area_cover_nothing() -> None:
    assert draw_mask([[1, 1, 3, 3], [2, 2], []], (5, 5)).sum() == 0
    assert draw_mask([], (5, 5)).shape == (5, 5)
    square = [1, 1, 3, 1, 3, 3, 1, 3]
    assert draw_mask([[1, 1, 4, 4], square], (5, 5)).sum() == 4


@pytest.mark.parametrize("cut", [0, 10, -3, -1])
def test_run_lengths_that_end_too_early_are_refused(cut: int) -> None:
    mask = np.zeros((40, 50), dtype=np.uint8)
    mask[5:20, 7:30] = 1
    text = coco_masks.encode(np.asfortranarray(mask))["counts"].decode("ascii")
    with pytest.raises(SegmentationError):
        draw_mask(RunLengths((40, 50), text[:cut]), (40, 50))


@pytest.mark.parametrize(
    "segmentation",
    [
        RunLengths((5, 4), [20]),
        RunLengths((4, 5), [10, 9]),
        RunLengths((4, 5), [30, -10]),
        RunLengths((4, 5), []),
        RunLengths((4, 5), ""),
        RunLengths((4, 5), "\u00e9\u00e9"),
        RunLengths((4, 5), "o" * 20 + "0"),
        [[1.0, 2.0, 3.0]],
        [[1.0, 2.0, float("nan"), 4.0, 5.0, 6.0]],
        [[1.0, 2.0, 1e9, 4.0, 5.0, 6.0]],
    ],
)
def test_what_would_make_the_library_read_or_take_stray_memory_is_refused(segmentation: Segmentation) -> None:
    with pytest.raises(SegmentationError, match="segmentation"):
        draw_mask(segmentation, (4, 5))


def test_polygons_are_drawn_as_pycocotools_draws_them() -> None:
    draw = np.random.default_rng(0)
    for _ in range(200):
        height, width = draw.integers(3, 120, 2).tolist()
        limit = 1.5 * max(height, width)
        polygons = [draw.uniform(-limit / 3, limit, 2 * int(draw.integers(3, 9))).tolist() for _ in range(2)]
        code = coco_masks.merge(coco_masks.frPyObjects(polygons, height, width))
        assert compressed_mask(polygons, (height, width)) == code["counts"]
