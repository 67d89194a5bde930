"""Damaged COCO files: found when the folder is opened or the image is read, and named with the annotation."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from errors import naming
from fmtl_datasets.shared.source import DataFileError, SourceSettings
from fmtl_datasets.sources.coco.json_lists import read_entries, read_spans
from fmtl_datasets.sources.coco.source import open_source
from PIL import Image
from tiny_coco import write_coco

Content = dict[str, Any]
KINDS = {"instance": "instances", "keypoints": "person_keypoints", "stuff": "stuff", "panoptic": "panoptic"}
FIRST = 10_000


@pytest.fixture
def root(tmp_path: Path) -> Path:
    write_coco(tmp_path / "coco", train=2, val=0, stuff=True)
    return tmp_path / "coco"


def edit(root: Path, task: str, change: Callable[[Content], object]) -> Path:
    path = root / "annotations" / f"{KINDS[task]}_train2017.json"
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))
    return path


def read_all(root: Path, task: str) -> None:
    images = open_source(SourceSettings(root, stuff_labels="stuff")).open([task], "train2017")
    for place in range(len(images)):
        images[place]


def first(key: str, value: Any) -> Callable[[Content], object]:
    return lambda content: content["annotations"][0].update({key: value})


def doubled(content: Content) -> None:
    content["annotations"].append({**content["annotations"][0]})


def image(key: str, value: Any) -> Callable[[Content], object]:
    return lambda content: content["images"][0].update({key: value})


def without(key: str) -> Callable[[Content], object]:
    return lambda content: content["annotations"][0].pop(key)


def points(*numbers: float) -> list[float]:
    return [*numbers, *[0] * (51 - len(numbers))]


DAMAGE: list[tuple[str, Callable[[Content], object], str]] = [
    ("instance", doubled, "two annotations have the id 10000"),
    ("stuff", doubled, "two annotations have the id 20000"),
    ("panoptic", doubled, "two annotations have the id 1000"),
    ("instance", first("image_id", 77), "annotation 10000 belongs to image 77, which the file does not list"),
    ("panoptic", first("image_id", 77), "annotation 77 belongs to image 77, which the file does not list"),
    ("instance", first("category_id", 12), "annotation 10000 has category 12, which is none of the 80"),
    ("keypoints", first("category_id", 2), "annotation 10000 has category 2, which is none of the 1 "),
    ("stuff", first("category_id", 184), "annotation 20000 has category 184, which is none of the 92"),
    ("instance", first("bbox", [70.0, 10.0, 20.0, 5.0]), "annotation 10000 has box .* 70 10 20 5, which does not fit"),
    ("instance", first("bbox", [10.0, 60.0, 5.0, 20.0]), "does not fit into image 1000 of 64 x 80 pixels"),
    ("keypoints", first("bbox", [-5.0, 1.0, 10.0, 5.0]), "annotation 10000 has box .* -5 1 10 5"),
    ("instance", first("bbox", [5.0, 1.0, -3.0, 5.0]), "annotation 10000 has box"),
    ("instance", first("bbox", [1.0, float("nan"), 2.0, 2.0]), "annotation 10000 has box 1 nan 2 2, expected finite"),
    ("instance", first("bbox", [1.0, 2.0]), "annotation 10000 .* bbox has 2 numbers"),
    ("instance", first("bbox", None), "annotation 10000 .* wrong type"),
    ("instance", first("area", float("inf")), "annotation 10000 has area inf"),
    ("instance", first("area", -1.0), "annotation 10000 has area -1"),
    ("instance", first("area", float("nan")), "annotation 10000 has area nan"),
    ("instance", first("iscrowd", 2), "annotation 10000 has iscrowd 2"),
    ("instance", first("id", "a"), "annotation a .* wrong type"),
    ("instance", without("bbox"), "annotation 10000 .* has no 'bbox'"),
    ("instance", without("segmentation"), "annotation 10000: its segmentation is neither"),
    ("instance", first("segmentation", {"size": [80, 64], "counts": [5120]}), r"annotation 10000: .*\[80, 64\] pixels"),
    ("instance", first("segmentation", {"size": [64, 80], "counts": [5]}), "annotation 10000: the runs .* cover 5 "),
    ("instance", first("segmentation", [[1, 2, float("nan"), 3, 4, 5]]), "annotation 10000: a polygon"),
    ("stuff", first("segmentation", {"size": [64, 80], "counts": "zz"}), "annotation 20000: the counts"),
    ("keypoints", first("keypoints", [1, 2, 2]), "annotation 10000 .* keypoints has 3 numbers, expected 51"),
    ("keypoints", first("keypoints", points(5, 5, 3)), "annotation 10000 has a visibility other than 0, 1, 2"),
    ("keypoints", first("keypoints", points(200, 5, 2)), "annotation 10000 has keypoints 200 5 2.* does not fit"),
    ("keypoints", first("keypoints", points(5, -9, 1)), "annotation 10000 has keypoints 5 -9 1"),
    ("keypoints", first("keypoints", points(5, float("nan"), 2)), "annotation 10000 has keypoints 5 nan 2"),
    ("instance", image("id", 1007), "lists image 1007 twice"),
    ("instance", image("height", 0), "image 1000 is said to have 0 x 80 pixels"),
    ("instance", image("width", None), "image number 0 in the list is expected to have whole numbers"),
    ("instance", image("file_name", "../a.jpg"), r"image 1000 has file_name '\.\./a\.jpg', which is no plain name"),
    ("instance", image("height", 65), "give image 1000 different sizes|the image has 64 x 80 pixels"),
    ("instance", image("id", 5), "belongs to image 1000, which the file does not list"),
    ("instance", lambda content: content.update(images=[]), "lists no image"),
    ("instance", lambda content: content.update(annotations={}), r"not the JSON of COCO: expected '\['"),
    ("instance", lambda content: content.pop("annotations"), "has no list annotations"),
    ("instance", lambda content: content["annotations"].append(3), r"annotation \? .* wrong type"),
    ("panoptic", lambda content: content["annotations"].pop(), r"no annotation for image 1007 \(1 of 2 images"),
    (
        "panoptic",
        first("file_name", "x.png"),
        "the map of image 1000 is called 'x.png', expected the name of the image",
    ),
]


@pytest.mark.parametrize(("task", "change", "message"), DAMAGE, ids=[f"{task}-{text}" for task, _, text in DAMAGE])
def test_a_wrong_entry_is_named(root: Path, task: str, change: Callable[[Content], object], message: str) -> None:
    path = edit(root, task, change)
    with pytest.raises(DataFileError, match=message) as caught:
        read_all(root, task)
    assert path.name in str(caught.value)


def segment(key: str, value: Any) -> Callable[[Content], object]:
    return lambda content: content["annotations"][0]["segments_info"][0].update({key: value})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (segment("category_id", 91), "category 91"),
        (segment("iscrowd", 5), "iscrowd 5"),
        (segment("id", 0), "16777215"),
        (segment("id", 2**24), "16777215"),
        (lambda c: c["annotations"][0]["segments_info"].append(c["annotations"][0]["segments_info"][0]), "twice"),
    ],
)
def test_a_wrong_segment_is_named(root: Path, change: Callable[[Content], object], message: str) -> None:
    edit(root, "panoptic", change)
    with pytest.raises(DataFileError, match=naming("annotation 1000", message)):
        read_all(root, "panoptic")


def test_segments_that_are_only_in_the_map_or_only_in_the_file_are_named(root: Path) -> None:
    removed: list[int] = []
    edit(root, "panoptic", lambda content: removed.append(content["annotations"][0]["segments_info"].pop()["id"]))
    with pytest.raises(DataFileError, match=naming("000000001000.png", removed[0], "panoptic_train2017")):
        read_all(root, "panoptic")
    extra = {"id": 123, "category_id": 1, "iscrowd": 0, "area": 0, "bbox": [0, 0, 0, 0]}
    write_coco(root, train=2, val=0)
    edit(root, "panoptic", lambda content: content["annotations"][0]["segments_info"].append(extra))
    with pytest.raises(DataFileError, match=naming("123", "000000001000.png")):
        read_all(root, "panoptic")


def test_a_map_of_another_size_or_that_is_no_image_is_named(root: Path) -> None:
    path = root / "annotations" / "panoptic_train2017" / "000000001000.png"
    Image.open(path).resize((40, 32), Image.Resampling.NEAREST).save(path)
    with pytest.raises(DataFileError, match=naming("000000001000.png", "(32, 40)", "(64, 80)")):
        read_all(root, "panoptic")
    path.write_bytes(path.read_bytes()[:60])
    with pytest.raises(DataFileError, match=naming("000000001000.png")):
        read_all(root, "panoptic")


def test_an_image_of_another_size_or_that_is_truncated_is_named(root: Path) -> None:
    path = root / "images" / "train2017" / "000000001007.jpg"
    whole = path.read_bytes()
    Image.open(path).resize((160, 128)).save(path)
    with pytest.raises(DataFileError, match=naming("000000001007.jpg", "128 x 160")):
        read_all(root, "instance")
    for content in (whole[: len(whole) // 2], b"", b"no picture"):
        path.write_bytes(content)
        with pytest.raises(DataFileError, match=naming("000000001007.jpg")):
            read_all(root, "instance")


def test_annotation_files_of_different_images_are_refused(root: Path) -> None:
    def drop(content: Content) -> None:
        content["images"] = content["images"][:1]
        content["annotations"] = [entry for entry in content["annotations"] if entry["image_id"] == 1000]

    edit(root, "instance", drop)
    with pytest.raises(DataFileError, match=naming("instances_train2017.json", "1007", "1 of 2")):
        open_source(SourceSettings(root)).open(["instance"], "train2017")
    assert len(open_source(SourceSettings(root)).open(["instance"], "train2017", np.array([0]))) == 1


@pytest.mark.parametrize(
    "content", ["", "{", "[]", '{"images": [', '{"images": [{"id": 1}', "nonsense", '{"images": 3}']
)
def test_a_file_that_is_no_json_of_coco_is_named_with_its_archive(root: Path, content: str) -> None:
    path = root / "annotations" / "instances_train2017.json"
    path.write_text(content)
    with pytest.raises(DataFileError, match=naming("instances_train2017.json", "annotations_trainval2017.zip")):
        read_all(root, "instance")


@pytest.mark.parametrize("cut", [0.3, 0.6, 0.99])
def test_an_incomplete_download_is_refused(root: Path, cut: float) -> None:
    path = root / "annotations" / "instances_train2017.json"
    text = path.read_text()
    path.write_text(text[: int(len(text) * cut)])
    with pytest.raises(DataFileError, match=naming("damaged")):
        read_all(root, "instance")


@pytest.mark.parametrize("indent", [None, 2])
@pytest.mark.parametrize("ascii_only", [True, False])
def test_entries_are_read_again_by_their_places(tmp_path: Path, indent: int | None, ascii_only: bool) -> None:
    people = [{"id": 1, "name": 'Zoë, ["a"] }'}, {"id": 2, "name": "日本"}, {"id": 3, "deep": {"x": [1, {}, []]}}]
    content = {"info": {"annotations": "ü"}, "annotations": people, "empty": [], "licenses": [1, 2], "images": [7]}
    path = tmp_path / "a.json"
    path.write_text(json.dumps(content, indent=indent, ensure_ascii=ascii_only), encoding="utf-8")
    found = list(read_entries(path, frozenset({"annotations", "empty", "images"})))
    assert [entry.list_name for entry in found] == ["annotations"] * 3 + ["images"]
    assert read_spans(path, [(entry.start, entry.end - entry.start) for entry in found]) == [*people, 7]
