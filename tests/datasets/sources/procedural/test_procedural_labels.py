"""The ten labels of a procedural scene agree with each other."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from fmtl_datasets.shared.conventions import IGNORE, TASKS
from fmtl_datasets.shared.objects import Instances, PanopticSegments
from fmtl_datasets.sources.procedural import (
    KEYPOINT_NAMES,
    PART_CLASSES,
    SEMSEG_CLASSES,
    STUFF_CLASSES,
    ProceduralScenes,
)
from fmtl_datasets.sources.procedural.dataset import scene_generator
from fmtl_datasets.sources.procedural.layout import draw_scene

Arrays = dict[str, npt.NDArray[Any]]
PERSON = SEMSEG_CLASSES.index("person")
FIRST_THING = len(STUFF_CLASSES) - 1
NUM_THINGS = len(SEMSEG_CLASSES) - FIRST_THING


@pytest.fixture(scope="module", params=["indoor", "outdoor"])
def scenes(request: pytest.FixtureRequest) -> list[dict[str, Any]]:
    data = ProceduralScenes(TASKS, domain=request.param, indices=range(40), seed=7)
    return [data[i] for i in range(len(data))]


@pytest.fixture(scope="module")
def samples(scenes: list[dict[str, Any]]) -> list[Arrays]:
    """Labels as maps: ``instance`` numbers the things from 1, ``instance_classes`` are semantic classes."""
    return [as_maps(scene) for scene in scenes]


def as_maps(scene: dict[str, Any]) -> Arrays:
    things, segments = scene["instance"], scene["panoptic"]
    instance = np.zeros(things.size, dtype=np.int64)
    for number, mask in enumerate(things.masks.numpy(), start=1):
        assert not instance[mask].any(), "two things share a pixel"
        instance[mask] = number
    maps = {key: value.numpy() for key, value in scene.items() if not isinstance(value, Instances | PanopticSegments)}
    return {
        **maps,
        "instance": instance,
        "instance_classes": things.classes.numpy() + FIRST_THING,
        "keypoints": scene["keypoints"].keypoints.numpy(),
        "panoptic": segments.ids.numpy(),
    }


def focal_length(domain: str, index: int, size: tuple[int, int] = (128, 128)) -> float:
    """Focal length in pixels, drawn again as the data set draws it."""
    return draw_scene(domain, scene_generator(7, domain, index), size)[1].focal


@pytest.mark.parametrize("domain", ["indoor", "outdoor"])
def test_normals_are_the_slope_of_the_back_projected_depth(domain: str) -> None:
    data = ProceduralScenes(["normals", "depth", "edge"], domain=domain, indices=range(10), seed=7)
    angles = []
    for index in range(10):
        sample = data[index]
        depth = sample["depth"][0].numpy().astype(np.float64)
        rows, columns = np.mgrid[:128, :128] + 0.5
        focal = focal_length(domain, index)
        points = np.stack(((columns - 64) / focal * depth, (rows - 64) / focal * depth, depth))
        across = points[:, 1:-1, 2:] - points[:, 1:-1, :-2]
        down = points[:, 2:, 1:-1] - points[:, :-2, 1:-1]
        slope = np.cross(down, across, axis=0)
        slope /= np.linalg.norm(slope, axis=0) + 1e-12
        edge = sample["edge"].numpy()
        near_edge = np.max([np.roll(edge, (i, j), (0, 1)) for i in (-1, 0, 1) for j in (-1, 0, 1)], axis=0)
        inside = (near_edge[1:-1, 1:-1] == 0) & (depth[1:-1, 1:-1] > 0)
        cosine = (slope * sample["normals"].numpy()[:, 1:-1, 1:-1]).sum(axis=0)[inside]
        angles.append(np.degrees(np.arccos(cosine.clip(-1, 1))))
    flat = np.concatenate(angles)
    assert np.median(flat) < 0.5
    assert np.quantile(flat, 0.9) < 10


@pytest.mark.parametrize("domain", ["indoor", "outdoor"])
def test_normals_are_unit_vectors_that_face_the_camera(domain: str) -> None:
    data = ProceduralScenes(["normals", "depth"], domain=domain, indices=range(20), seed=7)
    for index in range(20):
        normals, valid = data[index]["normals"].numpy(), data[index]["depth"][0].numpy() > 0
        norm = np.linalg.norm(normals, axis=0)
        np.testing.assert_allclose(norm[valid], 1.0, atol=1e-4)
        assert not norm[~valid].any()
        rows, columns = (np.mgrid[:128, :128] + 0.5 - 64) / focal_length(domain, index)
        assert (normals[0] * columns + normals[1] * rows + normals[2])[valid].max() < 1e-4


def test_depth_is_finite_and_of_the_size_of_the_place(samples: list[Arrays]) -> None:
    for sample in samples:
        depth = sample["depth"]
        assert np.isfinite(depth).all()
        assert depth.min() >= 0
        assert 1 < depth.max() < 60


def test_only_the_sky_has_no_depth(samples: list[Arrays]) -> None:
    for sample in samples:
        missing = sample["depth"][0] == 0
        assert (sample["semseg"][missing] == SEMSEG_CLASSES.index("overhead")).all()


def test_parts_lie_exactly_on_people(samples: list[Arrays]) -> None:
    for sample in samples:
        np.testing.assert_array_equal(sample["parts"] > 0, sample["semseg"] == PERSON)
        assert sample["parts"].max() < len(PART_CLASSES)


def test_stuff_is_semseg_with_all_things_in_one_class(samples: list[Arrays]) -> None:
    for sample in samples:
        things = sample["semseg"] >= FIRST_THING
        np.testing.assert_array_equal(sample["stuff"], np.where(things, 0, sample["semseg"] + 1))


def test_panoptic_joins_semseg_and_instance(scenes: list[dict[str, Any]], samples: list[Arrays]) -> None:
    for scene, sample in zip(scenes, samples, strict=True):
        segments = scene["panoptic"]
        assert sorted(segments.segment_ids.tolist()) == np.unique(sample["panoptic"]).tolist()
        assert 0 not in sample["panoptic"]
        for number, index in zip(segments.segment_ids.tolist(), segments.classes.tolist(), strict=True):
            pixels = sample["panoptic"] == number
            semantic = index + FIRST_THING if index < NUM_THINGS else index - NUM_THINGS
            assert set(sample["semseg"][pixels]) == {semantic}
            instance = set(sample["instance"][pixels])
            assert len(instance) == 1
            same = sample["instance"] == instance.pop()
            np.testing.assert_array_equal(pixels, same & (sample["semseg"] == semantic))
        np.testing.assert_array_equal(sample["instance"] > 0, sample["semseg"] >= FIRST_THING)


def test_people_are_the_persons_among_the_things(scenes: list[dict[str, Any]]) -> None:
    for scene in scenes:
        things, people = scene["instance"], scene["keypoints"]
        persons = things.classes == PERSON - FIRST_THING
        assert people.boxes.tolist() == things.boxes[persons].tolist()
        assert people.areas.tolist() == things.areas[persons].tolist()


def test_boxes_and_areas_are_those_of_the_masks(scenes: list[dict[str, Any]]) -> None:
    for scene in scenes:
        things = scene["instance"]
        for mask, box, area in zip(things.masks.numpy(), things.boxes.tolist(), things.areas.tolist(), strict=True):
            rows, columns = np.nonzero(mask)
            assert box == [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
            assert area == len(rows)


def test_class_map_of_the_segments_is_semseg_with_the_things_first(scenes: list[dict[str, Any]]) -> None:
    order = [*range(FIRST_THING, len(SEMSEG_CLASSES)), *range(FIRST_THING)]
    for scene in scenes:
        semantic = np.array(order)[scene["panoptic"].class_map(IGNORE).numpy()]
        np.testing.assert_array_equal(semantic, scene["semseg"].numpy())


def test_every_instance_is_visible_and_has_the_class_of_its_pixels(samples: list[Arrays]) -> None:
    for sample in samples:
        ids = np.unique(sample["instance"])
        classes = sample["instance_classes"]
        np.testing.assert_array_equal(ids[ids > 0], np.arange(1, len(classes) + 1))
        for k, category in enumerate(classes):
            assert set(sample["semseg"][sample["instance"] == k + 1]) == {category}


def test_edges_lie_where_ids_change(samples: list[Arrays]) -> None:
    for sample in samples:
        ids, edge = sample["panoptic"], sample["edge"]
        change = np.zeros_like(edge)
        change[:-1] |= ids[:-1] != ids[1:]
        change[:, :-1] |= ids[:, :-1] != ids[:, 1:]
        assert (edge[change == 1] == 1).all()
        # Beyond these, edges only part two surfaces of one background class, such as the walls of a corner.
        assert (sample["stuff"][(edge == 1) & (change == 0)] > 0).all()
        assert not (edge[-1, -1])


def test_edges_are_thin(samples: list[Arrays]) -> None:
    solid = [
        (
            s["edge"][:-2, :-2] & s["edge"][1:-1, 1:-1] & s["edge"][2:, 2:] & s["edge"][:-2, 2:] & s["edge"][2:, :-2]
        ).mean()
        for s in samples
    ]
    assert np.mean(solid) < 0.01


def test_visible_keypoints_lie_on_their_person(samples: list[Arrays]) -> None:
    seen = 0
    for sample in samples:
        people = np.flatnonzero(sample["instance_classes"] == PERSON) + 1
        assert sample["keypoints"].shape == (len(people), len(KEYPOINT_NAMES), 3)
        for instance, joints in zip(people, sample["keypoints"], strict=True):
            for x, y, visibility in joints:
                assert visibility in (0, 1, 2)
                if visibility == 0:
                    assert (x, y) == (0, 0)
                elif visibility == 2:
                    # A pixel's centre has whole coordinates.
                    assert sample["instance"][int(y + 0.5), int(x + 0.5)] == instance
                    seen += 1
    assert seen > 100


def test_visible_joints_lie_on_the_parts_they_join(samples: list[Arrays]) -> None:
    expected = {"nose": {1}, "left_elbow": {2, 3, 4, 5}, "right_knee": {4, 5, 6}, "left_ankle": {6}}
    hits, total = 0, 0
    for sample in samples:
        for joints in sample["keypoints"]:
            for name, parts in expected.items():
                x, y, visibility = joints[KEYPOINT_NAMES.index(name)]
                if visibility == 2:
                    total += 1
                    hits += int(sample["parts"][int(y + 0.5), int(x + 0.5)]) in parts
    assert total > 30
    assert hits / total > 0.9


def test_left_and_right_are_the_persons_own(samples: list[Arrays]) -> None:
    """Someone whose nose and both eyes we see has the left ones on the right side of the image."""
    sides = []
    for joints in (person for sample in samples for person in sample["keypoints"]):
        nose, left, right = joints[0], joints[1], joints[2]
        if nose[2] == left[2] == right[2] == 2:
            sides.append(left[0] > right[0])
    assert len(sides) > 5
    assert np.mean(sides) > 0.9


def test_salient_things_are_whole_and_include_the_largest_central_one(samples: list[Arrays]) -> None:
    rows, columns = np.mgrid[:128, :128] + 0.5 - 64
    weight = np.exp(-(rows**2 + columns**2) / (2 * (0.25 * np.hypot(128, 128)) ** 2))
    for sample in samples:
        score = np.bincount(sample["instance"].ravel(), weight.ravel())
        score[1:] *= np.where(sample["instance_classes"] == PERSON, 2.0, 1.0)
        score[0] = 0
        salient = np.flatnonzero((score > 0) & (score >= 0.7 * score.max()))
        np.testing.assert_array_equal(sample["saliency"] == 1, np.isin(sample["instance"], salient))
