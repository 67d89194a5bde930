"""Real COCO images: what is decoded agrees with what is annotated, for all 200 of coco_mt200."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fmtl_datasets.shared.conventions import IGNORE
from fmtl_datasets.shared.source import SourceSettings
from fmtl_datasets.sources.coco.categories import PANOPTIC_STUFF, THINGS
from fmtl_datasets.sources.coco.format import BoxedAnnotation, decode_segmentation
from fmtl_datasets.sources.coco.index import load_index
from fmtl_datasets.sources.coco.masks import draw_mask
from fmtl_datasets.sources.coco.source import open_source
from PIL import Image

PERSONS = {"train2017": (209, 112), "val2017": (287, 186)}
splits = pytest.mark.parametrize("split", PERSONS)


@pytest.fixture(scope="module")
def root() -> Path:
    data = Path(os.environ.get("FMTL_DATA_ROOT", Path(__file__).resolve().parents[5] / "shared" / "data"))
    if not (data / "coco_mt200").is_dir():
        pytest.skip(f"{data / 'coco_mt200'} is absent; set FMTL_DATA_ROOT to the folder that holds coco_mt200")
    return data / "coco_mt200"


def annotations(root: Path, kind: str, split: str) -> dict[int, list[dict[str, Any]]]:
    content = json.loads((root / "annotations" / f"{kind}_{split}.json").read_text())
    found: dict[int, list[dict[str, Any]]] = {image["id"]: [] for image in content["images"]}
    for entry in content["annotations"]:
        found[entry["image_id"]].append(entry)
    return found


def each(root: Path, split: str, tasks: list[str], check: Callable[[int, dict[str, Any]], None]) -> None:
    source = open_source(SourceSettings(root))
    images, ids = source.open(tasks, split), source.ids(split)
    assert len(images) == len(ids) == 100
    for place, image_id in enumerate(ids):
        check(int(image_id), images[place])


@splits
def test_instances_decode_to_the_annotated_area_and_lie_in_their_boxes(root: Path, split: str) -> None:
    entries = annotations(root, "instances", split)
    classes = {number: rank for rank, number in enumerate(THINGS)}

    def check(image_id: int, sample: dict[str, Any]) -> None:
        label = sample["instance"]
        assert label.areas.tolist() == [entry["area"] for entry in entries[image_id]]
        assert label.masks.flatten(1).sum(1).tolist() == label.areas.tolist()
        assert label.classes.tolist() == [classes[entry["category_id"]] for entry in entries[image_id]]
        assert label.crowd.tolist() == [bool(entry["iscrowd"]) for entry in entries[image_id]]
        for mask, (left, top, right, bottom) in zip(label.masks, label.boxes.int().tolist(), strict=True):
            assert mask[top:bottom, left:right].sum() == mask.sum()

    each(root, split, ["instance"], check)


@splits
def test_segments_and_stuff_are_the_annotated_ones_and_the_semantic_map(root: Path, split: str) -> None:
    """The semantic map comes with the data set: an index into the list of panoptic categories, 255 for void."""
    entries = annotations(root, "panoptic", split)
    classes = {number: rank for rank, number in enumerate([*THINGS, *PANOPTIC_STUFF])}

    def check(image_id: int, sample: dict[str, Any]) -> None:
        label, (entry,) = sample["panoptic"], entries[image_id]
        segments = entry["segments_info"]
        assert label.classes.tolist() == [classes[part["category_id"]] for part in segments]
        ids = label.ids.numpy()
        assert [int((ids == part["id"]).sum()) for part in segments] == [part["area"] for part in segments]
        semantic = np.asarray(Image.open(root / "semseg133" / split / f"{image_id:012d}.png"))
        crowd = np.isin(ids, label.segment_ids[label.crowd].numpy())
        assert np.array_equal(label.class_map(IGNORE).numpy(), np.where(crowd, IGNORE, semantic))
        things_first = np.concatenate([np.zeros(80), np.arange(1, 54), np.full(123, IGNORE)])
        assert np.array_equal(sample["stuff"].numpy(), things_first[semantic])

    each(root, split, ["panoptic", "stuff"], check)


@splits
def test_labelled_keypoints_lie_in_the_image_and_are_counted_as_annotated(root: Path, split: str) -> None:
    entries = annotations(root, "person_keypoints", split)
    counted = {"people": 0, "with keypoints": 0}

    def check(image_id: int, sample: dict[str, Any]) -> None:
        label = sample["keypoints"]
        labelled = label.keypoints[..., 2] > 0
        assert labelled.sum(1).tolist() == [entry["num_keypoints"] for entry in entries[image_id]]
        x, y = label.keypoints[labelled][:, 0], label.keypoints[labelled][:, 1]
        assert ((x >= 0) & (x <= label.size[1] - 1) & (y >= 0) & (y <= label.size[0] - 1)).all()
        assert not label.keypoints[~labelled].any()
        counted["people"] += len(label)
        counted["with keypoints"] += int(labelled.any(1).sum())

    each(root, split, ["keypoints"], check)
    assert (counted["people"], counted["with keypoints"]) == PERSONS[split]


@splits
def test_images_that_count_are_those_with_objects_and_labelled_people(root: Path, split: str) -> None:
    source = open_source(SourceSettings(root))
    everything = np.arange(100)
    for task, kind in (("instance", "instances"), ("keypoints", "person_keypoints")):
        entries = annotations(root, kind, split)
        expected = [
            place
            for place, image_id in enumerate(source.ids(split))
            if any(not entry["iscrowd"] and entry.get("num_keypoints", 1) > 0 for entry in entries[int(image_id)])
        ]
        assert source.usable(split, everything, [task]).tolist() == expected
    assert source.usable(split, everything, ["panoptic", "instance"]).tolist() == everything.tolist()


@pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy keyword")
def test_index_finds_the_annotations_that_the_official_library_finds(root: Path) -> None:
    from pycocotools.coco import COCO

    path = root / "annotations" / "instances_val2017.json"
    index, reference = load_index(path, "instances", root, None), COCO(str(path))
    assert index.image_ids.tolist() == sorted(reference.imgs)
    for place, image_id in enumerate(index.image_ids.tolist()):
        entries = index.read(place, path, BoxedAnnotation)
        assert [entry.id for entry in entries] == [entry["id"] for entry in reference.imgToAnns[image_id]]
        size = (int(index.sizes[place, 0]), int(index.sizes[place, 1]))
        for entry, theirs in zip(entries[:2], reference.imgToAnns[image_id], strict=False):
            drawn = draw_mask(decode_segmentation(path, "", entry.segmentation), size)
            assert np.array_equal(drawn, reference.annToMask(theirs))
