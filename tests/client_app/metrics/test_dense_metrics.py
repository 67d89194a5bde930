"""mIoU, maxF, mErr and RMSE against independent implementations and worked cases."""

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from errors import naming
from torch import Tensor
from torchmetrics.functional.classification import multiclass_confusion_matrix

from client_app.metrics.base import Metric, MetricUnavailable
from client_app.metrics.max_f import MaxF
from client_app.metrics.mean_iou import MeanIoU
from client_app.metrics.pixel_errors import DepthRMSE, MeanAngle

Case = tuple[Callable[[], Metric], Tensor, Tensor]
CLASSES = 5


def _case(name: str) -> Case:
    """Return a metric, and six images of raw predictions and labels with some ignored pixels."""
    generator = torch.Generator().manual_seed(7)
    ignored = torch.rand(6, 9, 11, generator=generator) < 0.2
    if name == "mIoU":
        label = torch.randint(0, CLASSES, (6, 9, 11), generator=generator).masked_fill(ignored, 255)
        return lambda: MeanIoU(CLASSES), torch.randn(6, CLASSES, 9, 11, generator=generator), label
    if name == "maxF":
        label = torch.randint(0, 2, (6, 9, 11), generator=generator).masked_fill(ignored, 255)
        return MaxF, torch.randn(6, 2, 9, 11, generator=generator), label
    if name == "mErr":
        vectors = torch.nn.functional.normalize(torch.randn(6, 3, 9, 11, generator=generator), dim=1)
        return MeanAngle, torch.randn(6, 3, 9, 11, generator=generator), vectors.masked_fill(ignored[:, None], 0.0)
    depth = torch.rand(6, 1, 9, 11, generator=generator) * 90
    return DepthRMSE, torch.randn(6, 1, 9, 11, generator=generator) * 5, depth.masked_fill(ignored[:, None], 0.0)


def _all_ignored(label: Tensor) -> Tensor:
    return torch.full_like(label, 255) if label.dtype == torch.int64 else torch.zeros_like(label)


NAMES = ("mIoU", "maxF", "mErr", "RMSE")


def _score(metric: Metric, prediction: Tensor, label: Tensor) -> float:
    metric.update(prediction, label)
    return metric.compute()


def test_miou_equals_torchmetrics_confusion_matrix_over_the_whole_set() -> None:
    new, prediction, label = _case("mIoU")
    confusion = multiclass_confusion_matrix(prediction, label, CLASSES, ignore_index=255).double().numpy()
    union = confusion.sum(0) + confusion.sum(1) - np.diag(confusion)
    assert _score(new(), prediction, label) == pytest.approx(100 * (np.diag(confusion) / union).mean(), rel=1e-12)


def test_miou_of_a_worked_case() -> None:
    label = torch.tensor([[[0, 0, 1, 255]]])
    winner = torch.tensor([[[0, 1, 1, 0]]])
    prediction = torch.nn.functional.one_hot(winner, 3).permute(0, 3, 1, 2).float()
    metric = MeanIoU(3)
    # class 0: 1 of 2; class 1: 1 of 2; class 2 absent.
    assert _score(metric, prediction, label) == pytest.approx(100 * (0.5 + 0.5 + 0) / 3)
    np.testing.assert_allclose(metric.class_iou(), [50.0, 50.0, np.nan])


def _max_f_restated(prediction: Tensor, label: Tensor) -> float:
    logits, truth = prediction.double().numpy(), label.numpy()
    probability = np.exp(logits[:, 1]) / np.exp(logits).sum(axis=1)
    best = 0.0
    for step in range(1, 20):
        chosen, valid = probability >= step * 0.05, truth != 255
        hits = float((chosen & (truth == 1)).sum())
        precision = hits / max(float((chosen & valid).sum()), 1.0)
        recall = hits / float((truth == 1).sum())
        if precision + recall > 0:
            best = max(best, 1.3 * precision * recall / (0.3 * precision + recall))
    return 100 * best


def test_maxf_equals_a_plain_threshold_loop() -> None:
    new, prediction, label = _case("maxF")
    assert _score(new(), prediction, label) == pytest.approx(_max_f_restated(prediction, label), rel=1e-12)


def test_maxf_weighs_precision_with_beta_squared_0_3() -> None:
    logit = torch.tensor([5.0, 5.0, 5.0, -5.0])
    prediction = torch.stack([torch.zeros(4), logit]).reshape(1, 2, 1, 4)
    label = torch.tensor([[[1, 1, 0, 1]]])
    # precision 2/3 and recall 2/3 at every threshold, so F is 2/3 whatever beta; one more miss breaks the tie.
    assert _score(MaxF(), prediction, label) == pytest.approx(200 / 3)
    prediction = torch.cat([prediction, torch.tensor([0.0, -5.0]).reshape(1, 2, 1, 1)], dim=3)
    label = torch.cat([label, torch.tensor([[[1]]])], dim=2)
    assert _score(MaxF(), prediction, label) == pytest.approx(100 * 1.3 * (2 / 3) * 0.5 / (0.3 * 2 / 3 + 0.5))


