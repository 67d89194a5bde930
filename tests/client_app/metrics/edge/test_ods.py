"""odsF as a whole: hand cases, the benchmark's rules, ignored pixels, workers, and the Metric contract."""

import os
import signal

import numpy as np
import pytest
import torch
from errors import naming

from client_app.metrics.base import MetricUnavailable
from client_app.metrics.edge import parallel
from client_app.metrics.edge.counts import EdgeImage, image_counts, passed_thresholds
from client_app.metrics.edge.ods import OdsF, precision_recall_f
from client_app.metrics.edge.protocol import EdgeProtocol

PLAIN = EdgeProtocol(nms_radius=0, max_distance=0.02)
"""No suppression: predictions that are already thin keep their pixels, so results can be worked out by hand."""


def line_label(row: int = 30) -> torch.Tensor:
    label = torch.zeros(1, 1, 60, 80)
    label[..., row, 10:70] = 1.0
    return label


def logits(label: torch.Tensor) -> torch.Tensor:
    return 20.0 * label - 10.0


def score(prediction: torch.Tensor, label: torch.Tensor, protocol: EdgeProtocol = PLAIN) -> float:
    metric = OdsF(protocol)
    metric.update(prediction, label)
    return metric.compute()


def test_perfect_prediction_scores_100() -> None:
    assert score(logits(line_label()), line_label()) == 100.0


@pytest.mark.parametrize(("shift", "expected"), [(2, 100.0), (3, 0.0)])
def test_a_shift_counts_only_beyond_the_distance(shift: int, expected: float) -> None:
    assert score(logits(line_label(30 + shift)), line_label(30)) == expected  # 0.02 of the diagonal is exactly 2 pixels


def test_two_close_lines_match_one_annotated_line_once() -> None:
    label = line_label(30)
    double = torch.maximum(line_label(29), line_label(31))
    metric = OdsF(PLAIN)
    metric.update(logits(double), label)
    assert metric.best().precision == 0.5
    assert metric.best().recall == 1.0


def test_labels_without_boundary_are_reported_as_missing() -> None:
    metric = OdsF(PLAIN)
    metric.update(logits(line_label()), torch.zeros(1, 1, 60, 80))
    with pytest.raises(MetricUnavailable, match=naming("boundary")):
        metric.compute()


def test_precision_and_recall_of_empty_sides_follow_the_benchmark() -> None:
    counts = {
        "matched_predicted": np.array([0, 0, 0, 6]),
        "predicted": np.array([0, 5, 0, 8]),
        "matched_annotated": np.array([0, 0, 0, 6]),
        "annotated": np.array([4, 0, 0, 12]),
    }
    precision, recall, f_measure = precision_recall_f(counts)
    np.testing.assert_allclose(precision, [1, 0, 1, 0.75])
    np.testing.assert_allclose(recall, [0, 1, 1, 0.5])
    np.testing.assert_allclose(f_measure, [0, 0, 1, 0.6])


def test_counts_are_summed_over_images_before_dividing() -> None:
    metric = OdsF(PLAIN)
    metric.update(logits(line_label()), line_label())
    metric.update(torch.full((1, 1, 60, 80), -20.0), line_label())
    assert metric.compute() == pytest.approx(100 * 2 * 0.5 / 1.5)


def test_the_best_threshold_is_found() -> None:
    prediction = torch.full((1, 1, 60, 80), -20.0)
    prediction[line_label(30) == 1] = 1.0  # probability 0.73
    prediction[line_label(45) == 1] = -1.0  # probability 0.27, wrong
    metric = OdsF(PLAIN)
    metric.update(prediction, line_label(30))
    assert metric.compute() == 100.0
    assert 0.27 <= metric.best().threshold <= 0.73


def test_ignored_pixels_are_neither_predicted_nor_annotated() -> None:
    label = line_label(30)
    label[..., 40:50, 20:60] = 255
    prediction = torch.maximum(logits(line_label(30)), logits(line_label(45)))
    prediction[..., 45, :20] = prediction[..., 45, 60:] = -10.0
    assert score(prediction, label) == 100.0
    assert score(prediction, line_label(30)) < 100.0


