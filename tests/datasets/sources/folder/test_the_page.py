"""docs/your-own-data.md is true: its YAML is used word for word, and its error messages are real ones."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
import yaml
from fmtl_datasets.registry import open_dataset
from fmtl_datasets.scenarios.scenario import load_scenario
from fmtl_datasets.shared.conventions import IGNORE, TASKS
from fmtl_datasets.shared.edge_annotators import EDGE_ANNOTATORS
from fmtl_datasets.shared.source import DataFileError, SourceSettings
from fmtl_datasets.sources.folder.source import FolderSource, open_source
from tiny_folder import image_ids, save_png, scenes, write_folder

PAGE = Path(__file__).parents[4] / "docs" / "your-own-data.md"
HEAD = "name: page\nimages: images\nlists: {train: train.txt, validation: validation.txt}\n"
TEXT = PAGE.read_text()
BLOCKS = re.findall(r"^```yaml\n(.*?)^```", TEXT, re.MULTILINE | re.DOTALL)
DESCRIPTIONS = [block for block in BLOCKS if "clients" not in yaml.safe_load(block)]
WHOLE = next(block for block in DESCRIPTIONS if "images: images" in block)
SIZE = (64, 80)


def title(block: str) -> str:
    tasks: Mapping[str, Mapping[str, object]] = yaml.safe_load(block)["tasks"]
    return "+".join(f"{task} {labels.get('folder', '')}" for task, labels in tasks.items())


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that has every file the page speaks of."""
    root = tmp_path_factory.mktemp("data") / "clinic-a"
    write_folder(root, TASKS, train=4, val=2, size=SIZE)
    labels = root / "labels"
    for image_id, sample in zip(image_ids(6), scenes(("semseg", "edge", "normals", "depth"), 6, SIZE), strict=True):
        classes = np.asarray(sample["semseg"]) % 3
        save_png(labels / "semseg" / f"{image_id}.png", np.where(classes == 2, 255, classes).astype(np.uint8))
        values = np.array([0, 128, 200], dtype=np.uint8)[classes]
        save_png(labels / "semseg-values" / f"{image_id}.png", np.where(values == 200, 201, values).astype(np.uint8))
        drawn = np.asarray(sample["edge"]).astype(np.uint16)
        save_png(labels / "edge-bits" / f"{image_id}.png", drawn | np.roll(drawn, 1, axis=1) << 1 | drawn << 2)
        upwards = np.asarray(sample["normals"]).transpose(1, 2, 0) * np.array([1, -1, -1])
        save_png(labels / "normals-y-up" / f"{image_id}.png", np.rint((upwards + 1) * 127.5).astype(np.uint8))
        depth = np.asarray(sample["depth"])[0].copy()
        depth[:5] = -1
        (labels / "depth-npy" / image_id).parent.mkdir(parents=True, exist_ok=True)
        np.save(labels / "depth-npy" / f"{image_id}.npy", depth)
    for name in ("train", "validation"):
        shutil.copy(labels / "instances.json", labels / f"instances-{name}.json")
    return root


def opened(root: Path, block: str) -> FolderSource:
    (root / "fmtl-data.yaml").write_text(block if "images" in yaml.safe_load(block) else HEAD + block)
    return open_source(SourceSettings(root))


@pytest.mark.parametrize("block", DESCRIPTIONS, ids=title)
def test_every_description_on_the_page_opens_and_every_sample_of_it_can_be_read(data: Path, block: str) -> None:
    source = opened(data, block)
    assert source.tasks == tuple(task for task in TASKS if task in yaml.safe_load(block)["tasks"])
    assert source.lists == ("train", "validation")
    for name in source.lists:
        samples = source.open(source.tasks, name)
        assert len(samples) == len(source.ids(name)) > 0
        for index in range(len(samples)):
            assert {"image", *source.tasks} <= set(samples[index])


def test_the_page_has_an_example_for_every_task() -> None:
    assert {task for block in DESCRIPTIONS for task in yaml.safe_load(block)["tasks"]} == set(TASKS)


