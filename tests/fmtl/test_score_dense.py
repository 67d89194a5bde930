"""`fmtl score` on tiny files of every task, on real boundary annotations, and its errors."""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import typer
from errors import naming
from PIL import Image
from scipy.io import savemat
from typer.testing import CliRunner

from client_app.metrics.edge.protocol import EdgeProtocol
from fmtl.commands.score import command
from fmtl.scoring.dense import score_directory
from fmtl.scoring.result import ScoreFileError, ScoreOptions

BSDS = Path(os.environ.get("FMTL_DATA_ROOT", Path(__file__).resolve().parents[3] / "shared" / "data")) / "bsds_sod"
Call = Callable[..., tuple[int, str, str]]
NO_SUPPRESSION = ScoreOptions(edge=EdgeProtocol(nms_radius=0, max_distance=0.05))


def save(folder: Path, name: str, array: object, dtype: type = np.uint8) -> None:
    pixels = np.asarray(array, dtype=dtype)
    if name.endswith(".npy"):
        np.save(folder / name, pixels)
    else:
        Image.fromarray(pixels).save(folder / name)


@pytest.mark.parametrize(("task", "classes"), [("semseg", 2), ("parts", 2)])
def test_class_labels(folders: tuple[Path, Path], task: str, classes: int) -> None:
    predictions, truth = folders
    save(truth, "a.png", [[0, 0, 1], [1, 255, 255]])
    save(predictions, "a.png", [[0, 1, 1], [1, 0, 9]])
    result = score_directory(task, predictions, truth, ScoreOptions(num_classes=classes))
    assert result.value == pytest.approx(100 * (1 / 2 + 2 / 3) / 2)
    assert (result.metric, result.unit, result.images) == ("mIoU", "%", 1)


def test_another_ignore_value(folders: tuple[Path, Path]) -> None:
    predictions, truth = folders
    save(truth, "a.png", [[1, 2, 0]])
    save(predictions, "a.png", [[1, 2, 1]])
    assert score_directory("parts", predictions, truth, ScoreOptions(num_classes=3, ignore=0)).value == pytest.approx(
        100 * 2 / 3
    )


def test_saliency_counts_a_value_exactly_at_a_threshold(folders: tuple[Path, Path]) -> None:
    predictions, truth = folders
    save(truth, "a.png", [[255, 255, 0, 0]])
    save(predictions, "a.png", [[204, 51, 51, 0]])  # probabilities 0.8, 0.2, 0.2, 0
    precision, recall = 2 / 3, 1.0  # at 0.20; above, precision 1 and recall 1/2
    low = 1.3 * precision * recall / (0.3 * precision + recall)
    high = 1.3 * 1.0 * 0.5 / (0.3 * 1.0 + 0.5)
    assert score_directory("saliency", predictions, truth).value == pytest.approx(100 * max(low, high))
    save(predictions, "a.png", [[51, 51, 50, 0]])
    assert score_directory("saliency", predictions, truth).value == pytest.approx(100.0)


def test_normals_as_image_and_array(folders: tuple[Path, Path]) -> None:
    predictions, truth = folders
    save(truth, "a.png", [[[255, 128, 128], [127, 128, 127]]])  # +x, and a pixel without normal
    save(predictions, "a.npy", [[[0.0, 1.0]], [[1.0, 0.0]], [[0.0, 0.0]]], np.float32)
    result = score_directory("normals", predictions, truth)
    assert result.value == pytest.approx(90.0, abs=0.5)
    assert result.unit == "degrees"


def test_depth_in_millimetres_against_metres(folders: tuple[Path, Path]) -> None:
    predictions, truth = folders
    save(truth, "a.npy", [[2.0, 0.0, 3.0]], np.float32)
    save(predictions, "a.png", [[2500, 9999, 3000]], np.uint16)
    assert score_directory("depth", predictions, truth).value == pytest.approx(np.sqrt(0.25 / 2))
    save(predictions, "a.png", [[500, 1, 600]], np.uint16)
    exact = score_directory("depth", predictions, truth, ScoreOptions(depth_scale=200))
    assert exact.value == pytest.approx(np.sqrt(0.25 / 2))