def test_padding_is_cut_off_before_suppression_and_diagonal() -> None:
    inner_label, inner_prediction = line_label(30), logits(line_label(31))
    label, prediction = torch.full((1, 1, 90, 100), 255.0), torch.full((1, 1, 90, 100), 10.0)
    label[..., 10:70, 15:95] = inner_label
    prediction[..., 10:70, 15:95] = inner_prediction
    padded, plain = OdsF(), OdsF()
    padded.update(prediction, label)
    plain.update(inner_prediction, inner_label)
    for name in ("matched_predicted", "predicted", "matched_annotated", "annotated"):
        np.testing.assert_array_equal(padded.counter(name), plain.counter(name))


def test_comparison_knob_decides_exact_ties() -> None:
    value = np.array([51.0])  # 51 / 255 is exactly 0.20
    assert passed_thresholds(value, EdgeProtocol(comparison=">=")) == 20
    assert passed_thresholds(value, EdgeProtocol(comparison=">")) == 19


def test_several_annotators_unite_for_precision_and_add_for_recall() -> None:
    first, second = (line_label(row)[0, 0].numpy() == 1 for row in (10, 30))
    probability = np.where(first, 1.0, 0.0)
    counts = image_counts(EdgeImage(probability, np.stack([first, second, first])), PLAIN)
    assert counts["matched_predicted"][50] == counts["predicted"][50] == 60
    assert counts["matched_annotated"][50] == 120
    assert counts["annotated"][50] == 180


def test_fast_mode_reports_another_name() -> None:
    assert OdsF(EdgeProtocol(thresholds=9)).name == "odsF@9"
    assert OdsF().name == "odsF"


def test_worker_processes_give_the_same_counts_and_a_dead_one_is_an_error() -> None:
    rng = np.random.default_rng(1)
    images = [EdgeImage(rng.random((30, 40)), rng.random((2, 30, 40)) < 0.1) for _ in range(5)]
    shared = list(parallel.score_images(iter(images), EdgeProtocol(workers=1)))
    alone = list(parallel.score_images(images, EdgeProtocol()))
    for one, other in zip(shared, alone, strict=True):
        assert {name: count.tolist() for name, count in one.items()} == {n: c.tolist() for n, c in other.items()}
    for process in list(parallel._pool(1)._processes.values()):
        os.kill(process.pid, signal.SIGKILL)
    with pytest.raises(RuntimeError, match=naming("process")):
        list(parallel.score_images(images, EdgeProtocol(workers=1)))


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("nms_radius", -1),
        ("comparison", "<"),
        ("rounding", "up"),
        ("max_distance", 0),
        ("thresholds", 0),
        ("workers", -1),
    ],
)
def test_impossible_settings_are_named(setting: str, value: object) -> None:
    with pytest.raises(ValueError, match=setting):
        EdgeProtocol(**{setting: value})  # type: ignore[arg-type]


def test_values_that_are_no_probability_are_refused() -> None:
    with pytest.raises(ValueError, match="sigmoid"):
        image_counts(EdgeImage(np.full((5, 5), 3.0), np.zeros((1, 5, 5), dtype=bool)), PLAIN)


def test_wrong_shapes_and_labels_are_refused() -> None:
    with pytest.raises(ValueError, match="expected a label"):
        OdsF().update(torch.zeros(1, 2, 5, 5), torch.zeros(1, 1, 5, 5))
    with pytest.raises(ValueError, match=naming("0", "1", "255")):
        OdsF().update(torch.zeros(1, 1, 5, 5), torch.full((1, 1, 5, 5), 7.0))


def test_not_a_number_is_missing_not_a_score() -> None:
    metric = OdsF(PLAIN)
    metric.update(torch.full((1, 1, 60, 80), float("nan")), line_label())
    metric.update(logits(line_label()), line_label())
    with pytest.raises(MetricUnavailable, match="NaN"):
        metric.compute()
