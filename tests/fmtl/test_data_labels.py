"""What is wrong with one label, whatever data set it comes from."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from fmtl_datasets.shared.conventions import PANOPTIC_THINGS, TASKS
from fmtl_datasets.shared.objects import Instances, PanopticSegments
from fmtl_datasets.sources.procedural import ProceduralScenes

from fmtl.data.labels import count_label, empty_count, image_problems, label_problems

SIZE = (20, 30)
CLASSES = {"semseg": 5, "parts": 7, "stuff": 3, "instance": 4, "panoptic": 6, PANOPTIC_THINGS: 4}


def kinds(task: str, label: Any) -> list[str]:
    return [kind for kind, _ in label_problems(task, label, SIZE, CLASSES)]


def one_object(**changes: Any) -> Instances:
    mask = torch.zeros(1, *SIZE, dtype=torch.bool)
    mask[0, 5:10, 5:15] = True
    label = Instances(
        size=SIZE,
        boxes=torch.tensor([[5.0, 5.0, 15.0, 10.0]]),
        classes=torch.tensor([1]),
        areas=torch.tensor([50.0]),
        crowd=torch.tensor([False]),
        masks=mask,
    )
    return replace(label, **changes)


def segments(**changes: Any) -> PanopticSegments:
    ids = torch.ones(SIZE, dtype=torch.int32)
    label = PanopticSegments(ids, torch.tensor([1]), torch.tensor([2]), torch.tensor([False]))
    return replace(label, **changes)


def test_labels_of_procedural_scenes_are_without_fault() -> None:
    scenes = ProceduralScenes(TASKS, domain="indoor", indices=range(3), size=(48, 64))
    for index in range(3):
        for task in TASKS:
            assert label_problems(task, scenes[index][task], (48, 64), scenes.num_classes) == []


@pytest.mark.parametrize(
    ("value", "expected"),
    [(0, []), (4, []), (5, ["wrong-values"]), (254, ["wrong-values"]), (255, ["all-ignored"])],
)
def test_class_beyond_the_count_is_wrong_and_255_is_ignored(value: int, expected: list[str]) -> None:
    assert kinds("semseg", torch.full(SIZE, value, dtype=torch.uint8)) == expected


def test_binary_label_with_another_value_is_wrong() -> None:
    label = torch.zeros(SIZE, dtype=torch.uint8)
    label[0, 0] = 128
    assert kinds("edge", label) == kinds("saliency", label) == ["wrong-values"]
    assert kinds("edge", label.float() / 255) == ["wrong-values"], "a probability is no label"


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (2.0, []),
        (0.0, ["all-ignored"]),
        (-1.0, ["wrong-values"]),
        (float("nan"), ["wrong-values"]),
        (2500.0, ["wrong-values"]),
        (120.0, ["suspicious-values"]),
    ],
)
def test_depth_is_finite_and_in_metres(value: float, expected: list[str]) -> None:
    assert kinds("depth", torch.full((1, *SIZE), value)) == expected


@pytest.mark.parametrize(
    ("normal", "expected"),
    [
        ((0.0, 0.0, -1.0), []),
        ((0.0, 0.0, 0.0), ["all-ignored"]),
        ((0.0, 0.0, -0.9), ["wrong-values"]),
        ((0.0, float("inf"), -1.0), ["wrong-values"]),
        ((0.0, 0.0, 1.0), ["suspicious-values"]),
    ],
)
def test_normals_are_unit_vectors_that_face_the_camera(normal: tuple[float, ...], expected: list[str]) -> None:
    assert kinds("normals", torch.tensor(normal)[:, None, None].expand(3, *SIZE)) == expected


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, []),
        ({"classes": torch.tensor([4])}, ["wrong-values"]),
        ({"classes": torch.tensor([-1])}, ["wrong-values"]),
        ({"boxes": torch.tensor([[15.0, 5.0, 5.0, 10.0]])}, ["wrong-values"]),
        ({"boxes": torch.tensor([[5.0, 5.0, 45.0, 10.0]])}, ["wrong-values"]),
        ({"boxes": torch.tensor([[float("nan"), 5.0, 15.0, 10.0]])}, ["wrong-values"]),
        ({"boxes": torch.tensor([[5.0, 5.0, 5.0, 10.0]])}, ["suspicious-values"]),
        ({"masks": torch.zeros(1, *SIZE, dtype=torch.bool)}, ["suspicious-values"]),
    ],
)
def test_objects_have_a_class_and_a_box_in_the_image(changes: dict[str, Any], expected: list[str]) -> None:
    assert kinds("instance", one_object(**changes)) == expected


def test_image_without_objects_is_well() -> None:
    empty = one_object().select(torch.tensor([False]))
    assert kinds("instance", empty) == kinds("keypoints", empty) == []


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, []),
        ({"classes": torch.tensor([6])}, ["wrong-values"]),
        ({"ids": torch.full(SIZE, 2, dtype=torch.int32)}, ["wrong-values"]),
        ({"ids": torch.zeros(SIZE, dtype=torch.int32)}, ["suspicious-values"]),
    ],
)
def test_panoptic_map_and_list_of_segments_agree(changes: dict[str, Any], expected: list[str]) -> None:
    assert kinds("panoptic", segments(**changes)) == expected


@pytest.mark.parametrize("task", ["semseg", "depth", "instance", "panoptic"])
def test_label_of_another_size_than_its_image_is_wrong(task: str) -> None:
    label = {
        "semseg": torch.zeros(SIZE, dtype=torch.uint8),
        "depth": torch.ones(1, *SIZE),
        "instance": one_object(),
        "panoptic": segments(),
    }[task]
    ((kind, what),) = label_problems(task, label, (20, 31), CLASSES)
    assert kind == "wrong-size"
    assert "20 x 30" in what
    assert "20 x 31" in what


def test_image_too_small_for_an_encoder_is_mentioned() -> None:
    assert image_problems((32, 32)) == []
    assert image_problems((31, 400))[0][0] == "tiny-image"


def test_objects_are_counted_by_class_with_crowds_apart() -> None:
    scenes = ProceduralScenes(TASKS, domain="outdoor", indices=range(4), size=(48, 64))
    label = scenes[0]["instance"]
    crowd = label.crowd.clone()
    crowd[0] = True
    counted = empty_count("instance", scenes.num_classes)
    for one in (label, replace(label, crowd=crowd)):
        counted.add(count_label("instance", one, scenes.num_classes))
    assert (int(counted.per_class.sum()), counted.left_out, counted.labelled) == (2 * len(label) - 1, 1, 2)