def test_maxf_counts_a_probability_equal_to_the_threshold_as_salient() -> None:
    prediction = torch.zeros(1, 2, 1, 2)
    prediction[0, 1, 0, 1] = -9.0
    # Probability 0.5 exactly: accepted at 0.5 and below only, where it is right.
    metric = MaxF()
    metric.update(prediction, torch.tensor([[[1, 0]]]))
    assert int(metric.counter("salient")[10]) == 1
    assert metric.compute() == pytest.approx(100.0)


def _mean_angle_restated(prediction: Tensor, label: Tensor) -> float:
    p = prediction.double().permute(0, 2, 3, 1).reshape(-1, 3).numpy()
    g = label.double().permute(0, 2, 3, 1).reshape(-1, 3).numpy()
    keep = np.abs(g).sum(axis=1) > 0
    p, g = p[keep], g[keep]
    cosine = (p * g).sum(axis=1) / np.linalg.norm(p, axis=1) / np.linalg.norm(g, axis=1)
    return float(np.degrees(np.arccos(np.clip(cosine, -1, 1))).mean())


def test_mean_angle_equals_arccos_in_float64() -> None:
    new, prediction, label = _case("mErr")
    assert _score(new(), prediction, label) == pytest.approx(_mean_angle_restated(prediction, label), rel=1e-9)


@pytest.mark.parametrize("degrees", [0.0, 1e-5, 45.0, 90.0, 179.99999, 180.0])
def test_mean_angle_is_exact_for_small_and_opposite_vectors(degrees: float) -> None:
    label = torch.tensor([0.0, 0.0, 1.0], dtype=torch.float64).reshape(1, 3, 1, 1)
    angle = math.radians(degrees)
    prediction = 7 * torch.tensor([math.sin(angle), 0.0, math.cos(angle)], dtype=torch.float64).reshape(1, 3, 1, 1)
    assert _score(MeanAngle(), prediction, label) == pytest.approx(degrees, abs=1e-9)


def test_rmse_is_one_root_over_all_pixels_in_range() -> None:
    new, prediction, label = _case("RMSE")
    p, g = prediction.double().numpy(), label.double().numpy()
    keep = (g > 0) & (g < 80)
    assert (g >= 80).any()
    expected = np.sqrt(((np.where(p > 0, p, 1e-9) - g)[keep] ** 2).mean())
    assert _score(new(), prediction, label) == pytest.approx(expected, rel=1e-12)


def test_rmse_of_a_worked_case_treats_negative_predictions_as_zero() -> None:
    prediction = torch.tensor([3.0, -4.0, 9.0, 1.0]).reshape(1, 1, 2, 2)
    label = torch.tensor([1.0, 4.0, 0.0, 80.0]).reshape(1, 1, 2, 2)
    assert _score(DepthRMSE(), prediction, label) == pytest.approx(math.sqrt((4 + 16) / 2), rel=1e-8)


@pytest.mark.parametrize("name", NAMES)
def test_streaming_equals_one_update(name: str) -> None:
    new, prediction, label = _case(name)
    whole = _score(new(), prediction, label)
    streamed = new()
    for image in range(6):
        streamed.update(prediction[image : image + 1], label[image : image + 1])
    assert streamed.compute() == pytest.approx(whole, rel=1e-13)


@pytest.mark.parametrize("name", NAMES)
def test_without_a_valid_pixel_the_metric_is_unavailable(name: str) -> None:
    new, prediction, label = _case(name)
    with pytest.raises(MetricUnavailable):
        new().compute()
    with pytest.raises(MetricUnavailable):
        _score(new(), prediction, _all_ignored(label))


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_one_non_finite_prediction_makes_the_metric_unavailable_for_good(name: str, bad: float) -> None:
    new, prediction, label = _case(name)
    broken = prediction.clone()
    broken[3, 0, 4, 4] = bad
    metric = new()
    for batch in (prediction, broken, prediction):
        metric.update(batch, label)
    with pytest.raises(MetricUnavailable, match=naming("NaN")):
        metric.compute()


@pytest.mark.parametrize("name", NAMES)
def test_wrong_shapes_are_refused(name: str) -> None:
    new, prediction, label = _case(name)
    with pytest.raises(ValueError, match="expected a label"):
        new().update(prediction[:, :, :-1], label)
    with pytest.raises(ValueError, match="expected a label"):
        new().update(prediction[:3], label)


def test_maxf_needs_a_salient_pixel_somewhere() -> None:
    with pytest.raises(MetricUnavailable, match=naming("background")):
        _score(MaxF(), torch.zeros(1, 2, 2, 2), torch.zeros(1, 2, 2, dtype=torch.int64))


def test_labels_out_of_range_are_refused() -> None:
    with pytest.raises(ValueError, match=naming("0", "3")):
        MeanIoU(3).update(torch.zeros(1, 3, 1, 2), torch.tensor([[[0, 3]]]))
    with pytest.raises(ValueError, match=naming("0", "1", "255")):
        MaxF().update(torch.zeros(1, 2, 1, 2), torch.tensor([[[0, 2]]]))


@pytest.mark.parametrize("num_classes", [1, 256])
def test_class_counts_that_clash_with_ignore_are_refused(num_classes: int) -> None:
    with pytest.raises(ValueError, match="num_classes"):
        MeanIoU(num_classes)
