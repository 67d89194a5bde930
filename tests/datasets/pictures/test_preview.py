"""One label drawn over its image: a label lies where its objects are, and what is not annotated looks like nothing."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from fmtl_datasets.pictures.preview import class_colour, image_picture, label_caption, label_picture, shown_classes
from fmtl_datasets.shared.conventions import TASKS
from fmtl_datasets.shared.objects import Instances, PanopticSegments
from fmtl_datasets.sources.procedural import ProceduralScenes

GREY = [128, 128, 128]
Pixels = npt.NDArray[np.uint8]


def drawn(task: str, label: Any, *, size: tuple[int, int], names: tuple[str, ...] = ()) -> Pixels:
    """The label over a mid-grey image of a size (height, width)."""
    grey = torch.full((3, *size), 100, dtype=torch.uint8)
    return label_picture(task, label, grey, {task: names} if names else {}).permute(1, 2, 0).numpy()


def objects(box: tuple[int, int, int, int], *, crowd: bool = False, keypoints: Any = None) -> Instances:
    """One object, a filled box in an image of 40 x 60 pixels."""
    mask = torch.zeros(1, 40, 60, dtype=torch.bool)
    mask[0, box[1] : box[3], box[0] : box[2]] = True
    return Instances(
        size=(40, 60),
        boxes=torch.tensor([box], dtype=torch.float32),
        classes=torch.zeros(1, dtype=torch.int64),
        areas=mask.sum((1, 2)).float(),
        crowd=torch.tensor([crowd]),
        masks=None if keypoints is not None else mask,
        keypoints=keypoints,
    )


@pytest.mark.parametrize("size", [(32, 48), (80, 120), (13, 20)])
def test_every_label_is_drawn_at_the_size_of_its_picture(size: tuple[int, int]) -> None:
    sample = ProceduralScenes(TASKS, domain="indoor", indices=[0], size=(32, 48))[0]
    picture = image_picture(sample["image"], size)
    for task in TASKS:
        assert label_picture(task, sample[task], picture, {}).shape == (3, *size)
        assert label_caption(task, sample[task])


def test_image_at_its_own_size_is_unchanged() -> None:
    image = torch.arange(3 * 4 * 5, dtype=torch.uint8).reshape(3, 4, 5)
    assert torch.equal(image_picture(image, (4, 5)), image)


def test_classes_have_colours_of_their_own_and_ignored_pixels_are_grey() -> None:
    label = torch.full((12, 36), 255, dtype=torch.uint8)
    label[:, 12:24], label[:, 24:] = 3, 4
    picture = drawn("semseg", label, size=(12, 36))
    ignored = picture[2:10, 2:10].reshape(-1, 3).astype(int)
    assert (np.ptp(ignored, axis=1) == 0).all()
    assert (np.abs(ignored - GREY) < 10).all()
    for column, index in ((18, 3), (30, 4)):
        expected = 0.3 * 100 + 0.7 * np.array(class_colour(index))
        assert np.abs(picture[6, column] - expected).max() <= 1


def test_boundary_is_drawn_where_the_class_changes_and_nowhere_else() -> None:
    label = torch.zeros(20, 20, dtype=torch.uint8)
    label[:, 10:] = 1
    white = (drawn("semseg", label, size=(20, 20)) == 255).all(axis=2)
    assert white.any(axis=0).nonzero()[0].tolist() == [10]


def test_background_class_stays_dark_where_the_names_say_so() -> None:
    label = torch.zeros(8, 8, dtype=torch.uint8)
    assert drawn("parts", label, size=(8, 8), names=("background", "head"))[4, 4].max() < 60
    assert np.ptp(drawn("semseg", label, size=(8, 8), names=("wall", "floor"))[4, 4].astype(int)) > 60


def test_invalid_depth_and_normals_are_black_and_near_is_bright() -> None:
    depth = drawn("depth", torch.tensor([[[0.0, 1.0], [2.0, 4.0]]]), size=(2, 2))
    assert depth[..., 0].tolist() == [[0, 255], [128, 64]]
    normals = torch.zeros(3, 2, 2)
    normals[:, 0, 0] = torch.tensor([0.0, 0.0, -1.0])
    normals[:, 0, 1] = torch.tensor([0.0, -1.0, 0.0])
    facing, up = drawn("normals", normals, size=(2, 2))[0]
    assert (facing[2], up[1]) == (255, 255), "towards the camera is blue, upwards is green"
    assert not drawn("normals", normals, size=(2, 2))[1].any()


def test_line_one_pixel_wide_survives_a_smaller_picture() -> None:
    label = torch.zeros(120, 160, dtype=torch.uint8)
    label[:, 77] = 1
    yellow = drawn("edge", label, size=(30, 40))
    assert (yellow[:, 77 * 40 // 160] == (255, 220, 40)).all()
    assert (yellow[:, 25:] < 60).all()


def test_probability_is_fainter_than_certainty() -> None:
    certain = drawn("edge", torch.ones(4, 4), size=(4, 4)).astype(int)[2, 2]
    likely = drawn("edge", torch.full((4, 4), 0.5), size=(4, 4)).astype(int)[2, 2]
    none = drawn("edge", torch.zeros(4, 4, dtype=torch.uint8), size=(4, 4)).astype(int)[2, 2]
    assert certain.sum() > likely.sum() > none.sum()


def test_mask_and_box_lie_on_the_object_at_twice_the_size() -> None:
    picture = drawn("instance", objects((20, 10, 40, 30)), size=(80, 120)).astype(int)
    coloured = np.ptp(picture, axis=2) > 20
    coloured[:21] = False  # the name stands above the box
    rows, columns = coloured.nonzero()
    assert (rows.min(), columns.min(), rows.max(), columns.max()) == (21, 40, 59, 79)
    assert coloured[40:58, 42:78].all()


def test_crowd_is_faint_and_has_no_box() -> None:
    filled = drawn("instance", objects((20, 10, 40, 30)), size=(80, 120)).astype(int)[40:58, 42:78]
    faint = drawn("instance", objects((20, 10, 40, 30), crowd=True), size=(80, 120)).astype(int)[21:]
    assert np.ptp(filled, axis=2).min() > 2 * np.ptp(faint, axis=2).max() > 0


def test_keypoint_lies_in_the_middle_of_its_pixel_and_is_smaller_where_occluded() -> None:
    keypoints = torch.zeros(1, 17, 3)
    keypoints[0, 5] = torch.tensor([10.0, 20.0, 2.0])
    keypoints[0, 6] = torch.tensor([30.0, 20.0, 1.0])
    picture = drawn("keypoints", objects((5, 5, 45, 35), keypoints=keypoints), size=(400, 600)).astype(int)
    left, right = ((picture == colour).all(axis=2).nonzero() for colour in ((255, 150, 40), (70, 170, 255)))
    for (rows, columns), column in ((left, 104.5), (right, 304.5)):
        assert abs(rows.mean() - 204.5) <= 0.5
        assert abs(columns.mean() - column) <= 0.5
    assert len(left[0]) > len(right[0]), "an occluded keypoint is smaller"


def test_panoptic_segments_of_one_class_share_a_colour_and_have_a_line_between_them() -> None:
    ids = torch.zeros(20, 30, dtype=torch.int32)
    ids[:, 10:20], ids[:, 20:] = 7, 9
    no_crowd = torch.zeros(2, dtype=torch.bool)
    segments = PanopticSegments(ids, torch.tensor([7, 9]), torch.tensor([2, 2]), no_crowd)
    picture = drawn("panoptic", segments, size=(20, 30))
    assert (np.abs(picture[10, :9].astype(int) - GREY) < 10).all()
    assert picture[10, 15].tolist() == picture[10, 25].tolist() != picture[10, 5].tolist()
    assert picture[10, 20].tolist() == [255, 255, 255]
    assert shown_classes("panoptic", segments)[[2, 255]].tolist() == [400, 200]


@pytest.mark.parametrize("task", ["instance", "keypoints"])
def test_image_without_objects_is_drawn(task: str) -> None:
    empty = objects((20, 10, 40, 30)).select(torch.zeros(1, dtype=torch.bool))
    assert drawn(task, empty, size=(40, 60)).shape == (40, 60, 3)
    assert label_caption(task, empty).startswith("0 ")


def test_captions_say_what_is_there() -> None:
    depth = torch.tensor([[[0.0, 1.0], [2.0, 4.0]]])
    assert label_caption("depth", depth) == "1 to 4 m, 75.0% valid"
    assert label_caption("depth", depth * 0) == "nothing valid"
    assert label_caption("semseg", torch.tensor([[255, 3], [3, 4]], dtype=torch.uint8)) == "2 classes, 25% ignored"
    assert label_caption("semseg", torch.full((2, 2), 255, dtype=torch.uint8)) == "all ignored"
    assert label_caption("instance", objects((0, 0, 5, 5), crowd=True)) == "1 object, 1 crowd"


def test_neighbouring_classes_are_told_apart() -> None:
    colours = np.array([class_colour(index) for index in range(40)], dtype=int)
    distance = np.abs(colours[:, None] - colours[None]).sum(axis=2) + 999 * np.eye(40, dtype=int)
    assert np.diagonal(distance, 1).min() > 100
    assert distance.min() > 10
