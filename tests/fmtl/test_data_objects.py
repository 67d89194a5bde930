"""Checking a folder with objects: what lies outside its image is refused, and what no label has is reported."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from fmtl_datasets.registry import open_source
from fmtl_datasets.shared.source import DataFileError, SourceSettings
from tiny_folder import write_folder

from fmtl.data.check import CheckOptions, check_source
from fmtl.data.report import DataReport


def check(root: Path, **options: object) -> DataReport:
    return check_source(open_source("folder", SourceSettings(root)), CheckOptions(dataset="folder", **options))  # type: ignore[arg-type]


def with_boxes(root: Path, image: int, count: int, box: list[float]) -> None:
    """Give the first few objects of an image another box."""
    path = root / "labels/instances.json"
    content = json.loads(path.read_text())
    for entry in [entry for entry in content["annotations"] if entry["image_id"] == image][:count]:
        entry["bbox"] = box
    path.write_text(json.dumps(content))


def test_objects_that_no_label_has_are_reported_with_their_number(tmp_path: Path) -> None:
    write_folder(tmp_path, ["instance", "depth"], train=3, val=2)
    with_boxes(tmp_path, 1, 2, [5, 5, 0, 9])
    (finding,) = [finding for finding in check(tmp_path).findings if finding.kind == "left-out"]
    assert (finding.image_list, finding.task, finding.image_id) == ("train", "instance", "room1/scene0000")
    assert finding.what.startswith("2 of the annotated objects left out")
    assert not finding.blocks
    assert not [one for one in check(tmp_path, tasks=("depth",)).findings if one.kind == "left-out"]


def test_folder_whose_boxes_are_two_corners_does_not_pass(tmp_path: Path) -> None:
    write_folder(tmp_path, ["instance"], train=3, val=2)
    with_boxes(tmp_path, 1, 1, [60, 50, 79, 60])
    with pytest.raises(DataFileError, match="annotation 1 has bbox .* left, top, width and height, not two corners"):
        check(tmp_path)
