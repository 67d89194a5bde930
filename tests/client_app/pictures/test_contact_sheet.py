"""What a client draws when a run ends."""

from pathlib import Path

import numpy as np
import pytest
import torch
from fmtl_datasets.shared.objects import Instances
from PIL import Image

from client_app.pictures.detections import Detections
from client_app.pictures.prediction_labels import SHOWN_SCORE, as_labels
from fmtl.engine import run
from fmtl.report.comparison import compare_runs
from fmtl.report.markdown import markdown_report
from fmtl.report.run_reader import read_run

SCENARIO = """
name: drawn
description: One client that draws and one that does not.
defaults:
  dataset: procedural
  image-size: [32, 32]
  encoder: mobilenetv3_small_050
  decoder-width: 8
  train-images: 2
  validation-images: 3
  batch-size: 2
clients:
  - {name: drawing, tasks: [semseg, depth, instance], smallest-anchor: 8, contact-sheet: 8}
  - {name: silent, tasks: [semseg]}
"""


class _Found:
    """A detector's output for one image with a certain and a doubtful object."""

    def detections(self) -> list[Detections]:
        return [
            Detections(
                size=(8, 10),
                boxes=torch.tensor([[0.0, 0, 4, 4], [1, 1, 3, 3]]),
                classes=torch.tensor([2, 1]),
                scores=torch.tensor([SHOWN_SCORE, SHOWN_SCORE - 0.01]),
                keypoints=torch.full((2, 17, 3), 0.25),
            )
        ]


def test_predictions_take_the_form_of_labels() -> None:
    logits = torch.tensor([[[[2.0, -1.0]], [[0.0, 3.0]]]])
    assert as_labels("semseg", logits)[0].tolist() == [[0, 1]]
    assert as_labels("saliency", logits)[0][0, 1].item() == pytest.approx(1 / (1 + np.exp(-4)))
    assert as_labels("edge", logits[:, :1])[0][0, 0].item() == pytest.approx(1 / (1 + np.exp(-2)))
    assert as_labels("depth", logits[:, :1])[0].tolist() == [[[2.0, 0.0]]]
    normals = as_labels("normals", torch.tensor([[[[3.0]], [[0.0]], [[4.0]]]]))[0]
    assert normals.flatten().tolist() == pytest.approx([0.6, 0.0, 0.8])


def test_doubtful_detections_are_not_drawn_and_predicted_keypoints_count_as_visible() -> None:
    (drawn,) = as_labels("keypoints", _Found())
    assert isinstance(drawn, Instances)
    assert drawn.classes.tolist() == [2]
    assert drawn.areas.tolist() == [16.0]
    assert drawn.keypoints is not None
    assert drawn.keypoints[0, :, 2].tolist() == [2.0] * 17


def test_picture_stays_in_the_clients_folder_and_the_report_shows_it(tmp_path: Path) -> None:
    scenario = tmp_path / "drawn.yaml"
    scenario.write_text(SCENARIO, encoding="utf-8")
    folder = tmp_path / "run one"
    values = {"strategy": "local", "scenario": str(scenario), "num-server-rounds": 1}
    run(values, folder)
    pictures = list(folder.rglob("*.png"))
    assert [picture.parent.name for picture in pictures] == ["drawing"]
    with Image.open(pictures[0]) as picture:
        assert picture.width > 4 * 32
        # Three images, each with a line of labels and a line of predictions.
        assert picture.height > 6 * 32
    report_folder = tmp_path / "report"
    report_folder.mkdir()
    comparison = compare_runs([read_run(folder)], None)
    report = markdown_report(comparison, tuple(comparison.measures), [], report_folder)
    assert "](../run%20one/clients/" in report
    assert report.count("predictions.png") == 1
