"""Two packages told apart by their files, and folders that are neither refused with what is missing."""

from __future__ import annotations

import atexit
import functools
import json
import re
import shutil
import tempfile
from pathlib import Path

import numpy as np
import pytest
from errors import naming
from fmtl_datasets.registry import open_source as open_by_name
from fmtl_datasets.shared.source import DataFileError, DataLayoutError, SourceSettings
from fmtl_datasets.sources.pascal_context.source import open_source
from tiny_pascal_context import Layout, write_pascal_context

FILES = [
    "ImageSets/Context/train.txt",
    "ImageSets/Context/val.txt",
    "JPEGImages/2008_000002.jpg",
    "semseg/VOC12/2008_000002.png",
    "human_parts/2008_000002.mat",
    "pascal-context/trainval/2008_000002.mat",
    "normals_distill/2008_000002.png",
    "sal_distill/2008_000002.png",
]


@functools.cache
def written_once(layout: Layout) -> Path:
    folder = Path(tempfile.mkdtemp(prefix="tiny-pascal-context-"))
    atexit.register(shutil.rmtree, folder)
    write_pascal_context(folder, layout, train=3, val=2)
    return folder


def written(root: Path, layout: Layout = "repacked") -> Path:
    """A data set that the test may change."""
    return shutil.copytree(written_once(layout), root, dirs_exist_ok=True)


@pytest.mark.parametrize(("layout", "named"), [("astmt", "PASCAL_MT"), ("repacked", "PASCALContext")])
def test_each_layout_is_recognised_and_named(tmp_path: Path, layout: Layout, named: str) -> None:
    source = open_by_name("pascal_context", SourceSettings(written(tmp_path, layout)))
    assert named in source.summary
    assert source.tasks == ("semseg", "parts", "saliency", "normals", "edge")
    assert source.lists == ("train", "val")
    assert source.ids("train") == ("2008_000002", "2008_000003", "2008_000004")
    assert source.ids("val") == ("2008_000005", "2008_000006")
    assert source.num_classes == {"semseg": 21, "parts": 7}
    assert [len(source.class_names[task]) for task in ("semseg", "parts")] == [21, 7]
    assert source.class_names["semseg"][15] == "person"


@pytest.mark.parametrize("layout", ["astmt", "repacked"])
@pytest.mark.parametrize("file", FILES)
def test_an_incomplete_folder_is_refused_with_the_path_and_what_both_layouts_look_like(
    tmp_path: Path, layout: Layout, file: str
) -> None:
    (written(tmp_path, layout) / file).unlink()
    with pytest.raises(DataLayoutError) as refused:
        open_source(SourceSettings(tmp_path))
    missing = file.replace("VOC12", "pascal-context")
    assert str(tmp_path / missing) in str(refused.value)
    for expected in ("PASCAL_MT", "PASCALContext", "json/nyu_classes.json", "sal_distill/ID.png"):
        assert expected in str(refused.value)


@pytest.mark.parametrize("file", ["json/nyu_classes.json", "json/context_classes.json"])
def test_a_repacked_folder_without_a_class_list_is_not_taken_for_the_other_layout(tmp_path: Path, file: str) -> None:
    (written(tmp_path) / file).unlink()
    with pytest.raises(DataLayoutError, match=re.escape(file)):
        open_source(SourceSettings(tmp_path))


def test_an_empty_or_absent_folder_is_refused(tmp_path: Path) -> None:
    for root in (tmp_path, tmp_path / "nowhere"):
        with pytest.raises(DataLayoutError, match="data-root"):
            open_source(SourceSettings(root))


def test_a_file_that_only_some_images_lack_is_found_before_training(tmp_path: Path) -> None:
    (written(tmp_path) / "normals_distill" / "2008_000004.png").unlink()
    source = open_source(SourceSettings(tmp_path))
    source.open(("semseg", "edge"), "train")
    source.open(("normals",), "train", np.array([0, 1]))
    with pytest.raises(DataLayoutError, match=naming("2008_000004.png")):
        source.open(("normals",), "train")


