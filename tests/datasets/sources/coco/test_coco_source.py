"""COCO 2017 on disk: layouts, lists, tasks on offer, which images count, and what is missing."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from fmtl_datasets.catalogue import DATA_SETS
from fmtl_datasets.registry import open_dataset
from fmtl_datasets.registry import open_source as open_by_name
from fmtl_datasets.scenarios.scenario import ClientEntry
from fmtl_datasets.shared.source import DataFileError, DataLayoutError, SourceSettings
from fmtl_datasets.sources.coco.categories import FIRST_STUFF, PANOPTIC_STUFF, STUFF, THINGS
from fmtl_datasets.sources.coco.index import forget_indices
from fmtl_datasets.sources.coco.source import CocoSource, open_source
from fmtl_datasets.sources.procedural import STUFF_CLASSES
from fmtl_datasets.transforms.transforms import to_batch, training_transform
from PIL import Image
from tiny_coco import write_coco


@pytest.fixture
def root(tmp_path: Path) -> Path:
    write_coco(tmp_path / "coco", stuff=True)
    return tmp_path / "coco"


def read(root: Path, kind: str, split: str = "train2017") -> dict[str, Any]:
    content: dict[str, Any] = json.loads((root / "annotations" / f"{kind}_{split}.json").read_text())
    return content


def everything(source: CocoSource, image_list: str = "train2017") -> Any:
    return np.arange(len(source.ids(image_list)))


def test_official_and_images_layout_are_found_and_named(tmp_path: Path) -> None:
    write_coco(tmp_path / "official", images_in_root=True)
    write_coco(tmp_path / "other")
    for name, place in (("official", "images in its root"), ("other", "images in images/")):
        source = open_by_name("coco", SourceSettings(tmp_path / name))
        assert place in source.summary
        assert len(source.open(["instance"], "val2017")) == 4
        assert source.open(["instance"], "val2017")[0]["image"].shape == (3, 64, 80)


def test_panoptic_maps_may_lie_in_the_root(root: Path) -> None:
    for split in ("train2017", "val2017"):
        shutil.move(root / "annotations" / f"panoptic_{split}", root / f"panoptic_{split}")
    source = open_source(SourceSettings(root))
    assert "panoptic" in source.tasks
    assert len(source.open(["panoptic"], "train2017")[0]["panoptic"]) > 2


def test_lists_hold_the_annotated_images_by_rising_id(root: Path) -> None:
    source = open_source(SourceSettings(root))
    assert source.lists == ("train2017", "val2017")
    for image_list, first, count in (("train2017", 1000, 8), ("val2017", 500_000, 4)):
        assert source.ids(image_list) == tuple(f"{first + 7 * number:012d}" for number in range(count))
    with pytest.raises(DataLayoutError, match="no image list 'test2017'; it has train2017, val2017"):
        source.ids("test2017")


def test_order_of_the_entries_in_the_file_does_not_change_the_list(root: Path) -> None:
    before = open_source(SourceSettings(root)).ids("train2017")
    for kind in ("person_keypoints", "instances", "panoptic"):
        content = read(root, kind)
        content["images"].reverse()
        content["annotations"].reverse()
        (root / "annotations" / f"{kind}_train2017.json").write_text(json.dumps(content))
    source = open_source(SourceSettings(root))
    assert source.ids("train2017") == before
    sample = source.open(["instance", "panoptic"], "train2017")[1]
    numbers = [a["category_id"] for a in read(root, "instances")["annotations"] if a["image_id"] == 1007]
    assert sample["instance"].classes.tolist() == [list(THINGS).index(number) for number in numbers]


def test_classes_are_those_of_coco_in_the_order_of_their_ids(root: Path) -> None:
    assert (len(THINGS), len(PANOPTIC_STUFF), len(STUFF)) == (80, 53, 92)
    assert list(THINGS) == sorted(THINGS)
    assert list(PANOPTIC_STUFF) == sorted(PANOPTIC_STUFF)
    assert (THINGS[1], THINGS[90], PANOPTIC_STUFF[92], PANOPTIC_STUFF[200]) == (
        "person",
        "toothbrush",
        "banner",
        "rug-merged",
    )
    assert (STUFF[0], STUFF[182 - FIRST_STUFF], STUFF[183 - FIRST_STUFF]) == ("banner", "wood", "other")
    same = [number for number in PANOPTIC_STUFF if number <= 182]
    assert [PANOPTIC_STUFF[number] for number in same] == [STUFF[number - FIRST_STUFF] for number in same]
    panoptic, stuff = (
        open_source(SourceSettings(root, stuff_labels="panoptic")),
        open_source(SourceSettings(root, stuff_labels="stuff")),
    )
    assert panoptic.num_classes == {"instance": 80, "stuff": 54, "panoptic": 133, "panoptic-things": 80}
    assert stuff.num_classes == {"instance": 80, "stuff": 92, "panoptic": 133, "panoptic-things": 80}
    assert panoptic.class_names["panoptic"] == (*THINGS.values(), *PANOPTIC_STUFF.values())
    assert panoptic.class_names["instance"] == tuple(THINGS.values())
    assert panoptic.class_names["stuff"] == (STUFF_CLASSES[0], *PANOPTIC_STUFF.values())
    assert stuff.class_names["stuff"] == STUFF


def test_class_counts_of_samples_are_those_of_the_tasks_asked_for(root: Path) -> None:
    source = open_source(SourceSettings(root))
    assert source.open(["keypoints"], "val2017").num_classes == {}
    assert source.open(["panoptic"], "val2017").num_classes == {"panoptic": 133, "panoptic-things": 80}
    samples = source.open(["stuff", "instance"], "val2017")
    assert (samples.num_classes, samples.tasks) == ({"stuff": 54, "instance": 80}, ("stuff", "instance"))
    assert set(samples[0]) == {"image", "stuff", "instance"}


def test_tasks_on_offer_are_those_whose_files_are_there(root: Path) -> None:
    assert open_source(SourceSettings(root)).tasks == DATA_SETS["coco"].tasks
    (root / "annotations" / "person_keypoints_train2017.json").unlink()
    shutil.rmtree(root / "annotations" / "panoptic_train2017")
    source = open_source(SourceSettings(root))
    assert source.tasks == ("instance",)
    for part in (
        "no keypoints (person_keypoints_train2017.json or its maps, of annotations_trainval2017.zip, are missing)",
        "no stuff (panoptic_train2017.json or its maps, of panoptic_annotations_trainval2017.zip, are missing)",
    ):
        assert part in source.summary
    assert open_source(SourceSettings(root, stuff_labels="stuff")).tasks == ("instance", "stuff")


def test_a_missing_annotation_file_is_named_with_its_archive(root: Path) -> None:
    cases = {
        "instance": ("instances_val2017.json", "annotations_trainval2017.zip"),
        "keypoints": ("person_keypoints_val2017.json", "annotations_trainval2017.zip"),
        "panoptic": ("panoptic_val2017.json", "panoptic_annotations_trainval2017.zip"),
        "stuff": ("stuff_val2017.json", "stuff_annotations_trainval2017.zip"),
    }
    source = open_source(SourceSettings(root, stuff_labels="stuff"))
    for task, (name, archive) in cases.items():
        hidden = (root / "annotations" / name).rename(root / "hidden")
        with pytest.raises(DataLayoutError, match=rf"{name} is missing\. It is in {archive} from cocodataset\.org"):
            source.open([task], "val2017")
        hidden.rename(root / "annotations" / name)


def test_missing_panoptic_maps_are_named_with_the_archive_inside_the_archive(root: Path) -> None:
    source = open_source(SourceSettings(root))
    (root / "annotations" / "panoptic_val2017" / "000000500007.png").unlink()
    with pytest.raises(DataLayoutError, match=r"000000500007\.png is missing, and with it 1 of 4 panoptic maps"):
        source.open(["stuff"], "val2017")
    shutil.rmtree(root / "annotations" / "panoptic_val2017")
    with pytest.raises(DataLayoutError, match=r"panoptic_val2017\.zip lies inside panoptic_annotations_trainval2017"):
        source.open(["panoptic"], "val2017")


def test_missing_images_are_counted_and_named_with_their_archive(root: Path) -> None:
    for number in (500_000, 500_014):
        (root / "images" / "val2017" / f"{number:012d}.jpg").unlink()
    source = open_source(SourceSettings(root))
    with pytest.raises(DataLayoutError, match=r"000000500000\.jpg is missing, and with it 2 of 4 .* val2017\.zip"):
        source.open(["instance"], "val2017")
    assert len(source.open(["instance"], "val2017", np.array([1, 3]))) == 2


@pytest.mark.parametrize(
    ("removed", "message"),
    [
        ("", "is no folder; point it at the folder of COCO 2017"),
        ("images", r"neither .*coco/train2017 nor .*coco/images/train2017 is there\. Unpack train2017\.zip"),
        (
            "annotations",
            r"no annotation file for train2017.*instances_train2017\.json \(annotations_trainval2017\.zip\)",
        ),
    ],
)
def test_a_folder_that_is_not_coco_is_refused_with_what_to_fetch(root: Path, removed: str, message: str) -> None:
    shutil.rmtree(root / removed)
    with pytest.raises(DataLayoutError, match=message):
        open_source(SourceSettings(root))


def test_validation_images_may_be_absent(root: Path) -> None:
    shutil.rmtree(root / "images" / "val2017")
    assert open_source(SourceSettings(root)).lists == ("train2017",)


def test_a_task_that_coco_does_not_have_is_refused(root: Path) -> None:
    with pytest.raises(ValueError, match="COCO has no depth; it offers instance, keypoints, stuff, panoptic"):
        open_source(SourceSettings(root)).open(["depth", "instance"], "train2017")


def test_usable_images_are_those_with_something_to_train_on(root: Path) -> None:
    source = open_source(SourceSettings(root))
    crowd_only = read(root, "instances")
    for annotation in crowd_only["annotations"]:
        annotation["iscrowd"] = int(annotation["iscrowd"] or annotation["image_id"] == 1014)
    # The official files do not have the annotations of an image side by side.
    crowd_only["annotations"].sort(key=lambda entry: (entry["category_id"], -entry["image_id"]))
    (root / "annotations" / "instances_train2017.json").write_text(json.dumps(crowd_only))

    def usable(*tasks: str) -> list[int]:
        return [int(place) for place in source.usable("train2017", everything(source), tasks)]

    # Image 2 shows nothing but crowds now, image 3 no person, 6 a person without keypoints, 7 no object.
    assert usable("instance") == [0, 1, 3, 4, 5, 6]
    assert usable("keypoints") == [0, 1, 2, 4, 5]
    assert usable("instance", "keypoints") == [0, 1, 2, 3, 4, 5, 6]
    for tasks in (("stuff",), ("panoptic",), ("keypoints", "stuff"), ("instance", "panoptic"), ()):
        assert usable(*tasks) == list(range(8))


def test_usable_keeps_the_order_of_the_places(root: Path) -> None:
    source = open_source(SourceSettings(root))
    assert source.usable("train2017", np.array([7, 5, 3, 0, 1]), ["keypoints"]).tolist() == [5, 0, 1]
    assert source.usable("train2017", np.array([], dtype=np.int64), ["keypoints"]).tolist() == []


def test_samples_follow_the_places_asked_for(root: Path) -> None:
    source = open_source(SourceSettings(root))
    whole, chosen = source.open(["keypoints"], "train2017"), source.open(["keypoints"], "train2017", np.array([5, 2]))
    assert len(chosen) == 2
    for place, origin in ((0, 5), (1, 2)):
        assert chosen[place]["image"].tolist() == whole[origin]["image"].tolist()
        assert chosen[place]["keypoints"].boxes.tolist() == whole[origin]["keypoints"].boxes.tolist()


def test_every_file_of_a_sample_is_listed(root: Path) -> None:
    source = open_source(SourceSettings(root))
    listed = list(source.files("val2017", ["instance", "stuff", "panoptic"]))
    assert all(file.path.is_file() for file in listed)
    assert sum(file.kind == "image" for file in listed) == 4
    assert {file.path.name for file in listed if file.kind == "instance"} == {"instances_val2017.json"}
    for kind in ("stuff", "panoptic"):
        names = {file.path.name for file in listed if file.kind == kind}
        assert names == {"panoptic_val2017.json", *(f"{500_000 + 7 * number:012d}.png" for number in range(4))}
    assert {file.image_id for file in listed if file.kind == "image"} == set(source.ids("val2017"))


def test_the_index_is_kept_outside_the_data_set_and_renewed_when_a_file_changes(root: Path, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    before = sorted(path.relative_to(root) for path in root.rglob("*"))
    source = open_source(SourceSettings(root, cache))
    fresh = source.open(["instance"], "train2017")[4]["instance"]
    assert sorted(path.relative_to(root) for path in root.rglob("*")) == before
    assert any(cache.rglob("*instances_train2017*"))
    content = read(root, "instances")
    content["annotations"] = [entry for entry in content["annotations"] if entry["image_id"] != 1028]
    (root / "annotations" / "instances_train2017.json").write_text(json.dumps(content))
    changed = open_source(SourceSettings(root, cache)).open(["instance"], "train2017")
    assert (len(fresh), len(changed[4]["instance"])) == (3, 0)


def test_a_kept_index_gives_the_same_samples_as_the_file(root: Path, tmp_path: Path) -> None:
    fresh = open_source(SourceSettings(root)).open(["instance", "keypoints"], "train2017")
    open_source(SourceSettings(root, tmp_path / "cache")).open(["instance", "keypoints"], "train2017")
    forget_indices()
    kept = open_source(SourceSettings(root, tmp_path / "cache")).open(["instance", "keypoints"], "train2017")
    for place in range(8):
        for task in ("instance", "keypoints"):
            mine, others = vars(fresh[place][task]), vars(kept[place][task])
            assert {key: str(value) for key, value in mine.items()} == {
                key: str(value) for key, value in others.items()
            }


def test_an_annotation_file_that_changes_during_a_run_is_noticed(root: Path) -> None:
    samples = open_source(SourceSettings(root)).open(["instance"], "train2017")
    path = root / "annotations" / "instances_train2017.json"
    path.write_text(path.read_text().replace('"annotations": [', '"annotations": [   '))
    with pytest.raises(DataFileError, match=r"instances_train2017\.json has changed since it was opened"):
        samples[0]


@pytest.mark.parametrize(("tasks", "count"), [(["keypoints"], 5), (["instance"], 7), (["stuff", "keypoints"], 8)])
@pytest.mark.parametrize("fit", ["resize", "inside", "pad"])
def test_clients_train_on_usable_images_through_the_whole_chain(
    root: Path, tasks: list[str], count: int, fit: str
) -> None:
    entry = ClientEntry.model_validate(
        {
            "name": "a",
            "dataset": "coco",
            "data-root": str(root),
            "tasks": tasks,
            "image-size": [64, 96],
            "fit": fit,
            "encoder": "x",
        }
    )
    training, validation = open_dataset(entry, "train"), open_dataset(entry, "validation")
    assert (len(training), len(validation)) == (count, 4)
    transform = training_transform("reference", (64, 96), "imagenet")
    batch = to_batch([transform(training[place], torch.Generator().manual_seed(place)) for place in range(count)])
    assert batch["image"].shape == (count, 3, 64, 96)
    for task in {"keypoints", "instance"} & set(tasks):
        assert [label.size for label in batch[task]] == [(64, 96)] * count


def test_every_image_keeps_its_own_size_and_name_whatever_the_order_of_the_file(tmp_path: Path) -> None:
    write_coco(tmp_path, train=3, val=0)
    picture = tmp_path / "images" / "train2017" / "000000001014.jpg"
    Image.open(picture).resize((40, 32)).save(picture)
    content = read(tmp_path, "person_keypoints")
    content["images"][2].update(height=32, width=40)
    content["images"].reverse()
    content["annotations"] = [entry for entry in content["annotations"] if entry["image_id"] != 1014]
    (tmp_path / "annotations" / "person_keypoints_train2017.json").write_text(json.dumps(content))
    images = open_source(SourceSettings(tmp_path)).open(["keypoints"], "train2017")
    assert [tuple(images[place]["image"].shape[1:]) for place in range(3)] == [(64, 80), (64, 80), (32, 40)]
    assert [images[place]["keypoints"].size for place in range(3)] == [(64, 80), (64, 80), (32, 40)]
