"""Samples of a COCO folder: every label is what its annotation says, and sits where the image shows it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from fmtl_datasets.shared.conventions import IGNORE
from fmtl_datasets.shared.source import SourceSettings
from fmtl_datasets.sources.coco.categories import PANOPTIC_STUFF, THINGS
from fmtl_datasets.sources.coco.dataset import CocoImages
from fmtl_datasets.sources.coco.source import open_source
from PIL import Image
from tiny_coco import COLOURS, GRASS, PERSON, ROAD, SKY, write_coco
from torchvision import tv_tensors

ALL = ("instance", "keypoints", "stuff", "panoptic")


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("coco")
    write_coco(folder, stuff=True)
    return folder


@pytest.fixture(scope="module")
def samples(root: Path) -> list[dict[str, Any]]:
    images = open_source(SourceSettings(root)).open(ALL, "train2017")
    return [images[place] for place in range(len(images))]


def annotations(root: Path, kind: str, place: int) -> list[dict[str, Any]]:
    content = json.loads((root / "annotations" / f"{kind}_train2017.json").read_text())
    return [entry for entry in content["annotations"] if entry["image_id"] == 1000 + 7 * place]


def pixels(path: Path) -> npt.NDArray[np.int64]:
    return np.asarray(Image.open(path).convert("RGB")).astype(np.int64)


def test_images_are_colour_and_at_their_native_size(samples: list[dict[str, Any]], root: Path) -> None:
    for place, sample in enumerate(samples):
        assert isinstance(sample["image"], tv_tensors.Image)
        file = root / "images" / "train2017" / f"{1000 + 7 * place:012d}.jpg"
        assert np.array_equal(sample["image"].numpy().transpose(1, 2, 0), pixels(file))


def test_instances_have_annotated_classes_boxes_areas_and_crowds(samples: list[dict[str, Any]], root: Path) -> None:
    order = list(THINGS)
    for place, sample in enumerate(samples):
        found, entries = sample["instance"], annotations(root, "instances", place)
        assert found.size == (64, 80)
        assert found.classes.tolist() == [order.index(entry["category_id"]) for entry in entries]
        assert found.crowd.tolist() == [bool(entry["iscrowd"]) for entry in entries]
        assert found.areas.tolist() == [entry["area"] for entry in entries]
        for box, entry in zip(found.boxes.tolist(), entries, strict=True):
            left, top, width, height = entry["bbox"]
            assert box == [left, top, left + width, top + height]
        assert found.masks.flatten(1).sum(1).tolist() == found.areas.tolist()
        assert found.masks.shape == (len(entries), 64, 80)
        assert found.keypoints is None
        kinds = (found.boxes.dtype, found.classes.dtype, found.areas.dtype, found.crowd.dtype, found.masks.dtype)
        assert kinds == (torch.float32, torch.int64, torch.float32, torch.bool, torch.bool)


def test_the_fixture_has_all_three_ways_of_writing_a_mask(root: Path) -> None:
    forms = set()
    for place in range(8):
        for entry in annotations(root, "instances", place):
            form = entry["segmentation"]
            forms.add("polygons" if isinstance(form, list) else type(form["counts"]).__name__)
    assert forms == {"polygons", "str", "list"}


def test_masks_lie_on_the_objects_that_the_image_shows(samples: list[dict[str, Any]]) -> None:
    order = list(THINGS)
    for sample in samples:
        image = sample["image"].numpy().astype(float)
        # The squares of a crowd are too small for the colours of a JPEG.
        found = sample["instance"].select(~sample["instance"].crowd)
        for mask, index in zip(found.masks.numpy(), found.classes.tolist(), strict=True):
            rows = np.flatnonzero(mask.any(1))
            top = mask & (np.arange(64)[:, None] < rows[0] + 0.55 * len(rows))
            colour = image[:, top].mean(1)
            distances = {name: np.abs(colour - shade).sum() for name, shade in COLOURS.items()}
            assert min(distances, key=distances.__getitem__) == order[index]


def test_people_have_annotated_areas_and_keypoints(samples: list[dict[str, Any]], root: Path) -> None:
    seen = 0
    for place, sample in enumerate(samples):
        found, entries = sample["keypoints"], annotations(root, "person_keypoints", place)
        assert found.classes.tolist() == [0] * len(entries)
        assert found.areas.tolist() == [entry["area"] for entry in entries]
        assert found.crowd.tolist() == [bool(entry["iscrowd"]) for entry in entries]
        assert found.keypoints.shape == (len(entries), 17, 3)
        for points, entry in zip(found.keypoints, entries, strict=True):
            assert points.flatten().tolist() == entry["keypoints"]
            assert (points[:, 2] > 0).sum() == entry["num_keypoints"]
            seen += entry["num_keypoints"]
    assert seen > 60


def test_coordinates_of_unlabelled_keypoints_are_zero(tmp_path: Path) -> None:
    write_coco(tmp_path, train=1, val=0)
    path = tmp_path / "annotations" / "person_keypoints_train2017.json"
    content = json.loads(path.read_text())
    content["annotations"][0]["keypoints"][:6] = [5, 6, 0, 7, 8, 1]
    path.write_text(json.dumps(content))
    people = open_source(SourceSettings(tmp_path)).open(["keypoints"], "train2017")[0]["keypoints"]
    assert people.keypoints[0, :2].tolist() == [[0, 0, 0], [7, 8, 1]]


def test_panoptic_segments_are_those_of_the_map_and_the_file(samples: list[dict[str, Any]], root: Path) -> None:
    order = [*THINGS, *PANOPTIC_STUFF]
    for place, sample in enumerate(samples):
        found, entry = sample["panoptic"], annotations(root, "panoptic", place)[0]
        colour = pixels(root / "annotations" / "panoptic_train2017" / entry["file_name"])
        ids = colour[..., 0] + 256 * colour[..., 1] + 65536 * colour[..., 2]
        assert np.array_equal(found.ids.numpy(), ids)
        assert found.ids.dtype == torch.int32
        segments = entry["segments_info"]
        assert found.segment_ids.tolist() == [segment["id"] for segment in segments]
        assert found.classes.tolist() == [order.index(segment["category_id"]) for segment in segments]
        assert found.crowd.tolist() == [bool(segment["iscrowd"]) for segment in segments]
        for segment in segments:
            assert (ids == segment["id"]).sum() == segment["area"]


def test_things_of_the_panoptic_label_are_the_instances(samples: list[dict[str, Any]]) -> None:
    for sample in samples:
        things, found = sample["panoptic"].things(80), sample["instance"]
        for name in ("classes", "crowd", "areas", "boxes", "masks"):
            assert torch.equal(getattr(things, name), getattr(found, name)), name


def test_stuff_of_the_panoptic_annotation_joins_all_things_in_class_0(samples: list[dict[str, Any]]) -> None:
    classes = {number: 1 + rank for rank, number in enumerate(PANOPTIC_STUFF)}
    for place, sample in enumerate(samples):
        stuff, things = sample["stuff"], sample["instance"].masks.any(0)
        assert isinstance(stuff, tv_tensors.Mask)
        assert (stuff.dtype, stuff.shape) == (torch.uint8, (64, 80))
        assert torch.equal(torch.as_tensor(stuff) == 0, things)
        assert torch.equal((stuff[:, -2:] == IGNORE).as_subclass(torch.Tensor), ~things[:, -2:])
        ground = classes[GRASS if place % 2 == 0 else ROAD]
        assert set(stuff.unique().tolist()) == {0, classes[SKY], ground, IGNORE} - ({0} if place == 7 else set())
        assert set(stuff[0].unique().tolist()) <= {classes[SKY], 0, IGNORE}


def test_stuff_of_the_stuff_annotation_has_91_classes_and_other(root: Path, samples: list[dict[str, Any]]) -> None:
    images = open_source(SourceSettings(root, stuff_labels="stuff")).open(["stuff"], "train2017")
    merged_of = {157 - 92: SKY, 124 - 92: GRASS, 149 - 92: ROAD}
    classes = {number: 1 + rank for rank, number in enumerate(PANOPTIC_STUFF)}
    for place, sample in enumerate(samples):
        table = np.full(256, IGNORE)
        table[91] = 0
        for fine, merged in merged_of.items():
            table[fine] = classes[merged]
        assert np.array_equal(table[images[place]["stuff"].numpy()], sample["stuff"].numpy())


def test_an_image_without_objects_has_empty_labels_of_the_right_shape(samples: list[dict[str, Any]]) -> None:
    things, people = samples[7]["instance"], samples[7]["keypoints"]
    assert (len(things), len(people)) == (0, 0)
    assert (things.boxes.shape, things.masks.shape) == ((0, 4), (0, 64, 80))
    assert people.keypoints.shape == (0, 17, 3)


def test_grey_images_become_colour(tmp_path: Path) -> None:
    write_coco(tmp_path, train=1, val=0)
    path = tmp_path / "images" / "train2017" / "000000001000.jpg"
    Image.open(path).convert("L").save(path)
    image = open_source(SourceSettings(tmp_path)).open([], "train2017")[0]["image"]
    assert image.shape == (3, 64, 80)
    assert torch.equal(image[0], image[2])


def edited(root: Path, box: list[float]) -> CocoImages:
    write_coco(root, train=1, val=0)
    path = root / "annotations" / "instances_train2017.json"
    content = json.loads(path.read_text())
    content["annotations"][0]["bbox"] = box
    path.write_text(json.dumps(content))
    return open_source(SourceSettings(root)).open(["instance"], "train2017")


def test_boxes_are_cut_at_the_border_of_the_image(tmp_path: Path) -> None:
    boxes = edited(tmp_path, [-0.5, 10.25, 20.75, 54.5])[0]["instance"].boxes
    assert boxes[0].tolist() == [0, 10.25, 20.25, 64]


def test_objects_whose_box_has_no_area_are_left_out_and_do_not_count(tmp_path: Path) -> None:
    images = edited(tmp_path, [12.0, 10.0, 0.0, 5.0])
    assert len(images[0]["instance"]) == 2
    content = json.loads((tmp_path / "annotations" / "instances_train2017.json").read_text())
    content["annotations"] = content["annotations"][:1]
    (tmp_path / "annotations" / "instances_train2017.json").write_text(json.dumps(content))
    source = open_source(SourceSettings(tmp_path))
    assert source.usable("train2017", np.array([0]), ["instance"]).tolist() == []


def test_the_fixture_shows_a_crowd_of_people(samples: list[dict[str, Any]]) -> None:
    for label in (samples[0]["instance"], samples[0]["panoptic"]):
        assert label.crowd.sum() == 1
        assert label.classes[label.crowd].tolist() == [list(THINGS).index(PERSON)]