def test_edge_against_one_several_and_matlab_annotators(folders: tuple[Path, Path]) -> None:
    predictions, truth = folders
    first, second = np.zeros((20, 30), dtype=np.uint8), np.zeros((20, 30), dtype=np.uint8)
    first[5, 3:27], second[15, 3:27] = 1, 1
    save(predictions, "a.png", 255 * first)
    save(truth, "a.png", 255 * first)
    assert score_directory("edge", predictions, truth, NO_SUPPRESSION).value == 100.0
    save(truth, "a.png", first + 2 * second.astype(np.uint16), np.uint16)
    two = score_directory("edge", predictions, truth, NO_SUPPRESSION)
    assert (two.details["precision"], two.details["recall"]) == (1.0, 0.5)
    (truth / "a.png").unlink()
    cells = np.empty((1, 2), dtype=object)
    for k, boundary in enumerate((first, second)):
        cells[0, k] = {"Boundaries": boundary}
    savemat(truth / "a.mat", {"groundTruth": cells})
    assert score_directory("edge", predictions, truth, NO_SUPPRESSION).value == two.value


def test_missing_prediction_names_the_file(folders: tuple[Path, Path]) -> None:
    predictions, truth = folders
    save(truth, "a.png", [[0]])
    save(truth, "b.png", [[0]])
    save(predictions, "a.png", [[0]])
    with pytest.raises(ScoreFileError, match="b.png"):
        score_directory("parts", predictions, truth)


@pytest.mark.parametrize("task", ["parts", "saliency", "edge"])
def test_another_size_is_an_error(folders: tuple[Path, Path], task: str) -> None:
    predictions, truth = folders
    save(truth, "a.png", np.zeros((4, 5)))
    save(predictions, "a.png", np.zeros((5, 4)))
    with pytest.raises(ScoreFileError, match=naming("5 rows", "4 columns")):
        score_directory(task, predictions, truth)


def test_extra_predictions_are_reported_not_scored(folders: tuple[Path, Path]) -> None:
    predictions, truth = folders
    save(truth, "a.png", [[0, 1]])
    save(predictions, "a.png", [[0, 1]])
    save(predictions, "z.png", [[5, 5]])
    result = score_directory("parts", predictions, truth, ScoreOptions(num_classes=2))
    assert result.extra_predictions == ("z.png",)
    assert result.value == 100.0


def test_a_score_that_cannot_be_computed_has_a_reason(folders: tuple[Path, Path]) -> None:
    predictions, truth = folders
    save(truth, "a.png", np.zeros((8, 8)))
    save(predictions, "a.png", np.zeros((8, 8)))
    result = score_directory("edge", predictions, truth)
    assert result.value is None
    assert "no boundary pixel" in str(result.missing_reason)


@pytest.mark.parametrize("as_json", [True, False])
@pytest.mark.parametrize("task", ["edge", "depth", "semseg"])
def test_the_command_fails_and_says_why_where_there_is_no_score(
    folders: tuple[Path, Path], fmtl: Call, task: str, as_json: bool
) -> None:
    predictions, truth = folders
    empty = np.full((8, 8), 255 if task == "semseg" else 0)
    save(truth, "a.png", empty, np.uint16 if task == "depth" else np.uint8)
    save(predictions, "a.png", np.zeros((8, 8)), np.uint16 if task == "depth" else np.uint8)
    options = ["--num-classes", "3"] + ["--json"] * as_json
    status, output, _ = fmtl("score", task, "--predictions", predictions, "--ground-truth", truth, *options)
    assert status == 1
    if as_json:
        result = json.loads(output)
        assert result["value"] is None
        assert result["missing_reason"]
    else:
        assert "Missing: " in output


