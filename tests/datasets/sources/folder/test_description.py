"""fmtl-data.yaml: every mistake is named with file, line and key, and no path leads out of the data root."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from errors import naming
from fmtl_datasets.shared.paths import path_problem
from fmtl_datasets.shared.source import DataFileError, DataLayoutError, SourceSettings
from fmtl_datasets.sources.folder.settings import ClassFiles, Description
from fmtl_datasets.sources.folder.source import FolderSource, open_source
from PIL import Image
from tiny_folder import write_folder

GOOD = """\
name: plant
images: images
lists:
  train: train.txt
  validation: validation.txt
tasks:
  semseg:
    folder: labels/semseg
    classes: 13
  depth:
    folder: labels/depth
    units-per-metre: 1000
"""


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / "plant"
    write_folder(folder, ("semseg", "depth"), train=3, val=2, size=(16, 20))
    (folder / "fmtl-data.yaml").write_text(GOOD)
    return folder


def opened(root: Path, text: str | None = None) -> FolderSource:
    if text is not None:
        (root / "fmtl-data.yaml").write_text(text)
    return open_source(SourceSettings(root))


@pytest.mark.parametrize(
    ("old", "new", "facts"),
    [
        ("name: plant", "name: a plant", (":1", "name", "a plant")),
        ("images: images\n", "", (":1", "images")),
        (
            "images: images",
            "images: {folder: images, wite: 3}",
            (":2", "images.wite", "white"),
        ),
        ("images: images", "images: {folder: images, white: 0}", (":2", "images.white", 0, 1)),
        ("classes: 13", "classes: 1", (":9", "tasks.semseg.classes", "2 to 255")),
        ("classes: 13", "classes: [a, b, a]", (":9", "tasks.semseg.classes", ["a", "b", "a"])),
        ("classes: 13", "classes: 2.5", (":9", "tasks.semseg.classes", 2.5)),
        (
            "classes: 13",
            "classes: 13\n    ignore: 70000",
            (":10", "tasks.semseg.ignore", 70000),
        ),
        (
            "classes: 13",
            "classes: [a, b]\n    values: {7: c}",
            (":7", "tasks.semseg", "values", 7, "c"),
        ),
        (
            "classes: 13",
            "classes: 2\n    values: {255: 1}",
            (":7", "tasks.semseg", 255),
        ),
        ("classes: 13", "classes: 2\n    values: {x: 1}", (":10", "tasks.semseg.values", "x")),
        ("units-per-metre: 1000", "units-per-metre: 0", (":12", "tasks.depth.units-per-metre", 0)),
        ("  depth:", "  dephts:", (":10", "tasks.dephts", "depth")),
        (
            "  depth:\n    folder: labels/depth\n    units-per-metre: 1000",
            "  saliency: 7",
            (":10", "tasks.saliency", 7),
        ),
        ("lists:", "split: {validation: 0.2}\nlists:", (":1", "lists", "split")),
        ("  validation: validation.txt", "  the validation: validation.txt", ("the validation",)),
        ("tasks:", "name: again\ntasks:", (":6", "name", "twice")),
        ("name: plant", "name: [", ("YAML",)),
    ],
)
def test_mistakes_are_named_with_line_and_key(root: Path, old: str, new: str, facts: tuple[object, ...]) -> None:
    assert old in GOOD
    with pytest.raises(DataFileError, match=naming(root / "fmtl-data.yaml", *facts)):
        opened(root, GOOD.replace(old, new))


def test_all_mistakes_are_listed_at_once(root: Path) -> None:
    with pytest.raises(DataFileError) as caught:
        opened(
            root, GOOD.replace("classes: 13", "classes: 1").replace("1000", "-1").replace("name: plant", "nam: plant")
        )
    assert len(str(caught.value).splitlines()) == 4  # the missing name and the unknown key are two


def test_a_description_without_tasks_is_refused(root: Path) -> None:
    with pytest.raises(DataFileError, match=naming("tasks", "empty")):
        opened(root, GOOD[: GOOD.index("tasks:")] + "tasks: {}\n")


def test_a_folder_without_a_description_says_where_to_read_how_to_write_one(tmp_path: Path) -> None:
    with pytest.raises(DataLayoutError, match=naming("fmtl-data.yaml", "docs/your-own-data.md")):
        opened(tmp_path)
    with pytest.raises(DataLayoutError, match=naming("folder")):
        opened(tmp_path / "nowhere")


@pytest.mark.parametrize(
    "given", ["/etc", "../plant2", "images/../../x", "~/images", "C:/images", "a\\b", "", " ", "a\0b"]
)
def test_path_tricks_are_recognised(given: str) -> None:
    assert path_problem(given) is not None


@pytest.mark.parametrize("given", ["images", "labels/a", "a..b/c", "./images", "with space/x"])
def test_plain_paths_are_not_tricks(given: str) -> None:
    assert path_problem(given) is None


@pytest.mark.parametrize("trick", ["/etc", "../elsewhere", "labels/../../elsewhere"])
@pytest.mark.parametrize(
    ("key", "line"),
    [("images: images", 2), ("train: train.txt", 4), ("folder: labels/semseg", 8), ("folder: labels/depth", 11)],
)
def test_no_path_of_the_description_leads_out_of_the_data_root(root: Path, trick: str, key: str, line: int) -> None:
    with pytest.raises(DataFileError, match=naming(f":{line}:", trick)):
        opened(root, GOOD.replace(key, f"{key.split(':')[0]}: {trick}"))


@pytest.mark.parametrize("part", ["images", "labels/semseg", "train.txt"])
def test_links_that_lead_out_of_the_data_root_are_refused(root: Path, part: str) -> None:
    outside = root.parent / "outside"
    (root / part).rename(outside)
    (root / part).symlink_to(outside)
    with pytest.raises(DataLayoutError, match=naming(part, "data root")):
        opened(root)


@pytest.mark.parametrize("part", ["images/room1/scene0000.png", "labels/semseg/room1/scene0000.png"])
def test_linked_files_outside_the_data_root_are_refused(root: Path, part: str) -> None:
    outside = root.parent / "outside.png"
    (root / part).rename(outside)
    (root / part).symlink_to(outside)
    with pytest.raises(DataLayoutError, match=naming(part, "link")):
        opened(root).open(("semseg",), "train")


def test_links_inside_the_data_root_and_a_linked_data_root_are_fine(root: Path) -> None:
    (root / "labels" / "semseg").rename(root / "elsewhere")
    (root / "labels" / "semseg").symlink_to(root / "elsewhere")
    link = root.parent / "link"
    link.symlink_to(root)
    assert len(opened(link).open(("semseg",), "train")) == 3


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("/etc/passwd", "is no image id"),
        ("../plant/images/room1/scene0000", "is no image id"),
        ("room1/scene0000", r"is listed twice \(first on line 1\)"),
        ("room1/scene0002.png", "no image .* Leave out the ending: room1/scene0002"),
        ("scene0002", "no image 'scene0002' in .*images. Correct the list, .* Ids there look like 'room1/scene0000'"),
    ],
)
def test_wrong_lines_of_a_list_are_named(root: Path, line: str, message: str) -> None:
    (root / "train.txt").write_text(f"room1/scene0000\n\n{line}\n")
    with pytest.raises(DataFileError, match=rf"train.txt:3: .*{message}"):
        opened(root)


@pytest.mark.parametrize("content", [b"", b"\n \n", b"\xff\xfe\x00"])
def test_a_list_without_ids_is_refused(root: Path, content: bytes) -> None:
    (root / "train.txt").write_bytes(content)
    with pytest.raises(DataFileError, match=naming("train.txt")):
        opened(root)


def test_lists_keep_their_order_and_may_end_lines_as_windows_does(root: Path) -> None:
    (root / "train.txt").write_bytes(b"\xef\xbb\xbfroom2/scene0003\r\nroom1/scene0000\r\n")
    source = opened(root)
    assert source.ids("train") == ("room2/scene0003", "room1/scene0000")
    assert source.open((), "train", np.array([1])).ids == ("room1/scene0000",)


def test_training_list_comes_first_and_validation_second(root: Path) -> None:
    text = GOOD.replace("  train: train.txt\n", "  fit: train.txt\n  few: train.txt\n")
    assert opened(root, text).lists == ("fit", "validation", "few")


def test_an_unknown_list_or_task_is_refused_with_those_there_are(root: Path) -> None:
    source = opened(root)
    with pytest.raises(DataLayoutError, match=naming(":3", "test", "train, validation")):
        source.ids("test")
    with pytest.raises(ValueError, match=naming("edge", "semseg, depth")):
        source.open(("edge",), "train")


def test_a_label_that_is_missing_is_named_with_the_place_where_it_should_be(root: Path) -> None:
    for number in (0, 2):
        (root / f"labels/semseg/room1/scene000{number}.png").unlink()
    source = opened(root)
    paths = [file.path for file in source.files("train", ("semseg",)) if not file.path.is_file()]
    assert paths == [root / f"labels/semseg/room1/scene000{number}.png" for number in (0, 2)]
    with pytest.raises(DataLayoutError, match=naming("labels/semseg/room1/scene0000.png", "1")):
        source.open(("semseg",), "train")
    assert len(source.open(("depth",), "train")) == 3


@pytest.mark.parametrize(
    ("old", "new", "facts"),
    [
        (
            "    units-per-metre: 1000\n",
            "",
            (":11", "labels/depth", ".npy", "units-per-metre"),
        ),
        ("classes: 13", "classes: 13\n    suffix: _mask", (":8", "labels/semseg", "_mask.png")),
    ],
)
def test_a_folder_without_labels_of_that_kind_is_named(
    root: Path, old: str, new: str, facts: tuple[object, ...]
) -> None:
    with pytest.raises(DataLayoutError, match=naming(*facts)):
        opened(root, GOOD.replace(old, new))


def test_two_files_of_one_name_are_refused(root: Path) -> None:
    Image.new("RGB", (20, 16)).save(root / "images/room1/scene0000.jpg")
    with pytest.raises(DataLayoutError, match=naming("room1/scene0000")):
        opened(root)


def test_common_ends_of_names_are_no_part_of_ids(root: Path) -> None:
    for path in [*(root / "images").rglob("*.png")]:
        path.rename(path.with_name(f"{path.stem}_rgb.PNG"))
        Image.new("L", (20, 16)).save(path.with_name(f"{path.stem}_preview.png"))
    for path in [*(root / "labels/semseg").rglob("*.png")]:
        path.rename(path.with_name(f"{path.stem}_mask.png"))
    text = GOOD.replace("images: images", "images: {folder: images, suffix: _rgb}")
    source = opened(root, text.replace("classes: 13", "classes: 13\n    suffix: _mask"))
    assert source.ids("train")[0] == "room1/scene0000"
    assert set(source.open(("semseg", "depth"), "train")[0]) == {"image", "semseg", "depth"}


def split_of(root: Path, **settings: Any) -> dict[str, tuple[str, ...]]:
    text = re.sub(r"lists:.*?(?=tasks:)", f"split: {settings}\n".replace("'", ""), GOOD, flags=re.DOTALL)
    source = opened(root, text)
    return {name: source.ids(name) for name in source.lists}


def test_a_split_is_the_same_everywhere_divides_everything_and_depends_on_its_seed(root: Path) -> None:
    first = split_of(root, validation=0.4, seed=0)
    assert list(first) == ["train", "validation"]
    assert len(first["validation"]) == 2
    assert sorted(first["train"] + first["validation"]) == sorted(f"room{i % 2 + 1}/scene{i:04d}" for i in range(5))
    assert split_of(root, validation=0.4, seed=0) == first
    assert len({split_of(root, validation=0.4, seed=seed)["validation"] for seed in range(8)}) > 1


def test_a_split_leaves_most_images_where_they_were_when_others_are_added(tmp_path: Path) -> None:
    write_folder(tmp_path, ("semseg", "depth"), train=30, val=0, size=(16, 20))
    before = split_of(tmp_path, validation=0.2)
    write_folder(tmp_path, ("semseg", "depth"), train=33, val=0, size=(16, 20))
    after = split_of(tmp_path, validation=0.2)
    assert len(set(before["validation"]) - set(after["validation"])) <= 2


@pytest.mark.parametrize("fraction", [0.001, 0.999])
def test_a_split_leaves_an_image_on_either_side(root: Path, fraction: float) -> None:
    parts = split_of(root, validation=fraction)
    assert min(map(len, parts.values())) == 1


def test_class_counts_and_names_are_known(root: Path) -> None:
    source = opened(root, GOOD.replace("classes: 13", f"classes: [{', '.join('abcdefghijklm')}]"))
    assert source.num_classes == {"semseg": 13}
    assert source.class_names == {"semseg": tuple("abcdefghijklm")}
    assert opened(root, GOOD).class_names == {}
    assert opened(root, GOOD).open(("depth",), "train").num_classes == {}


def test_ignored_values_may_be_several_or_none() -> None:
    assert ClassFiles(folder="x", classes=3, ignore=[254, 255]).ignore == (254, 255)
    assert ClassFiles(folder="x", classes=3, ignore="none").ignore == ()
    assert ClassFiles(folder="x", classes=3, ignore=0).meaning() == {1: 1, 2: 2}


def test_masks_need_values_that_differ() -> None:
    for wrong in ({"positive": 0}, {"ignore": 255}, {"positive": "none"}):
        with pytest.raises(ValueError, match=naming("values")):
            Description.model_validate(
                {
                    "name": "x",
                    "images": "i",
                    "split": {"validation": 0.1},
                    "tasks": {"saliency": {"folder": "s", **wrong}},
                }
            )