def test_the_client_on_the_page_trains_on_the_whole_example(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (data / "fmtl-data.yaml").write_text(WHOLE)
    monkeypatch.setenv("FMTL_DATA_ROOT", str(data.parent))
    file = data.parent / "client.yaml"
    file.write_text(next(block for block in BLOCKS if block not in DESCRIPTIONS))
    client = load_scenario(file).client(0)
    for split, count in (("train", 4), ("validation", 2)):
        samples = open_dataset(client, split)  # type: ignore[arg-type]
        assert len(samples) == count
        assert samples[0]["image"].shape == (3, 64, 80)


def test_values_mean_what_the_page_says(data: Path) -> None:
    mapped = opened(data, next(block for block in DESCRIPTIONS if "semseg-values" in block))
    label = np.asarray(mapped.open(("semseg",), "train")[0]["semseg"])
    truth = np.asarray(scenes(("semseg",), 1, SIZE)[0]["semseg"]) % 3
    np.testing.assert_array_equal(label, truth)


def test_annotator_bits_give_a_label_to_train_on_and_every_drawing(data: Path) -> None:
    sample = opened(data, next(block for block in DESCRIPTIONS if "edge-bits" in block)).open(("edge",), "train")[0]
    drawn = np.asarray(scenes(("edge",), 1, SIZE)[0]["edge"]) == 1
    aside = np.roll(drawn, 1, axis=1)
    expected = np.where(drawn, 1, np.where(aside, IGNORE, 0))
    np.testing.assert_array_equal(np.asarray(sample["edge"]), expected)
    np.testing.assert_array_equal(np.asarray(sample[EDGE_ANNOTATORS]), 5 * drawn + 2 * aside)


def test_flipped_axes_give_the_normals_of_this_project(data: Path) -> None:
    sample = opened(data, next(block for block in DESCRIPTIONS if "normals-y-up" in block)).open(("normals",), "train")[
        0
    ]
    truth = np.asarray(scenes(("normals",), 1, SIZE)[0]["normals"])
    np.testing.assert_allclose(np.asarray(sample["normals"]), truth, atol=0.012)
    assert truth[2].mean() < -0.3


def test_depth_arrays_have_their_unknown_pixels_at_zero(data: Path) -> None:
    sample = opened(data, next(block for block in DESCRIPTIONS if "depth-npy" in block)).open(("depth",), "train")[0]
    depth, truth = np.asarray(sample["depth"])[0], np.asarray(scenes(("depth",), 1, SIZE)[0]["depth"])[0]
    assert (depth[:5] == 0).all()
    np.testing.assert_array_equal(depth[5:], truth[5:])


def test_the_errors_on_the_page_are_those_that_are_raised(data: Path) -> None:
    shown = TEXT[TEXT.index("## When something is wrong") :].replace("/data/clinic-a", str(data))
    raised = []
    broken = WHOLE.replace("classes:", "clases:").replace("folder: labels/depth", "folder: ../depth")
    with pytest.raises(DataFileError) as caught:
        opened(data, broken)
    raised += str(caught.value).splitlines()
    source = opened(data, WHOLE)
    label = data / "labels/semseg/room2/scene0001.png"
    kept = label.read_bytes()
    save_png(label, np.full(SIZE, 7, dtype=np.uint8))
    with pytest.raises(DataFileError) as caught:
        source.open(("semseg",), "train")[1]
    label.write_bytes(kept)
    raised.append(str(caught.value))
    listed = (data / "train.txt").read_text()
    (data / "train.txt").write_text(listed + "room1/scene0099\n")
    with pytest.raises(DataFileError) as caught:
        opened(data, WHOLE)
    (data / "train.txt").write_text(listed)
    raised.append(str(caught.value))
    names = {
        "room1/scene0000": "patient1/frame0001",
        "room2/scene0001": "patient1/frame0002",
        "room1/scene0": "patient1/frame0",
    }
    for ours, theirs in names.items():
        raised = [line.replace(ours, theirs) for line in raised]
    shown_lines = [line for line in shown.splitlines() if line.startswith(str(data))]
    assert shown_lines == raised


def test_json_files_of_the_writer_are_valid(data: Path) -> None:
    assert set(json.loads((data / "labels/instances.json").read_text())) == {"images", "annotations", "categories"}
