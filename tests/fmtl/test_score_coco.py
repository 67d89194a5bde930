"""`fmtl score` on COCO's files: numbers equal to pycocotools, ground truth scores 100, and every error is named."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import typer
from errors import naming
from fmtl_datasets.shared.conventions import TASKS
from fmtl_datasets.shared.source import DataFileError
from perturbed_coco import ABSENT, ANNOTATIONS, COCO, Json, drawn_annotations, load, results, spoiled_detections
from PIL import Image
from pycocotools import coco
from pycocotools.cocoeval import COCOeval
from typer.testing import CliRunner

from fmtl.commands.score import command
from fmtl.scoring.result import ScoreOptions
from fmtl.scoring.tasks import score

real = pytest.mark.skipif(not ANNOTATIONS.is_dir(), reason=ABSENT)
CASES = [("instance", "segm", "segmentation"), ("instance", "bbox", "bbox"), ("keypoints", "segm", "keypoints")]
Change = Callable[[Any], None]


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path]:
    """Predictions and ground truth with masks, boxes and keypoints."""
    truth = drawn_annotations(2)
    write(tmp_path / "truth.json", truth)
    write(tmp_path / "results.json", spoiled_detections(truth, 2))
    return tmp_path / "results.json", tmp_path / "truth.json"


def write(path: Path, content: Any) -> None:
    path.write_text(json.dumps(content))


def change(path: Path, edit: Change) -> None:
    content = load(path)
    edit(content)
    write(path, content)


@pytest.mark.parametrize(("task", "iou", "field"), CASES)
def test_all_numbers_are_those_of_pycocotools(files: tuple[Path, Path], task: str, iou: str, field: str) -> None:
    write(files[0], results(load(files[0]), field))
    with redirect_stdout(io.StringIO()):
        truth = coco.COCO(str(files[1]))
        run = COCOeval(truth, truth.loadRes(str(files[0])), "keypoints" if task == "keypoints" else iou)
        run.evaluate()
        run.accumulate()
        run.summarize()
    found = score(task, *files, ScoreOptions(iou=iou))
    values = [-1 if value is None else value / 100 for value in found.details.values()]
    np.testing.assert_allclose(values, run.stats, rtol=0, atol=1e-8)
    assert found.value == found.details["AP"]
    assert 5 < found.details["AP"] < 95


@real
@pytest.mark.parametrize("split", ["train2017", "val2017"])
@pytest.mark.parametrize(("task", "iou", "field"), CASES)
def test_real_annotations_as_results_score_exactly_100(
    tmp_path: Path, split: str, task: str, iou: str, field: str
) -> None:
    path = ANNOTATIONS / f"{'person_keypoints' if task == 'keypoints' else 'instances'}_{split}.json"
    entries = [entry for entry in load(path)["annotations"] if not entry["iscrowd"]]
    found = [{**entry, "score": 1.0} for entry in entries if field != "keypoints" or entry["num_keypoints"]]
    write(tmp_path / "results.json", results(found, field))
    assert score(task, tmp_path / "results.json", path, ScoreOptions(iou=iou)).value == 100.0


@real
@pytest.mark.parametrize("split", ["train2017", "val2017"])
def test_real_panoptic_maps_as_predictions_score_exactly_100(split: str) -> None:
    path = ANNOTATIONS / f"panoptic_{split}.json"
    found = score("panoptic", path, path)
    assert (found.value, found.images) == (100.0, 100)
    assert set(found.details.values()) == {100.0}


@real
@pytest.mark.parametrize("split", ["train2017", "val2017"])
def test_real_stuff_labels_as_predictions_score_exactly_100_over_the_classes_seen(split: str) -> None:
    folder = COCO / "semseg133" / split
    found = score("stuff", folder, folder, ScoreOptions(num_classes=133))
    assert (found.details["mIoU of classes seen"], found.images) == (100.0, 100)
    seen = int(found.notes[0].split()[0])
    assert found.value == pytest.approx(100 * seen / 133)


def test_images_without_detections_are_legal_and_said(files: tuple[Path, Path]) -> None:
    change(files[0], lambda found: found.__setitem__(slice(None), [e for e in found if e["image_id"] > 10]))
    notes = " ".join(score("instance", *files).notes)
    assert "2 of 6 images" in notes
    write(files[0], [])
    assert score("instance", *files).value == 0.0


def test_a_box_in_the_file_does_not_change_the_size_class_of_a_mask(files: tuple[Path, Path]) -> None:
    with_boxes = score("instance", *files)
    write(files[0], results(load(files[0]), "segmentation"))
    assert score("instance", *files).details == with_boxes.details


def test_no_ground_truth_has_no_score(files: tuple[Path, Path]) -> None:
    change(files[1], lambda truth: truth.update(annotations=[]))
    found = score("instance", *files)
    assert found.value is None
    assert "no object" in str(found.missing_reason)


def set_field(index: int, field: str, value: Any) -> Change:
    return lambda found: found[index].__setitem__(field, value)


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (set_field(3, "image_id", 999), r"results.json, entry \[3\].*image_id 999 is not among the 6 images"),
        (
            set_field(3, "category_id", 2),
            r"entry \[3\].*category_id 2 .*\(1, 6, 11, 16\)",
        ),
        (set_field(2, "score", float("nan")), r"results.json .*NaN"),
        (set_field(2, "score", 1.5), r"entry \[2\].score = 1.5.*from 0 to 1"),
        (set_field(2, "score", "high"), r"score = 'high'"),
        (set_field(1, "image_id", "3"), r"image_id = '3'"),
        (set_field(1, "bbox", [1, 2, 3]), r"entry \[1\].bbox = \[1, 2, 3\].*left, top, width and height"),
        (set_field(1, "bbox", [1, 2, -3, 4]), r"entry \[1\].bbox\[2\] = -3"),
        (set_field(1, "keypoints", [1.0] * 50), r"entry \[1\].keypoints"),
        (set_field(4, "segmentation", None), r"entry \[4\].*segmentation.*--iou bbox"),
        (lambda found: found[4].pop("score"), r"entry \[4\].*score.*from 0 to 1"),
        (lambda found: found.append(found[0]), r"entry \[\d+\]: the same detection as entry 0"),
        (lambda found: found.append(3), r"results.json, entry \[\d+\]"),
        (
            set_field(5, "segmentation", {"size": [5, 5], "counts": "0"}),
            r"entry \[5\].*\[5, 5\].*\[96, 120\]",
        ),
        (set_field(5, "segmentation", {"size": [96, 120], "counts": [5, 5]}), "10 pixels.*11520"),
        (set_field(5, "segmentation", {"size": [96, 120], "counts": "5x\x7f"}), r"entry \[5\].*counts"),
        (set_field(5, "segmentation", {"size": [96, 120]}), r"entry \[5\].*counts"),
        (set_field(5, "segmentation", [[1, 2, 3]]), r"entry \[5\].*segmentation"),
        (set_field(5, "segmentation", [[0, 0, 1e12, 0, 3, 5]]), r"entry \[5\].*leaves its image"),
        (set_field(5, "segmentation", {"size": [96, 120], "counts": [2**70]}), r"entry \[5\].segmentation.counts"),
        (set_field(5, "segmentation", []), r"entry \[5\].*segmentation"),
        (set_field(5, "segmentation", 7), r"entry \[5\].segmentation"),
    ],
)
def test_a_wrong_result_is_named_with_file_entry_and_remedy(
    files: tuple[Path, Path], edit: Change, message: tuple[str, ...]
) -> None:
    change(files[0], edit)
    with pytest.raises(DataFileError, match=message):
        score("instance", *files)


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (lambda truth: truth["images"].append(truth["images"][0]), r"images\[6\]: the id 3 is that of images\[0\]"),
        (lambda truth: truth["annotations"].append(truth["annotations"][1]), r"the id 2 is that of annotations\[1\]"),
        (lambda truth: truth["annotations"][1].pop("area"), r"annotations\[1\].*area.*small, medium"),
        (lambda truth: truth["annotations"][1].update(iscrowd=2), r"annotations\[1\].iscrowd = 2.*0 or 1"),
        (lambda truth: truth["annotations"][1].update(image_id=5), r"annotations\[1\]: image_id 5 is not among"),
        (lambda truth: truth.pop("categories"), "category_id"),
        (lambda truth: truth["images"][2].update(height=0), r"images\[2\].height = 0"),
    ],
)
def test_a_wrong_annotation_is_named_with_file_entry_and_remedy(
    files: tuple[Path, Path], edit: Change, message: str
) -> None:
    change(files[1], edit)
    with pytest.raises(DataFileError, match=f"truth.json, .*{message}"):
        score("instance", *files)


def test_the_ground_truth_may_hold_all_that_a_data_set_may(files: tuple[Path, Path]) -> None:
    square = [[10, 10, 40, 10, 40, 40, 10, 40]]
    change(files[1], lambda truth: truth["annotations"][0].update(segmentation=square, iscrowd=0))
    change(files[1], lambda truth: truth["annotations"][1].update(segmentation=square, iscrowd=1))
    plain = score("instance", *files)

    def vary(truth: Any) -> None:
        truth["annotations"][0].update(segmentation=[[5, 5, 9, 9], *square], iscrowd=False)
        truth["annotations"][1].update(iscrowd=True)

    change(files[1], vary)
    for file in files:
        file.write_bytes(b"\xef\xbb\xbf" + file.read_bytes())
    assert score("instance", *files) == plain
    files[1].write_bytes(files[1].read_bytes()[3:])
    change(files[1], lambda truth: truth["annotations"][0].update(segmentation=[]))
    assert score("instance", *files).value is not None


def test_files_of_another_kind_are_named(files: tuple[Path, Path], tmp_path: Path) -> None:
    found, truth = files
    with pytest.raises(DataFileError, match="truth.json holds annotations of objects.*expected a list of detections"):
        score("instance", truth, truth)
    with pytest.raises(DataFileError, match="results.json holds a list of detections.*expected annotations"):
        score("keypoints", found, found)
    with pytest.raises(DataFileError, match="expected panoptic annotations"):
        score("panoptic", truth, truth)
    with pytest.raises(DataFileError, match="is a folder"):
        score("instance", tmp_path, truth)
    with pytest.raises(DataFileError, match="truth.json is a file; expected a folder"):
        score("saliency", tmp_path, truth)
    with pytest.raises(DataFileError, match="nothing.json does not exist"):
        score("instance", tmp_path / "nothing.json", truth)
    write(tmp_path / "object.json", {"detections": []})
    with pytest.raises(DataFileError, match="object.json"):
        score("instance", tmp_path / "object.json", truth)
    found.write_text(found.read_text()[:-40])
    with pytest.raises(DataFileError, match="results.json cannot be read as JSON"):
        score("instance", found, truth)
    with pytest.raises(ValueError, match="--iou mask"):
        score("instance", found, truth, ScoreOptions(iou="mask"))
    with pytest.raises(ValueError, match=naming("humans", "instance, keypoints, stuff, panoptic")):
        score("humans", found, truth)


def panoptic_files(folder: Path) -> tuple[Path, Path]:
    """Two images of 4 x 6 pixels with a thing and a stuff segment each, and the same as prediction."""
    ids = np.repeat(np.array([[300, 300, 300, 70000, 70000, 0]]), 4, axis=0)
    infos = [{"id": 300, "category_id": 1, "iscrowd": 0}, {"id": 70000, "category_id": 200, "iscrowd": 0}]
    annotations = [{"image_id": n, "file_name": f"{n}.png", "segments_info": infos} for n in (5, 8)]
    categories = [{"id": 200, "name": "sky", "isthing": 0}, {"id": 1, "name": "person", "isthing": 1}]
    for name in ("predictions", "truth"):
        (folder / name).mkdir()
        for annotation in annotations:
            save_ids(folder / name / str(annotation["file_name"]), ids)
        content: Json = {"annotations": annotations}
        write(folder / f"{name}.json", content if name == "predictions" else {**content, "categories": categories})
    return folder / "predictions.json", folder / "truth.json"


def save_ids(path: Path, ids: Any) -> None:
    ids = np.asarray(ids)
    Image.fromarray(np.stack([ids % 256, ids // 256 % 256, ids // 65536], axis=-1).astype(np.uint8)).save(path)


def test_panoptic_counts_things_and_stuff_apart(tmp_path: Path) -> None:
    found, truth = panoptic_files(tmp_path)
    save_ids(tmp_path / "predictions" / "8.png", np.repeat([[300, 9, 9, 70000, 70000, 70000]], 4, axis=0))
    change(found, lambda file: file["annotations"][1]["segments_info"].append({"id": 9, "category_id": 1}))
    result = score("panoptic", found, truth)
    # Things: 5.png right, 8.png 9 covers two thirds, 300 one third of the person. Stuff: void is left out of the union.
    assert result.details["PQ_th"] == pytest.approx(100 * (1 + 2 / 3) / (2 + 1 / 2))
    assert result.details["PQ_st"] == 100.0
    assert result.value == pytest.approx((result.details["PQ_th"] + 100) / 2)
    assert "1 things and 1 stuff" in result.notes[0]


def test_panoptic_folders_can_be_named(tmp_path: Path) -> None:
    found, truth = panoptic_files(tmp_path)
    (tmp_path / "predictions").rename(tmp_path / "elsewhere")
    with pytest.raises(DataFileError, match=naming("predictions", "--prediction-folder")):
        score("panoptic", found, truth)
    assert score("panoptic", found, truth, ScoreOptions(prediction_folder=tmp_path / "elsewhere")).value == 100.0
    (tmp_path / "truth").rename(tmp_path / "other")
    options = ScoreOptions(prediction_folder=tmp_path / "elsewhere", truth_folder=tmp_path / "other")
    assert score("panoptic", found, truth, options).value == 100.0


def in_first(**values: Any) -> Change:
    return lambda file: file["annotations"][0].update(values)


@pytest.mark.parametrize(
    ("edit", "facts"),
    [
        (in_first(segments_info=[{"id": 300, "category_id": 1}]), ("5.png", "segment 70000")),
        (
            lambda file: file["annotations"][0]["segments_info"].append({"id": 4, "category_id": 1}),
            ("annotations[0]", "image 5", "segment 4", "5.png"),
        ),
        (
            lambda file: file["annotations"][0]["segments_info"].append({"id": 300, "category_id": 1}),
            ("segment 300", "twice"),
        ),
        (
            lambda file: file["annotations"][0]["segments_info"][0].update(category_id=7),
            ("segment 300", "category_id", "7"),
        ),
        (lambda file: file["annotations"][0]["segments_info"][0].update(id=0), ("segments_info[0].id", "0")),
        (lambda file: file["annotations"].pop(), ("image 8",)),
        (
            lambda file: file["annotations"].append({**file["annotations"][0], "image_id": 9}),
            ("annotations[2]", "image_id", "9"),
        ),
        (lambda file: file["annotations"].append(file["annotations"][0]), ("image_id 5", "annotations[0]")),
        (in_first(file_name="nothing.png"), ("nothing.png", "annotations[0]", "image 5")),
        (lambda file: file["annotations"][0].pop("file_name"), ("annotations[0]", "file_name")),
    ],
)
def test_a_wrong_panoptic_prediction_is_named(tmp_path: Path, edit: Change, facts: tuple[str, ...]) -> None:
    found, truth = panoptic_files(tmp_path)
    change(found, edit)
    with pytest.raises(DataFileError, match=naming(*facts)):
        score("panoptic", found, truth)


def test_a_wrong_panoptic_png_is_named(tmp_path: Path) -> None:
    found, truth = panoptic_files(tmp_path)
    png = tmp_path / "predictions" / "5.png"
    save_ids(png, np.repeat([[300, 70000]], 4, axis=0))
    with pytest.raises(DataFileError, match=naming("5.png", 4, 2)):
        score("panoptic", found, truth)
    Image.fromarray(np.zeros((4, 6), np.uint8)).save(png)
    with pytest.raises(DataFileError, match=naming("5.png", "uint8", (4, 6))):
        score("panoptic", found, truth)
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (40, 60, 3)).astype(np.uint8)).save(png)
    png.write_bytes(png.read_bytes()[:500])
    with pytest.raises(DataFileError, match=naming("5.png")):
        score("panoptic", found, truth)


@pytest.mark.parametrize(
    ("edit", "facts"),
    [
        (lambda file: file.pop("categories"), ("categories",)),
        (lambda file: file["categories"][0].pop("isthing"), ("categories[0]", "isthing")),
        (lambda file: file["categories"].append(file["categories"][0]), ("categories[2]", "200")),
        (lambda file: file["annotations"][0]["segments_info"][0].update(iscrowd=3), ("iscrowd", "3")),
    ],
)
def test_wrong_panoptic_ground_truth_is_named(tmp_path: Path, edit: Change, facts: tuple[str, ...]) -> None:
    found, truth = panoptic_files(tmp_path)
    change(truth, edit)
    with pytest.raises(DataFileError, match=naming(*facts)):
        score("panoptic", found, truth)


def run_command(*arguments: object) -> str:
    app = typer.Typer()
    app.command()(command)
    outcome = CliRunner().invoke(app, [str(argument) for argument in arguments])
    assert outcome.exit_code == 0, outcome.output
    return outcome.stdout


def test_help_lists_every_task() -> None:
    text = run_command("--help")
    assert all(task in text for task in TASKS)


def test_the_table_shows_every_number_and_json_holds_them(files: tuple[Path, Path], tmp_path: Path) -> None:
    arguments = ("instance", "--predictions", files[0], "--ground-truth", files[1], "--iou", "bbox")
    table, answer = run_command(*arguments), json.loads(run_command(*arguments, "--json"))
    assert answer["metric"] == "box AP"
    assert {"AP", "AP50", "AP75", "APs", "APm", "APl", "AR1", "AR10", "AR100"} <= answer["details"].keys()
    for name, value in answer["details"].items():
        assert f"{name}: " + ("none" if value is None else f"{value:.4f}") in table
    found, truth = panoptic_files(tmp_path)
    table = run_command("panoptic", "--predictions", found, "--ground-truth", truth)
    assert "PQ" in table
    assert "100.0000 %" in table
    assert "RQ_st: 100.0000" in table
