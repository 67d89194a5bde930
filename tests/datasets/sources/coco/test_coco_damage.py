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
from fmtl_datasets.sources.coco.format import BoxedAnnotation
from fmtl_datasets.sources.coco.index import load_index
from fmtl_datasets.sources.coco.source import open_source
from PIL import Image
from tiny_coco import write_coco

Content = dict[str, Any]
KINDS = {"instance": "instances", "keypoints": "person_keypoints", "stuff": "stuff", "panoptic": "panoptic"}


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


def segments(content: Content) -> list[Content]:
    found: list[Content] = content["annotations"][0]["segments_info"]
    return found


def segment(key: str, value: Any) -> Callable[[Content], object]:
    return lambda content: segments(content)[0].update({key: value})


NAN, INFINITY = float("nan"), float("inf")
DAMAGE: list[tuple[str, Callable[[Content], object], str, str]] = [
    ("instance", doubled, "10000", "id"),
    ("panoptic", doubled, "1000", "id"),
    ("instance", first("image_id", 77), "10000", "image 77"),
    ("panoptic", first("image_id", 77), "77", "does not list"),
    ("instance", first("category_id", 12), "10000", "category_id 12"),
    ("keypoints", first("category_id", 2), "10000", "category_id 2"),
    ("stuff", first("category_id", 184), "20000", "category_id 184"),
    ("instance", first("bbox", [70.0, 10.0, 20.0, 5.0]), "10000", "bbox 70 10 20 5"),
    ("instance", first("bbox", [10.0, 60.0, 5.0, 20.0]), "1000 of 64 x 80 pixels", "bbox"),
    ("keypoints", first("bbox", [-5.0, 1.0, 10.0, 5.0]), "10000", "bbox -5 1 10 5"),
    ("instance", first("bbox", [5.0, 1.0, -3.0, 5.0]), "10000", "bbox[2] = -3.0"),
    ("instance", first("bbox", [1.0, NAN, 2.0, 2.0]), '"bbox": [1.0', "NaN"),
    ("instance", first("bbox", [1.0, 2.0]), "10000", "bbox = [1.0, 2.0]"),
    ("instance", first("bbox", None), "10000", "bbox"),
    ("instance", first("area", INFINITY), '"area": Inf', "Infinity"),
    ("instance", first("area", -1.0), "10000", "area = -1.0"),
    ("instance", first("iscrowd", 2), "10000", "iscrowd = 2"),
    ("instance", first("iscrowd", "0"), "10000", "iscrowd = '0'"),
    ("instance", first("id", "a"), "annotations[0]", "id = 'a'"),
    ("instance", first("id", 2**70), "annotations[0]", "id = "),
    ("instance", without("bbox"), "10000", "bbox"),
    ("instance", without("segmentation"), "10000", "segmentation"),
    ("instance", first("segmentation", None), "10000", "segmentation"),
    ("instance", first("segmentation", {"size": [80, 64], "counts": [5120]}), "10000", "[80, 64] pixels"),
    ("instance", first("segmentation", {"size": [64, 80], "counts": [5]}), "10000", "cover 5 "),
    ("instance", first("segmentation", {"size": [64, 80]}), "10000", "counts"),
    ("instance", first("segmentation", [[1, 2, "3", 3, 4, 5]]), "10000", "segmentation[0][2] = '3'"),
    ("instance", first("segmentation", [[1, 2, 1e12, 3, 4, 5]]), "10000", "leaves its image"),
    ("stuff", first("segmentation", {"size": [64, 80], "counts": "zz"}), "20000", "counts"),
    ("keypoints", first("keypoints", [1, 2, 2]), "10000", "keypoints = [1, 2, 2]"),
    ("keypoints", first("keypoints", points(5, 5, 3)), "10000", "visibility"),
    ("keypoints", first("keypoints", points(200, 5, 2)), "10000", "keypoints 200 5 2"),
    ("keypoints", first("keypoints", points(5, -9, 1)), "10000", "keypoints 5 -9 1"),
    ("instance", image("id", 1007), "1007", "twice"),
    ("instance", image("height", 0), "id 1000", "images[0].height = 0"),
    ("instance", image("width", None), "id 1000", "images[0].width"),
    ("instance", image("file_name", "../a.jpg"), "1000", "file_name '../a.jpg'"),
    ("instance", image("id", 5), "1000", "does not list"),
    ("instance", lambda content: content.update(images=[]), "instances", "no image"),
    ("instance", lambda content: content.update(annotations={}), "annotations", "array"),
    ("instance", lambda content: content.pop("annotations"), "annotations", "missing"),
    ("instance", lambda content: content["annotations"].append(3), "annotations[", "object"),
    ("panoptic", lambda content: content["annotations"].pop(), "1007", "1 of 2 images"),
    ("panoptic", first("file_name", "../x.png"), "1000", "file_name '../x.png'"),
    ("panoptic", segment("category_id", 91), "1000", "category_id 91"),
    ("panoptic", segment("iscrowd", 5), "1000", "segments_info[0].iscrowd = 5"),
    ("panoptic", segment("iscrowd", "0"), "1000", "segments_info[0].iscrowd = '0'"),
    ("panoptic", segment("id", 0), "1000", "segments_info[0].id = 0"),
    ("panoptic", segment("id", 2**24), "1000", "segments_info[0].id = 16777216"),
    ("panoptic", lambda c: c["annotations"][0]["segments_info"].append(segments(c)[0]), "1000", "twice"),
]