@pytest.mark.parametrize("scale", ["nan", "inf", "0", "-1"])
def test_a_depth_scale_that_is_no_positive_number_is_named(folders: tuple[Path, Path], fmtl: Call, scale: str) -> None:
    predictions, truth = folders
    for folder in folders:
        save(folder, "a.png", np.full((8, 8), 1000), np.uint16)
    where = ("--predictions", predictions, "--ground-truth", truth)
    status, _, errors = fmtl("score", "depth", *where, "--depth-scale", scale)
    assert status == 2
    assert f"--depth-scale {scale} is not possible; expected units per metre, a finite number above 0" in errors


@pytest.mark.parametrize("option", ["--max-distance", "--thresholds", "--nms-radius", "--workers", "--ignore"])
def test_settings_that_are_no_numbers_in_range_are_refused(folders: tuple[Path, Path], fmtl: Call, option: str) -> None:
    predictions, truth = folders
    for folder in folders:
        save(folder, "a.png", np.full((8, 8), 255))
    where = ("--predictions", predictions, "--ground-truth", truth)
    assert fmtl("score", "edge", *where, option, "nan" if option == "--max-distance" else "-1")[0] == 2


@pytest.mark.parametrize(
    ("task", "pixels", "message"),
    [
        ("semseg", [[0]], "--num-classes"),
        ("parts", [[7]], "class 7"),
        ("edge", [[3]], "only"),
        ("humans", [[0]], "one of"),
    ],
)
def test_what_a_user_gets_wrong_is_named(
    folders: tuple[Path, Path], task: str, pixels: list[list[int]], message: str
) -> None:
    predictions, truth = folders
    save(truth, "a.png", pixels)
    save(predictions, "a.png", [[0]])
    with pytest.raises(ValueError, match=message):
        score_directory(task, predictions, truth)


def test_a_broken_file_is_named(folders: tuple[Path, Path]) -> None:
    predictions, truth = folders
    (truth / "a.png").write_bytes(b"no image")
    save(predictions, "a.png", [[0]])
    with pytest.raises(ScoreFileError, match=naming("a.png")):
        score_directory("parts", predictions, truth)


@pytest.mark.parametrize("as_json", [True, False])
def test_command_prints_table_or_json(folders: tuple[Path, Path], as_json: bool) -> None:
    predictions, truth = folders
    line = np.zeros((20, 30))
    line[10, 3:27] = 255
    save(truth, "a.png", line)
    save(predictions, "a.png", line)
    app = typer.Typer()
    app.command()(command)
    arguments = ["edge", "--predictions", str(predictions), "--ground-truth", str(truth), "--nms-radius", "0"]
    output = CliRunner().invoke(app, arguments + ["--thresholds", "9"] + ["--json"] * as_json)
    assert output.exit_code == 0
    if as_json:
        assert json.loads(output.stdout)["metric"] == "odsF@9"
        assert json.loads(output.stdout)["value"] == 100.0
    else:
        assert "odsF@9" in output.stdout
        assert "100.0000 %" in output.stdout


@pytest.mark.skipif(not BSDS.is_dir(), reason=f"{BSDS} is absent; set FMTL_DATA_ROOT to the folder that holds it")
def test_real_annotators_agree_with_themselves_and_with_their_consensus(folders: tuple[Path, Path]) -> None:
    predictions, truth = folders
    first = sorted((BSDS / "edge").iterdir())[0]
    shutil.copy(first, predictions)
    shutil.copy(BSDS / "edge_annotators" / first.name, truth)
    fast = EdgeProtocol(thresholds=9, nms_radius=0)
    consensus = score_directory("edge", predictions, truth, ScoreOptions(edge=fast))
    assert consensus.value is not None
    assert 75.0 < consensus.value < 100.0
    codes = np.asarray(Image.open(truth / first.name)).astype(np.int64)
    single = 255 * (codes & 1)
    save(predictions, first.name, single)
    save(truth, first.name, single)
    assert score_directory("edge", predictions, truth, ScoreOptions(edge=fast)).value == 100.0
