"""Instances, keypoints and panoptic segments of one's own, with categories that are not COCO's."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from errors import naming
from fmtl_datasets.shared.conventions import PANOPTIC_THINGS
from fmtl_datasets.shared.objects import Instances, PanopticSegments
from fmtl_datasets.shared.source import DataFileError, DataLayoutError, SourceSettings
from fmtl_datasets.sources.folder.source import FolderSource, open_source
from fmtl_datasets.sources.procedural.classes import STUFF_CLASSES, THING_CLASSES
from tiny_folder import image_ids, save_png, scenes, write_folder

OBJECTS = ("instance", "keypoints", "panoptic")
SIZE = (64, 80)
Json = dict[str, Any]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    write_folder(tmp_path, OBJECTS, train=3, val=2, size=SIZE)
    return tmp_path


def opened(root: Path) -> FolderSource:
    return open_source(SourceSettings(root))


def changed(path: Path, change: Callable[[Json], object]) -> None:
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


def same_instances(found: Instances, truth: Instances) -> None:
    assert found.size == truth.size
    for key in ("boxes", "classes", "areas", "crowd"):
        torch.testing.assert_close(getattr(found, key), getattr(truth, key))
    if truth.masks is not None:
        assert found.masks is not None
        assert torch.equal(found.masks, truth.masks)


def test_objects_that_are_written_are_read_again(root: Path) -> None:
    source = opened(root)
    assert source.tasks == OBJECTS
    for image_list, first in (("train", 0), ("validation", 3)):
        samples = source.open(OBJECTS, image_list)
        for index in range(len(samples)):
            found, truth = samples[index], scenes(OBJECTS, 5, SIZE)[first + index]
            same_instances(found["instance"], truth["instance"])
            same_instances(found["keypoints"], truth["keypoints"])
            torch.testing.assert_close(
                found["keypoints"].keypoints * (truth["keypoints"].keypoints[..., 2:] > 0),
                truth["keypoints"].keypoints * (truth["keypoints"].keypoints[..., 2:] > 0),
                atol=0.006,
                rtol=0,
            )
            same_segments(found["panoptic"], truth["panoptic"])


def same_segments(found: PanopticSegments, truth: PanopticSegments) -> None:
    assert torch.equal(found.ids, truth.ids)
    assert torch.equal(found.segment_ids, truth.segment_ids)
    assert torch.equal(found.classes, truth.classes)


def test_class_counts_and_names_come_from_the_files(root: Path) -> None:
    source = opened(root)
    things, everything = len(THING_CLASSES), len(THING_CLASSES) + len(STUFF_CLASSES) - 1
    assert source.num_classes == {"instance": things, "panoptic": everything, PANOPTIC_THINGS: things}
    assert source.class_names == {"instance": THING_CLASSES, "panoptic": (*THING_CLASSES, *STUFF_CLASSES[1:])}
    assert source.open(("instance",), "train").num_classes == {"instance": things}
    assert source.open(("keypoints",), "train").num_classes == {}


def test_things_come_first_whatever_their_numbers(root: Path) -> None:
    path = root / "labels/panoptic.json"

    def renumber(content: Json) -> None:
        for entry in content["categories"]:
            entry["id"] = 1000 - entry["id"]
        for annotation in content["annotations"]:
            for segment in annotation["segments_info"]:
                segment["category_id"] = 1000 - segment["category_id"]

    changed(path, renumber)
    source = opened(root)
    things = len(THING_CLASSES)
    assert source.class_names["panoptic"] == (*THING_CLASSES[::-1], *STUFF_CLASSES[:0:-1])
    found = source.open(("panoptic",), "train")[0]["panoptic"].classes
    truth = scenes(OBJECTS, 1, SIZE)[0]["panoptic"].classes
    assert torch.equal(found < things, truth < things)
    assert torch.equal(found[truth < things], things - 1 - truth[truth < things])


def test_clients_with_sparse_tasks_leave_out_images_without_anything(root: Path) -> None:
    def empty(content: Json) -> None:
        content["annotations"] = [entry for entry in content["annotations"] if entry["image_id"] != 2]

    def unlabelled(content: Json) -> None:
        for entry in content["annotations"]:
            if entry["image_id"] == 3:
                entry["keypoints"] = [0] * 51

    changed(root / "labels/instances.json", empty)
    changed(root / "labels/keypoints.json", unlabelled)
    source, every = opened(root), np.arange(3)
    assert source.usable("train", every, ("instance",)).tolist() == [0, 2]
    assert source.usable("train", every, ("keypoints",)).tolist() == [0, 1]
    assert source.usable("train", every[::-1], ("instance", "keypoints")).tolist() == [2, 1, 0]
    assert source.usable("train", every, ("instance", "panoptic")).tolist() == [0, 1, 2]
    assert len(source.open(("instance",), "train")[1]["instance"]) == 0


def test_files_name_annotations_and_maps(root: Path) -> None:
    found = [
        (file.image_id, file.kind, str(file.path.relative_to(root))) for file in opened(root).files("train", OBJECTS)
    ]
    assert found[:3] == [
        ("train", "instance", "labels/instances.json"),
        ("train", "keypoints", "labels/keypoints.json"),
        ("train", "panoptic", "labels/panoptic.json"),
    ]
    first = image_ids(1)[0]
    assert found[3:5] == [(first, "image", f"images/{first}.png"), (first, "panoptic", f"labels/panoptic/{first}.png")]
    assert len(found) == 3 + 2 * 3


def set_in(list_name: str, position: int, **values: Any) -> Callable[[Json], object]:
    return lambda content: content[list_name][position].update(values)


def in_segment(**values: Any) -> Callable[[Json], object]:
    return lambda content: content["annotations"][0]["segments_info"][0].update(values)


@pytest.mark.parametrize(
    ("task", "change", "message"),
    [
        ("instances", set_in("annotations", 1, category_id=99), "annotation 2 has category_id 99"),
        ("instances", set_in("annotations", 1, image_id=99), "annotation 2 belongs to image 99"),
        ("instances", set_in("annotations", 1, id=1), "the id 1"),
        ("instances", set_in("annotations", 1, bbox=[0, 0, -1, 2]), r"annotations\[1\].bbox\[2\] = -1"),
        ("instances", set_in("annotations", 1, area=None), r"annotations\[1\].area"),
        ("instances", set_in("annotations", 1, iscrowd=7), r"annotations\[1\].iscrowd = 7"),
        ("instances", lambda content: content["annotations"][1].pop("segmentation"), r"annotations\[1\].*segmentation"),
        ("instances", lambda content: content["annotations"].append(7), r"annotations\[\d+\]"),
        ("instances", set_in("images", 0, file_name="../../etc/passwd"), "file_name '../../etc/passwd'"),
        ("instances", set_in("images", 0, height="64"), r"images\[0\].height = '64'"),
        ("instances", set_in("images", 0, id=2), "image 2 twice"),
        ("instances", set_in("categories", 0, id=2), r"categories\[1\] \(id 2\)"),
        ("instances", set_in("categories", 0, name=""), r"categories\[0\] \(id 1\): name"),
        ("instances", lambda content: content.update(categories=[]), "0 categories"),
        ("instances", lambda content: content.pop("images"), "no image"),
        ("panoptic", set_in("categories", 0, isthing="yes"), r"categories\[0\].isthing = 'yes'"),
        ("panoptic", lambda content: content["categories"][0].pop("isthing"), r"categories\[0\].*isthing"),
        ("panoptic", set_in("annotations", 0, file_name="/etc/passwd"), "annotation 1 has file_name '/etc/passwd'"),
        ("panoptic", set_in("annotations", 0, segments_info=None), r"annotations\[0\].segments_info"),
        ("panoptic", in_segment(id=0), r"annotations\[0\].segments_info\[0\].id = 0"),
        ("panoptic", in_segment(category_id=77), "annotation 1 has category_id 77"),
        ("panoptic", in_segment(iscrowd="0"), r"segments_info\[0\].iscrowd = '0'"),
        ("panoptic", in_segment(iscrowd=5), r"segments_info\[0\].iscrowd = 5"),
        ("keypoints", set_in("annotations", 0, keypoints=[1, 2, 3]), r"annotations\[0\].keypoints"),
        ("keypoints", set_in("annotations", 0, keypoints=[1, 2, 9] * 17), "annotation 1 has keypoints"),
        ("keypoints", set_in("annotations", 0, keypoints=[1, 2, None] * 17), r"annotations\[0\].keypoints\[2\]"),
    ],
)
def test_wrong_entries_are_named_when_the_data_set_is_opened(
    root: Path, task: str, change: Callable[[Json], object], message: str
) -> None:
    path = root / f"labels/{task}.json"
    changed(path, change)
    with pytest.raises(DataFileError, match=f"{path}.*{message}"):
        opened(root)


@pytest.mark.parametrize(
    ("box", "fits"),
    [
        ([-2, -2, 84, 68], True),
        ([78, 60, 4, 6], True),
        ([60, 50, 70, 60], False),  # two corners in place of a corner and sides
        ([-2.5, 0, 10, 10], False),
        ([0, -3, 10, 10], False),
        ([0, 0, 82.5, 10], False),
        ([0, 0, 10, 66.5], False),
        ([900, 10, 5, 5], False),
    ],
)
@pytest.mark.parametrize("task", ["instances", "keypoints"])
def test_box_outside_its_image_is_refused_by_name(root: Path, task: str, box: list[float], fits: bool) -> None:
    changed(root / f"labels/{task}.json", set_in("annotations", 0, bbox=box))
    if fits:
        opened(root)
        return
    with pytest.raises(DataFileError, match="annotation 1 has bbox .*image 1 of 64 x 80 pixels"):
        opened(root)


@pytest.mark.parametrize(
    ("point", "fits"),
    [
        ([81, 65, 2], True),
        ([-2, -2, 1], True),
        ([900, 10, 0], True),
        ([900, 10, 1], False),
        ([81.5, 10, 2], False),
        ([10, 65.5, 2], False),
        ([-2.5, 10, 2], False),
    ],
)
def test_keypoint_outside_its_image_is_refused_where_it_is_labelled(root: Path, point: list[float], fits: bool) -> None:
    changed(root / "labels/keypoints.json", set_in("annotations", 0, keypoints=point + [0, 0, 0] * 16))
    if fits:
        opened(root)
        return
    with pytest.raises(DataFileError, match=f"annotation 1 has keypoints {point[0]:g} {point[1]:g} "):
        opened(root)


def test_objects_without_an_area_inside_the_image_are_counted_and_nothing_to_train_on(root: Path) -> None:
    def flatten(content: Json) -> None:
        boxes = iter(([80, 0, 2, 5], [5, 5, 0, 9], [-2, 3, 2, 9]))
        for entry in content["annotations"]:
            if entry["image_id"] == 2:
                entry["bbox"] = next(boxes, [3, 64, 9, 1])

    path = root / "labels/instances.json"
    changed(path, flatten)
    gone = sum(entry["image_id"] == 2 for entry in json.loads(path.read_text())["annotations"])
    source = opened(root)
    assert len(source.open(("instance",), "train")[1]["instance"]) == 0
    assert source.left_out("train", "instance") == {image_ids(2)[1]: gone}
    assert source.left_out("validation", "instance") == source.left_out("train", "keypoints") == {}
    assert source.left_out("train", "panoptic") == {}
    assert source.usable("train", np.arange(3), ("instance",)).tolist() == [0, 2]


@pytest.mark.parametrize("content", ["", "{", "[]", "{}", "[" * 100000])
def test_damaged_json_is_named(root: Path, content: str) -> None:
    path = root / "labels/instances.json"
    path.write_text(content)
    with pytest.raises(DataFileError, match=str(path)):
        opened(root)


def test_damaged_masks_and_maps_are_named_when_they_are_read(root: Path) -> None:
    changed(root / "labels/instances.json", set_in("annotations", 0, segmentation={"size": [64, 80], "counts": "z~"}))
    image_map = root / f"labels/panoptic/{image_ids(1)[0]}.png"
    save_png(image_map, np.full((*SIZE, 3), 9, dtype=np.uint8))
    source = opened(root)
    with pytest.raises(DataFileError, match=r"instances.json: annotation 1: "):
        source.open(("instance",), "train")[0]
    with pytest.raises(DataFileError, match=naming("scene0000.png", "592137", "panoptic.json")):
        source.open(("panoptic",), "train")[0]


@pytest.mark.parametrize("name", ["other.png", "."])
def test_an_image_that_the_file_does_not_know_or_has_in_another_size_is_named(root: Path, name: str) -> None:
    changed(root / "labels/instances.json", set_in("images", 0, file_name=name))
    changed(root / "labels/keypoints.json", set_in("images", 0, height=80, width=64))
    source = opened(root)
    with pytest.raises(DataFileError, match=naming("instances.json", "room1/scene0000")):
        source.open(("instance",), "train")
    with pytest.raises(DataFileError, match=naming("80 rows", "64 columns")):
        source.open(("keypoints",), "train")[0]


def test_a_missing_map_is_named(root: Path) -> None:
    (root / f"labels/panoptic/{image_ids(2)[1]}.png").unlink()
    with pytest.raises(DataLayoutError, match=naming("labels/panoptic/room2/scene0001.png")):
        opened(root).open(("panoptic",), "train")


def by_list(root: Path) -> None:
    content = json.loads((root / "labels/instances.json").read_text())
    for name, numbers in (("train", (1, 2, 3)), ("validation", (4, 5))):
        part = {
            "categories": content["categories"],
            "images": [image for image in content["images"] if image["id"] in numbers],
            "annotations": [entry for entry in content["annotations"] if entry["image_id"] in numbers],
        }
        (root / f"{name}.json").write_text(json.dumps(part))
    files = "{train: train.json, validation: validation.json}"
    text = (root / "fmtl-data.yaml").read_text()
    (root / "fmtl-data.yaml").write_text(
        text.replace("{annotations: labels/instances.json}", f"{{annotations: {files}}}")
    )


def test_each_list_may_have_a_file_of_its_own(root: Path) -> None:
    by_list(root)
    source = opened(root)
    for image_list, first in (("train", 0), ("validation", 3)):
        samples = source.open(("instance",), image_list)
        assert len(samples) == len(source.ids(image_list))
        same_instances(samples[1]["instance"], scenes(OBJECTS, 5, SIZE)[first + 1]["instance"])


def test_files_of_several_lists_need_the_same_categories(root: Path) -> None:
    by_list(root)
    changed(root / "validation.json", set_in("categories", 0, name="other"))
    with pytest.raises(DataFileError, match=naming("validation.json", "train.json")):
        opened(root)


def test_a_file_that_changes_is_read_anew(root: Path) -> None:
    assert len(opened(root).open(("instance",), "train")[0]["instance"]) > 0
    changed(root / "labels/instances.json", lambda content: content.update(annotations=[]))
    assert len(opened(root).open(("instance",), "train")[0]["instance"]) == 0