@pytest.mark.parametrize(
    ("task", "change", "entry", "fault"), DAMAGE, ids=[f"{task}-{fault}" for task, _, _, fault in DAMAGE]
)
def test_a_wrong_entry_is_named(
    root: Path, task: str, change: Callable[[Content], object], entry: str, fault: str
) -> None:
    path = edit(root, task, change)
    with pytest.raises(DataFileError) as caught:
        read_all(root, task)
    assert all(part in str(caught.value) for part in (path.name, entry, fault)), caught.value


def test_images_of_another_size_in_the_file_are_refused(root: Path) -> None:
    edit(root, "instance", image("height", 65))
    with pytest.raises(DataFileError, match="000000001000.jpg"):
        read_all(root, "instance")


def test_a_list_of_images_that_lacks_some_of_a_task_is_refused(root: Path) -> None:
    def drop(content: Content) -> None:
        content["images"] = content["images"][:1]
        content["annotations"] = [entry for entry in content["annotations"] if entry["image_id"] == 1000]

    edit(root, "keypoints", drop)
    with pytest.raises(DataFileError, match=r"instances_train2017\.json lists image 1007 .*person_keypoints_train2017"):
        read_all(root, "instance")
    read_all(root, "keypoints")


@pytest.mark.parametrize("task", KINDS)
def test_flags_may_be_booleans_and_a_byte_order_mark_is_passed_over(root: Path, task: str) -> None:
    def truthful(content: Content) -> None:
        for entry in content["annotations"]:
            for part in entry.get("segments_info", [entry]):
                part["iscrowd"] = bool(part["iscrowd"])

    before = labels(root, task)
    path = edit(root, task, truthful)
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    assert labels(root, task) == before


def labels(root: Path, task: str) -> list[str]:
    images = open_source(SourceSettings(root, stuff_labels="stuff")).open([task], "train2017")
    return [repr(images[place][task]) for place in range(len(images))]


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


@pytest.mark.parametrize("content", ["", "{", "[]", '{"images": [', "nonsense", '{"images": 3}', "[" * 100_000])
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
    with pytest.raises(DataFileError, match=r"instances_train2017\.json cannot be read as JSON"):
        read_all(root, "instance")


@pytest.mark.parametrize("indent", [None, 2])
@pytest.mark.parametrize("ascii_only", [True, False])
def test_annotations_are_read_again_by_their_places(tmp_path: Path, indent: int | None, ascii_only: bool) -> None:
    def entry(number: int, owner: int, note: object) -> Content:
        fields = {"id": number, "image_id": owner, "category_id": 1, "bbox": [0, 0, 2, 2], "area": 4}
        return {**fields, "segmentation": [], "note": note}

    content = {
        "info": {"annotations": "ü"},
        "annotations": [entry(1, 8, 'Zoë, ["a"] }'), entry(2, 7, "日本"), entry(3, 8, {"x": [1, {}, []]})],
        "licenses": [1, 2],
        "images": [{"id": number, "height": 4, "width": 5, "file_name": "日.jpg"} for number in (8, 7)],
    }
    path = tmp_path / "instances.json"
    path.write_text(json.dumps(content, indent=indent, ensure_ascii=ascii_only), encoding="utf-8")
    index = load_index(path, "instances", tmp_path, None)
    found = [[annotation.id for annotation in index.read(place, path, BoxedAnnotation)] for place in (0, 1)]
    assert (found, index.file_names.tolist()) == ([[2], [1, 3]], ["日.jpg"] * 2)