def test_every_file_of_a_list_is_named(tmp_path: Path) -> None:
    source = open_source(SourceSettings(written(tmp_path)))
    files = list(source.files("val", source.tasks))
    assert all(file.path.is_file() for file in files)
    folders = {file.kind: set[str]() for file in files}
    for file in files:
        folders[file.kind].add(str(file.path.parent.relative_to(tmp_path)))
    assert folders == {
        "image": {"JPEGImages"},
        "semseg": {"semseg/VOC12", "semseg/pascal-context"},
        "parts": {"human_parts"},
        "saliency": {"sal_distill"},
        "normals": {"normals_distill", "pascal-context/trainval"},
        "edge": {"pascal-context/trainval"},
    }
    shutil.rmtree(tmp_path / "semseg")
    assert [file.path.is_file() for file in source.files("val", ("semseg",))] == [True, False, True, False]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("", "is empty"),
        ("\n \n", "is empty"),
        ("2008_000002\n2008_000002\n", "twice"),
        ("../outside\n", "no image id"),
        ("a/b\n", "no image id"),
    ],
)
def test_a_damaged_list_is_named(tmp_path: Path, content: str, said: str) -> None:
    (written(tmp_path) / "ImageSets" / "Context" / "val.txt").write_text(content)
    with pytest.raises(DataFileError, match=rf"val\.txt: .*{said}"):
        open_source(SourceSettings(tmp_path))


@pytest.mark.parametrize(
    "content", ["", "[]", "{}", '{"wall": "1"}', '{"wall": 440}', '{"tvmonitor": 460}', '{"tvmonitor": true}', "\xff"]
)
def test_a_damaged_class_list_is_named(tmp_path: Path, content: str) -> None:
    (written(tmp_path) / "json" / "context_classes.json").write_text(content, encoding="latin-1")
    with pytest.raises(DataFileError, match=r"context_classes\.json"):
        open_source(SourceSettings(tmp_path))


def test_an_unknown_list_task_or_setting_is_refused(tmp_path: Path) -> None:
    source = open_source(SourceSettings(written(tmp_path)))
    with pytest.raises(DataLayoutError, match="test"):
        source.ids("test")
    with pytest.raises(ValueError, match=naming("depth", "semseg, parts")):
        source.open(("depth",), "train")
    with pytest.raises(ValueError, match=r"parts-flags = 'wrong'"):
        open_source(SourceSettings(tmp_path, parts_flags="wrong"))  # type: ignore[arg-type]


def test_both_layouts_of_the_same_files_give_the_same_samples(tmp_path: Path) -> None:
    repacked = open_source(SourceSettings(written(tmp_path / "a")))
    astmt = open_source(SourceSettings(written(tmp_path / "b", "astmt")))
    pictures = (repacked.open(repacked.tasks, "train"), astmt.open(astmt.tasks, "train"))
    for position in range(3):
        first, second = (samples[position] for samples in pictures)
        assert first.keys() == second.keys()
        for key in first:
            np.testing.assert_array_equal(first[key].numpy(), second[key].numpy())


def test_the_class_lists_of_the_folder_decide_where_normals_are_valid(tmp_path: Path) -> None:
    written(tmp_path)
    (tmp_path / "json" / "nyu_classes.json").write_text(json.dumps({"floor": 11, "unknown": 0, "cupboard": 3}))
    normals = open_source(SourceSettings(tmp_path)).open(("normals",), "val")[1]["normals"]
    valid = (normals != 0).any(dim=0)
    # Floor is the lower three eighths of the picture, the television set a block on the right: nothing else is valid.
    assert valid[45].any()
    assert not valid[:16].any()
    assert not valid[20, :40].any()
    assert valid[20, 60:].all()
