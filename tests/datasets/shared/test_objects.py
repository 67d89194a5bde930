"""Labels made of objects: geometry against drawings pixel by pixel, against pycocotools, and against itself."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import pytest
import torch
from fmtl_datasets.shared.objects import COCO_FLIP, Instances, PanopticSegments
from fmtl_datasets.sources.procedural import KEYPOINT_NAMES
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pycocotools import mask as coco_masks
from torch import Tensor

Draw = Callable[[st.SearchStrategy[int]], int]
Mask = npt.NDArray[np.bool_]
quick = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])


def tight(mask: Mask) -> list[float]:
    """Left, top, right, bottom of the pixels of a mask, found one by one."""
    pixels = [(x, y) for y in range(mask.shape[0]) for x in range(mask.shape[1]) if mask[y, x]]
    if not pixels:
        return [0, 0, 0, 0]
    columns, rows = [x for x, _ in pixels], [y for _, y in pixels]
    return [min(columns), min(rows), max(columns) + 1, max(rows) + 1]


def from_masks(masks: Mask, keypoints: Tensor | None = None) -> Instances:
    n = len(masks)
    return Instances(
        size=(masks.shape[1], masks.shape[2]),
        boxes=torch.tensor([tight(mask) for mask in masks], dtype=torch.float32).reshape(n, 4),
        classes=torch.arange(n),
        areas=torch.from_numpy(masks.sum((1, 2))).float(),
        crowd=torch.arange(n) % 2 == 1,
        masks=torch.from_numpy(masks),
        keypoints=keypoints,
    )


@st.composite
def instances(draw: Draw) -> Instances:
    """Up to four objects with arbitrary masks of at least one pixel and arbitrary keypoints inside the image."""
    height, width, n = draw(st.integers(1, 12)), draw(st.integers(1, 12)), draw(st.integers(0, 4))
    generator = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    masks = generator.random((n, height, width)) < generator.uniform(0, 1, (n, 1, 1))
    for mask in masks:
        mask[generator.integers(height), generator.integers(width)] = True
    points = np.stack(
        [
            generator.integers(0, width, (n, 17)),
            generator.integers(0, height, (n, 17)),
            generator.integers(0, 3, (n, 17)),
        ],
        axis=-1,
    ).astype(np.float32)
    points[points[..., 2] == 0] = 0
    return from_masks(masks, torch.from_numpy(points))


@st.composite
def panoptic(draw: Draw) -> PanopticSegments:
    """Arbitrary segments with large numbers, some of them crowds, and void pixels."""
    height, width, s = draw(st.integers(1, 10)), draw(st.integers(1, 10)), draw(st.integers(0, 5))
    generator = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    numbers = generator.choice(2**24 - 1, s, replace=False) + 1
    ids = np.concatenate([[0], numbers])[generator.integers(0, s + 1, (height, width))]
    numbers = numbers[np.isin(numbers, ids)]
    return PanopticSegments(
        ids=torch.from_numpy(ids.astype(np.int32)),
        segment_ids=torch.from_numpy(numbers.astype(np.int64)),
        classes=torch.from_numpy(generator.integers(0, 6, len(numbers))),
        crowd=torch.from_numpy(generator.random(len(numbers)) < 0.3),
    )


def assert_equal(first: Instances | PanopticSegments, second: Instances | PanopticSegments) -> None:
    assert first.size == second.size
    for name, value in vars(first).items():
        if isinstance(value, Tensor):
            assert value.dtype == vars(second)[name].dtype, name
            assert torch.equal(value, vars(second)[name]), name


def test_keypoints_change_sides_by_their_names() -> None:
    def mirrored(name: str) -> str:
        side, _, joint = name.rpartition("_")
        return {"left": f"right_{joint}", "right": f"left_{joint}"}.get(side, name)

    assert [KEYPOINT_NAMES[place] for place in COCO_FLIP] == [mirrored(name) for name in KEYPOINT_NAMES]


@quick
@given(instances())
def test_flip_mirrors_every_pixel_box_and_keypoint(label: Instances) -> None:
    flipped, (height, width) = label.flipped(), label.size
    for k in range(len(label)):
        drawn = np.zeros((height, width), dtype=bool)
        for y in range(height):
            for x in range(width):
                drawn[y, width - 1 - x] = label.masks[k, y, x]
        assert np.array_equal(flipped.masks[k].numpy(), drawn)
        assert flipped.boxes[k].tolist() == tight(drawn)
        for place, (x, y, visible) in enumerate(label.keypoints[k].tolist()):
            expected = [width - 1 - x, y, visible] if visible else [0, 0, 0]
            assert flipped.keypoints[k, COCO_FLIP.index(place)].tolist() == expected
    assert torch.equal(flipped.areas, label.areas)
    assert_equal(flipped.flipped(), label)


@quick
@given(instances(), st.data())
def test_crop_keeps_the_pixels_of_the_window_and_drops_what_is_outside(label: Instances, data: st.DataObject) -> None:
    top, left = data.draw(st.integers(0, label.size[0] - 1)), data.draw(st.integers(0, label.size[1] - 1))
    height, width = data.draw(st.integers(1, label.size[0] - top)), data.draw(st.integers(1, label.size[1] - left))
    cropped = label.cropped(top, left, height, width)
    assert cropped.size == (height, width)
    kept = 0
    for k in range(len(label)):
        window = label.masks[k].numpy()[top : top + height, left : left + width]
        if not window.any():
            continue
        assert cropped.classes[kept] == k
        assert np.array_equal(cropped.masks[kept].numpy(), window)
        assert cropped.boxes[kept].tolist() == tight(window)
        assert cropped.areas[kept] == pytest.approx(window.sum())
        for (x, y, visible), point in zip(label.keypoints[k].tolist(), cropped.keypoints[kept].tolist(), strict=True):
            inside = visible and left <= x < left + width and top <= y < top + height
            assert point == ([x - left, y - top, visible] if inside else [0, 0, 0])
        kept += 1
    assert kept == len(cropped)


def test_box_of_an_object_that_is_not_cut_stays_as_annotated() -> None:
    masks = np.zeros((1, 8, 8), dtype=bool)
    masks[0, 2:5, 2:6] = True
    label = from_masks(masks)
    annotated = Instances(**{**vars(label), "boxes": torch.tensor([[1.6, 1.8, 6.2, 5.3]])})
    assert torch.allclose(annotated.cropped(1, 1, 6, 6).boxes, torch.tensor([[0.6, 0.8, 5.2, 4.3]]))
    assert annotated.cropped(1, 3, 6, 5).boxes.tolist() == [[0, 1, 3, 4]]


def test_crop_without_masks_cuts_boxes_and_areas_and_drops_what_is_outside() -> None:
    label = Instances(
        size=(10, 10),
        boxes=torch.tensor([[0.0, 0.0, 4.0, 4.0], [2.0, 2.0, 8.0, 6.0], [6.0, 6.0, 9.0, 9.0]]),
        classes=torch.tensor([0, 1, 2]),
        areas=torch.tensor([16.0, 20.0, 5.0]),
        crowd=torch.tensor([False, True, False]),
    )
    cropped = label.cropped(0, 4, 6, 6)
    assert cropped.classes.tolist() == [1]
    assert cropped.boxes.tolist() == [[0, 2, 4, 6]]
    assert cropped.areas.tolist() == pytest.approx([20 * 16 / 24])
    assert cropped.crowd.tolist() == [True]
    assert cropped.masks is None


@quick
@given(instances(), st.integers(0, 3), st.integers(0, 3), st.integers(0, 3), st.integers(0, 3))
def test_padding_moves_everything_and_cropping_undoes_it(
    label: Instances, top: int, left: int, below: int, after: int
) -> None:
    size = (label.size[0] + top + below, label.size[1] + left + after)
    padded = label.padded(top, left, size)
    assert padded.size == size
    for k in range(len(label)):
        assert padded.boxes[k].tolist() == tight(padded.masks[k].numpy())
        assert padded.masks[k].sum() == label.masks[k].sum()
        for before, point in zip(label.keypoints[k].tolist(), padded.keypoints[k].tolist(), strict=True):
            assert point == ([before[0] + left, before[1] + top, before[2]] if before[2] else [0, 0, 0])
    assert_equal(padded.cropped(top, left, *label.size), label)


@quick
@given(instances(), st.integers(1, 4), st.integers(1, 4))
def test_whole_enlargement_repeats_every_pixel(label: Instances, down: int, across: int) -> None:
    enlarged = label.resized((label.size[0] * down, label.size[1] * across))
    for k in range(len(label)):
        drawn = np.kron(label.masks[k].numpy(), np.ones((down, across), dtype=bool))
        assert np.array_equal(enlarged.masks[k].numpy(), drawn)
        assert enlarged.boxes[k].tolist() == tight(drawn)
        assert enlarged.areas[k] == drawn.sum()
        for (x, y, visible), point in zip(label.keypoints[k].tolist(), enlarged.keypoints[k].tolist(), strict=True):
            block = [x * across + (across - 1) / 2, y * down + (down - 1) / 2, visible]
            assert point == (block if visible else [0, 0, 0])
    assert_equal(enlarged.resized(label.size), label)


@quick
@given(instances(), st.integers(1, 20), st.integers(1, 20))
def test_resized_mask_shows_what_lies_under_the_centre_of_each_pixel(label: Instances, height: int, width: int) -> None:
    resized = label.resized((height, width))
    assert resized.masks.shape == (len(label), height, width)
    for k in range(len(label)):
        for y in range(height):
            for x in range(width):
                row = (2 * y + 1) * label.size[0] // (2 * height)
                column = (2 * x + 1) * label.size[1] // (2 * width)
                assert resized.masks[k, y, x] == label.masks[k, row, column]


def test_object_that_vanishes_when_made_smaller_keeps_its_box_until_it_is_cropped() -> None:
    masks = np.zeros((1, 30, 30), dtype=bool)
    masks[0, 0, 0] = True
    small = from_masks(masks).resized((3, 3))
    assert not small.masks.any()
    assert small.boxes[0].tolist() == pytest.approx([0, 0, 0.1, 0.1])
    assert small.areas.tolist() == pytest.approx([0.01])
    assert len(small.cropped(0, 0, 3, 3)) == 0


def test_keypoints_at_the_border_of_the_image_stay_inside() -> None:
    points = torch.zeros(1, 17, 3)
    points[0, 0] = torch.tensor([0.0, 0.0, 2.0])
    points[0, 1] = torch.tensor([9.0, 5.0, 1.0])
    label = from_masks(np.ones((1, 6, 10), dtype=bool), points)
    assert label.flipped().keypoints[0, 0].tolist() == [9, 0, 2]
    assert label.flipped().keypoints[0, 2].tolist() == [0, 5, 1]
    assert label.cropped(0, 0, 6, 10).keypoints.tolist() == points.tolist()
    enlarged = label.resized((12, 20)).keypoints
    assert (enlarged[0, 0].tolist(), enlarged[0, 1].tolist()) == ([0.5, 0.5, 2], [18.5, 10.5, 1])
    assert label.resized((12, 20)).cropped(0, 0, 12, 20).keypoints.tolist() == enlarged.tolist()
    assert label.cropped(0, 1, 6, 8).keypoints.abs().sum() == 0


@quick
@given(instances())
def test_areas_and_boxes_of_masks_agree_with_pycocotools(label: Instances) -> None:
    for moved in (label.flipped(), label.padded(2, 1, (15, 16)), label.resized((36, label.size[1] * 2))):
        if moved.size[0] == 36 and 36 % label.size[0]:
            continue
        for mask, box, area in zip(moved.masks.numpy(), moved.boxes.tolist(), moved.areas.tolist(), strict=True):
            encoded = coco_masks.encode(np.asfortranarray(mask.astype(np.uint8)))
            left, top, width, height = coco_masks.toBbox(encoded).tolist()
            assert area == pytest.approx(float(coco_masks.area(encoded)))
            assert box == pytest.approx([left, top, left + width, top + height])


@quick
@given(instances(), st.data())
def test_selection_takes_all_parts_of_the_same_objects(label: Instances, data: st.DataObject) -> None:
    keep = data.draw(st.lists(st.booleans(), min_size=len(label), max_size=len(label)))
    chosen = label.select(torch.tensor(keep, dtype=torch.bool))
    places = [place for place, kept in enumerate(keep) if kept]
    assert chosen.classes.tolist() == places
    assert_equal(chosen, label.select(torch.tensor(places, dtype=torch.int64)))
    for name in ("boxes", "areas", "crowd", "masks", "keypoints"):
        assert getattr(chosen, name).tolist() == [getattr(label, name)[place].tolist() for place in places], name


def test_copies_share_no_memory() -> None:
    label = from_masks(np.ones((2, 3, 3), dtype=bool), torch.ones(2, 17, 3))
    segments = PanopticSegments(torch.ones(2, 2).int(), torch.tensor([1]), torch.tensor([4]), torch.tensor([True]))
    for original in (label, segments):
        copy = original.clone()
        assert_equal(copy, original)
        for value in vars(copy).values():
            if isinstance(value, Tensor):
                value.zero_()
        assert all(value.any() for value in vars(original).values() if isinstance(value, Tensor))
        assert_equal(original.to(torch.device("cpu")), original)


@quick
@given(panoptic(), st.sampled_from([-1, 99, 255]))
def test_class_map_is_found_pixel_by_pixel(label: PanopticSegments, ignore: int) -> None:
    known = {
        number: index
        for number, index, crowd in zip(
            label.segment_ids.tolist(), label.classes.tolist(), label.crowd.tolist(), strict=True
        )
        if not crowd
    }
    expected = [[known.get(number, ignore) for number in row] for row in label.ids.tolist()]
    assert label.class_map(ignore).tolist() == expected
    assert label.class_map(ignore).dtype == torch.int64


@quick
@given(panoptic(), st.integers(0, 6))
def test_things_are_the_segments_of_the_first_classes(label: PanopticSegments, num_things: int) -> None:
    things = label.things(num_things)
    expected = [place for place in range(len(label)) if label.classes[place] < num_things]
    assert things.classes.tolist() == [int(label.classes[place]) for place in expected]
    assert things.crowd.tolist() == [bool(label.crowd[place]) for place in expected]
    assert things.size == label.size
    assert len(things) == len(expected)
    for mask, box, area, place in zip(things.masks, things.boxes.tolist(), things.areas, expected, strict=True):
        drawn = label.ids.numpy() == int(label.segment_ids[place])
        assert np.array_equal(mask.numpy(), drawn)
        assert box == tight(drawn)
        assert area == drawn.sum()


@quick
@given(panoptic(), st.data())
def test_panoptic_segments_that_vanish_are_dropped_with_their_classes(
    label: PanopticSegments, data: st.DataObject
) -> None:
    top, left = data.draw(st.integers(0, label.size[0] - 1)), data.draw(st.integers(0, label.size[1] - 1))
    height, width = data.draw(st.integers(1, label.size[0] - top)), data.draw(st.integers(1, label.size[1] - left))
    cropped = label.cropped(top, left, height, width)
    assert cropped.ids.tolist() == [row[left : left + width] for row in label.ids.tolist()[top : top + height]]
    classes = dict(zip(label.segment_ids.tolist(), label.classes.tolist(), strict=True))
    crowd = dict(zip(label.segment_ids.tolist(), label.crowd.tolist(), strict=True))
    for changed in (cropped, label.resized((height, width))):
        assert set(changed.segment_ids.tolist()) == set(changed.ids.unique().tolist()) - {0}
        assert changed.classes.tolist() == [classes[number] for number in changed.segment_ids.tolist()]
        assert changed.crowd.tolist() == [crowd[number] for number in changed.segment_ids.tolist()]


@quick
@given(panoptic())
def test_panoptic_flip_and_padding_can_be_undone(label: PanopticSegments) -> None:
    assert label.flipped().ids.tolist() == [row[::-1] for row in label.ids.tolist()]
    assert_equal(label.flipped().flipped(), label)
    padded = label.padded(2, 1, (label.size[0] + 3, label.size[1] + 5))
    assert padded.ids.sum() == label.ids.sum()
    assert_equal(padded.cropped(2, 1, *label.size), label)
