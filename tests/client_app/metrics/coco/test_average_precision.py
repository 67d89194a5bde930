"""AP and OKS AP: equal to pycocotools fed from JSON files, a hand case, crowds, and what has no value."""

import io
import json
from collections.abc import Iterable
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from errors import naming
from fmtl_datasets.shared.objects import Instances
from perturbed_coco import Json, decoded, drawn_annotations, results, spoiled_detections
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from client_app.metrics.base import MetricUnavailable
from client_app.metrics.coco.average_precision import AveragePrecision, BoxAP, InstanceAP, KeypointAP
from client_app.pictures.detections import Detections

FIELDS = {"segm": "segmentation", "bbox": "bbox", "keypoints": "keypoints"}
METRICS = {"segm": InstanceAP, "bbox": BoxAP, "keypoints": KeypointAP}


class Output:
    """What a detection head returns, as far as a metric sees it."""

    def __init__(self, found: Iterable[Detections]) -> None:
        self.found = list(found)

    def detections(self) -> list[Detections]:
        return self.found


def pycocotools_numbers(truth: Json, found: list[Json], iou_type: str, folder: Path) -> list[float]:
    """COCO's table in percent, straight from files."""
    (folder / "truth.json").write_text(json.dumps(truth))
    (folder / "results.json").write_text(json.dumps(results(found, FIELDS[iou_type])))
    with redirect_stdout(io.StringIO()):
        annotations = COCO(str(folder / "truth.json"))
        run = COCOeval(annotations, annotations.loadRes(str(folder / "results.json")), iou_type)
        run.evaluate()
        run.accumulate()
        run.summarize()
    return [100 * value if value >= 0 else np.nan for value in run.stats.tolist()]


def corners(box: list[float]) -> list[float]:
    return [box[0], box[1], box[0] + box[2], box[1] + box[3]]


def stacked(masks: list[Any], size: tuple[int, int]) -> torch.Tensor:
    return torch.from_numpy(np.array(masks, dtype=bool).reshape(-1, *size))


def label_of(image: Json, entries: list[Json]) -> Instances:
    size = (image["height"], image["width"])
    keypoints = [entry.get("keypoints", [0] * 51) for entry in entries]
    return Instances(
        size=size,
        boxes=torch.tensor([corners(entry["bbox"]) for entry in entries]).reshape(-1, 4).float(),
        classes=torch.tensor([entry["category_id"] for entry in entries], dtype=torch.int64),
        areas=torch.tensor([float(entry["area"]) for entry in entries]),
        crowd=torch.tensor([bool(entry["iscrowd"]) for entry in entries], dtype=torch.bool),
        masks=stacked([decoded(entry["segmentation"], size) for entry in entries], size),
        keypoints=torch.tensor(keypoints).float().reshape(-1, 17, 3),
    )


def detections_of(image: Json, entries: list[Json]) -> Detections:
    truth = label_of(image, [{"area": 0, "iscrowd": 0, **entry} for entry in entries])
    scores = torch.tensor([entry["score"] for entry in entries])
    return Detections(truth.size, truth.boxes, truth.classes, scores, truth.masks, truth.keypoints)


def fill(metric: AveragePrecision, truth: Json, found: list[Json], batch: int = 3) -> AveragePrecision:
    images = sorted(truth["images"], key=lambda image: image["id"])
    for start in range(0, len(images), batch):
        chosen = images[start : start + batch]
        metric.update(
            Output(detections_of(image, of_image(found, image)) for image in chosen),
            [label_of(image, of_image(truth["annotations"], image)) for image in chosen],
        )
    return metric


def of_image(entries: list[Json], image: Json) -> list[Json]:
    return [entry for entry in entries if entry["image_id"] == image["id"]]


def assert_equal_numbers(ours: dict[str, float | None], theirs: list[float]) -> None:
    values = [np.nan if value is None else value for value in ours.values()]
    np.testing.assert_allclose(values, theirs, rtol=0, atol=1e-9)


@pytest.mark.parametrize("iou_type", ["segm", "bbox", "keypoints"])
@pytest.mark.parametrize("seed", [0, 1])
def test_equal_to_pycocotools_on_drawn_annotations(iou_type: str, seed: int, tmp_path: Path) -> None:
    truth = drawn_annotations(seed)
    found = spoiled_detections(truth, seed)
    theirs = pycocotools_numbers(truth, found, iou_type, tmp_path)
    assert 5 < theirs[0] < 95
    assert_equal_numbers(fill(METRICS[iou_type](), truth, found).summary(), theirs)


def test_details_hold_the_numbers_of_masks_and_of_boxes() -> None:
    truth = drawn_annotations(4)
    found = spoiled_detections(truth, 4)
    masks, boxes = fill(InstanceAP(), truth, found), fill(BoxAP(), truth, found)
    details = masks.details()
    assert details["AP"] == masks.compute()
    assert {name.removeprefix("box "): value for name, value in details.items() if name.startswith("box ")} == (
        boxes.summary()
    )
    assert details["box AP"] != details["AP"]


