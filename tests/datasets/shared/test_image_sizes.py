"""Images larger than ``image-size`` under ``fit: pad``: scored whole, or refused before anything is trained."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from errors import naming
from fmtl_datasets.registry import open_dataset, open_source, open_split, require_fitting
from fmtl_datasets.scenarios.scenario import ClientEntry, ScenarioError
from fmtl_datasets.shared.source import DataFileError, SourceSettings
from fmtl_datasets.sources.nyud import VARIANTS
from fmtl_datasets.transforms.transforms import evaluation_transform, to_batch
from PIL import Image
from tiny_data import write_nyud


def entry(root: Path, **changes: object) -> ClientEntry:
    base = {
        "name": "a",
        "dataset": "nyud",
        "data-root": str(root),
        "tasks": ["semseg", "depth"],
        "image-size": [64, 64],
        "fit": "pad",
        "augment": "reference",
        "encoder": "x",
    }
    return ClientEntry.model_validate({**base, **changes})


@pytest.mark.parametrize(
    ("size", "expected"),
    [((48, 64), (64, 64)), ((64, 65), (64, 96)), ((70, 40), (96, 64)), ((96, 128), (96, 128)), ((60, 127), (64, 128))],
)
def test_validation_images_are_scored_whole_at_a_size_that_every_encoder_takes(
    tmp_path: Path, size: tuple[int, int], expected: tuple[int, int]
) -> None:
    write_nyud(tmp_path, "atrc", train=2, val=2, size=size)
    opened = open_split(entry(tmp_path), "validation")
    assert opened.size == expected
    prepare = evaluation_transform(opened.size, "imagenet")
    batch = to_batch([prepare(opened.samples[index]) for index in range(2)])
    assert tuple(batch["image"].shape) == (2, 3, *expected)
    assert int((batch["semseg"] != 255).sum()) == sum(
        int((torch.as_tensor(opened.samples[index]["semseg"]) != 255).sum()) for index in range(2)
    )


def test_images_of_several_sizes_are_scored_at_one_size(tmp_path: Path) -> None:
    write_nyud(tmp_path, "atrc", train=2, val=2, size=(48, 64))
    Image.new("RGB", (100, 80)).save(tmp_path / "images" / "0004.png")
    assert open_split(entry(tmp_path), "validation").size == (96, 128)


def test_images_that_are_scaled_are_scored_at_the_image_size(tmp_path: Path) -> None:
    write_nyud(tmp_path, "atrc", train=2, val=2, size=(96, 128))
    for fit in ("resize", "inside"):
        assert open_split(entry(tmp_path, fit=fit), "validation").size == (64, 64)


def test_image_that_training_could_never_see_whole_is_refused_by_name(tmp_path: Path) -> None:
    write_nyud(tmp_path, "atrc", train=2, val=3, size=(48, 64))
    Image.new("RGB", (129, 80)).save(tmp_path / "images" / "0004.png")
    client = entry(tmp_path)
    expected = naming("client a", "images/0004.png", "80 x 129", "image-size", "[64, 64]", "fit: inside", "fit: resize")
    with pytest.raises(ScenarioError, match=expected):
        open_dataset(client, "validation")
    with pytest.raises(ScenarioError, match=expected):
        require_fitting(client, open_source("nyud", SourceSettings(tmp_path)))
    require_fitting(entry(tmp_path, fit="inside", augment="flip"), open_source("nyud", SourceSettings(tmp_path)))


def test_training_images_are_refused_where_the_augmentation_does_not_cut_them(tmp_path: Path) -> None:
    write_nyud(tmp_path, "atrc", train=2, val=2, size=(48, 80))
    assert len(open_dataset(entry(tmp_path), "train")) == 2
    client = entry(tmp_path, augment="flip")
    for attempt in (
        lambda: open_dataset(client, "train"),
        lambda: require_fitting(client, open_source("nyud", SourceSettings(tmp_path))),
    ):
        with pytest.raises(ScenarioError, match=naming("48 x 80", "2 of 2", "augment: flip", "augment: reference")):
            attempt()


def test_file_that_is_no_image_is_named(tmp_path: Path) -> None:
    write_nyud(tmp_path, "vandenhende", train=2, val=1)
    (tmp_path / "images" / "0003.jpg").write_bytes(b"no picture")
    with pytest.raises(DataFileError, match=naming("images/0003.jpg")):
        open_dataset(entry(tmp_path), "validation")


@pytest.mark.parametrize("variant", [variant.name for variant in VARIANTS])
def test_sizes_are_read_from_every_package(tmp_path: Path, variant: str) -> None:
    write_nyud(tmp_path, variant, train=2, val=2, size=(80, 120))
    assert open_split(entry(tmp_path), "validation").size == (96, 128)