@pytest.mark.parametrize("metric", [InstanceAP, BoxAP, KeypointAP])
def test_labels_as_predictions_score_exactly_100(metric: type[AveragePrecision]) -> None:
    truth = drawn_annotations(5)
    entries = [entry for entry in truth["annotations"] if not entry["iscrowd"] and entry["num_keypoints"]]
    if metric is not KeypointAP:
        entries = [entry for entry in truth["annotations"] if not entry["iscrowd"]]
    found = [{**entry, "score": 1.0 - 1e-3 * index} for index, entry in enumerate(entries)]
    assert fill(metric(), truth, found).compute() == 100.0


def test_a_hand_case_of_boxes() -> None:
    """Two objects, three guesses best first: right (IoU 0.8), false, right (IoU 0.6)."""
    label = boxes_label([[0, 0, 10, 10], [20, 0, 30, 10]])
    guesses = boxes_found([[0, 0, 10, 8], [50, 50, 60, 60], [20, 0, 30, 6]], [0.9, 0.8, 0.7])
    metric = BoxAP()
    metric.update(Output([guesses]), [label])
    # Precision 1 up to recall 1/2 (51 of 101 points), 2/3 beyond where the third is right, 0 where it is not.
    both, one, none = (51 + 50 * 2 / 3) / 101, 51 / 101, 0.0
    assert metric.summary()["AP50"] == pytest.approx(100 * both)
    assert metric.compute() == pytest.approx(100 * (3 * both + 4 * one + 3 * none) / 10)


def boxes_label(boxes: list[list[float]], crowd: list[bool] | None = None) -> Instances:
    tensor = torch.tensor(boxes).float().reshape(-1, 4)
    areas = (tensor[:, 2] - tensor[:, 0]) * (tensor[:, 3] - tensor[:, 1])
    crowds = torch.tensor(crowd if crowd is not None else [False] * len(boxes), dtype=torch.bool)
    return Instances((100, 100), tensor, torch.zeros(len(boxes), dtype=torch.int64), areas, crowds)


def boxes_found(boxes: list[list[float]], scores: list[float]) -> Detections:
    classes = torch.zeros(len(boxes), dtype=torch.int64)
    return Detections((100, 100), torch.tensor(boxes).float().reshape(-1, 4), classes, torch.tensor(scores))


@pytest.mark.parametrize(("right_first", "expected"), [(True, 100.0), (False, 50.0)])
def test_equal_scores_rank_in_the_order_of_the_images(right_first: bool, expected: float) -> None:
    right = (boxes_found([[0, 0, 10, 10]], [0.5]), boxes_label([[0, 0, 10, 10]]))
    false = (boxes_found([[50, 50, 60, 60]], [0.5]), boxes_label([]))
    metric = BoxAP()
    for found, label in (right, false) if right_first else (false, right):
        metric.update(Output([found]), [label])
    assert metric.compute() == expected


def test_only_the_best_100_detections_of_an_image_and_class_count() -> None:
    label = boxes_label([[0, 0, 10, 10]])
    false = [[50.0, 50, 60, 60]] * 100
    metric = BoxAP()
    metric.update(Output([boxes_found([*false, [0, 0, 10, 10]], [0.9] * 100 + [0.1])]), [label])
    assert metric.compute() == 0.0


def test_nothing_labelled_has_no_score() -> None:
    metric = BoxAP()
    with pytest.raises(MetricUnavailable, match=naming("object")):
        metric.compute()
    metric.update(Output([boxes_found([[0, 0, 5, 5]], [0.5])]), [boxes_label([])])
    with pytest.raises(MetricUnavailable, match=naming("object")):
        metric.compute()
    metric.update(Output([boxes_found([], [])]), [boxes_label([[0, 0, 5, 5]], crowd=[True])])
    with pytest.raises(MetricUnavailable, match=naming("crowds")):
        metric.compute()


def test_nothing_predicted_scores_zero() -> None:
    metric = BoxAP()
    metric.update(Output([boxes_found([], [])]), [boxes_label([[0, 0, 5, 5]])])
    assert metric.compute() == 0.0
    assert metric.summary()["APl"] is None


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_a_prediction_that_is_not_finite_has_no_score(bad: float) -> None:
    label = boxes_label([[0, 0, 5, 5]])
    for found in (boxes_found([[0, 0, 5, 5]], [bad]), boxes_found([[0, 0, bad, 5]], [1.0])):
        metric = BoxAP()
        metric.update(Output([found]), [label])
        with pytest.raises(MetricUnavailable, match=naming("NaN")):
            metric.compute()


def test_what_does_not_fit_is_named() -> None:
    label = boxes_label([[0, 0, 5, 5]])
    found = boxes_found([[0, 0, 5, 5]], [1.0])
    with pytest.raises(ValueError, match="2 labels"):
        BoxAP().update(Output([found]), [label, label])
    with pytest.raises(ValueError, match=naming("masks")):
        InstanceAP().update(Output([found]), [label])
    with pytest.raises(ValueError, match=naming("keypoints")):
        KeypointAP().update(Output([found]), [label])
    smaller = Detections((50, 100), found.boxes, found.classes, found.scores)
    with pytest.raises(ValueError, match=naming("size")):
        BoxAP().update(Output([smaller]), [label])


def test_scoring_prints_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    metric = BoxAP()
    metric.update(Output([boxes_found([[0, 0, 5, 5]], [1.0])]), [boxes_label([[0, 0, 5, 5]])])
    metric.compute()
    assert capsys.readouterr() == ("", "")
