"""Losses of the dense tasks against plain float64 restatements, and what the registry offers."""

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import pytest
import torch
from errors import naming
from fmtl_datasets.shared.conventions import OBJECT_TASKS, PANOPTIC_THINGS, TASKS
from torch import Tensor

from client_app.metrics.edge.protocol import EdgeProtocol
from client_app.tasks.base import DenseTask
from client_app.tasks.dense import EdgeDetection
from client_app.tasks.registry import TRAINED_TASKS, UnknownTaskError, get_task

Floats = npt.NDArray[np.float64]
NUM_CLASSES = {"semseg": 6, "parts": 7, "stuff": 5, "instance": 4, "panoptic": 9, PANOPTIC_THINGS: 4}
CHANNELS = {"semseg": 6, "parts": 7, "saliency": 2, "normals": 3, "edge": 1, "depth": 1, "stuff": 5}
DENSE_TASKS = tuple(CHANNELS)
CLASS_MAPS = ("semseg", "parts", "saliency", "stuff")
WEIGHTS = {"semseg": 1.0, "parts": 2.0, "saliency": 5.0, "normals": 10.0, "edge": 50.0, "depth": 1.0} | dict.fromkeys(
    ("instance", "keypoints", "stuff", "panoptic"), 1.0
)
SHAPE = (3, 8, 10)


def _batch(task: str) -> tuple[Tensor, Tensor]:
    """Return a random prediction and a label of which about a fifth is ignored."""
    generator = torch.Generator().manual_seed(3)
    images, height, width = SHAPE
    prediction = torch.randn(images, CHANNELS[task], height, width, generator=generator)
    ignored = torch.rand(SHAPE, generator=generator) < 0.2
    if task in CLASS_MAPS:
        return prediction, torch.randint(0, CHANNELS[task], SHAPE, generator=generator).masked_fill(ignored, 255)
    if task == "edge":
        edges = (torch.rand(SHAPE, generator=generator) < 0.1).float()
        return prediction, edges.masked_fill(ignored, 255.0)[:, None]
    if task == "normals":
        vectors = torch.nn.functional.normalize(torch.randn(images, 3, height, width, generator=generator), dim=1)
        return prediction, vectors.masked_fill(ignored[:, None], 0.0)
    return prediction, (0.5 + 5 * torch.rand(SHAPE, generator=generator)).masked_fill(ignored, 0.0)[:, None]


def _ignored_batch(task: str) -> tuple[Tensor, Tensor]:
    prediction, label = _batch(task)
    return prediction, torch.full_like(label, 0 if task in ("normals", "depth") else 255)


def _log_softmax(x: Floats) -> Floats:
    return x - np.log(np.exp(x).sum(axis=1, keepdims=True))


def _cross_entropy(p: Floats, g: npt.NDArray[np.int64], weights: list[float] | None = None) -> float:
    logs, total, count = _log_softmax(p), 0.0, 0
    for image, row, column in np.ndindex(g.shape):
        label = int(g[image, row, column])
        if label != 255:
            total -= (weights[label] if weights else 1.0) * logs[image, label, row, column]
            count += 1
    return total / count


def _saliency(p: Floats, g: npt.NDArray[np.int64]) -> float:
    positive = float((g == 1).sum() / (g != 255).sum())
    return _cross_entropy(p, g, [positive, 1 - positive])


def _normals(p: Floats, g: Floats) -> float:
    valid = np.abs(g).sum(axis=1) > 0
    unit = p / np.sqrt((p**2).sum(axis=1, keepdims=True))
    return float(np.abs(unit - g).sum(axis=1)[valid].sum() / valid.sum())


def _edge(p: Floats, g: Floats) -> float:
    valid = g != 255
    probability = 1 / (1 + np.exp(-p[valid]))
    target = g[valid]
    return float(np.mean(-0.95 * target * np.log(probability) - 0.05 * (1 - target) * np.log(1 - probability)))


def _depth(p: Floats, g: Floats) -> float:
    return float(np.abs(p - g)[g > 0].mean())


RESTATED: dict[str, Callable[..., float]] = {
    "semseg": _cross_entropy,
    "parts": _cross_entropy,
    "stuff": _cross_entropy,
    "saliency": _saliency,
    "normals": _normals,
    "edge": _edge,
    "depth": _depth,
}


@pytest.mark.parametrize("task", DENSE_TASKS)
def test_loss_equals_its_float64_restatement(task: str) -> None:
    prediction, label = _batch(task)
    as_float64 = label.numpy() if label.dtype == torch.int64 else label.double().numpy()
    expected = RESTATED[task](prediction.double().numpy(), as_float64)
    assert expected > 0
    assert get_task(task).loss(prediction, label).item() == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("task", DENSE_TASKS)
def test_ignored_pixels_get_no_gradient_and_valid_pixels_do(task: str) -> None:
    prediction, label = _batch(task)
    prediction.requires_grad_()
    get_task(task).loss(prediction, label).backward()
    assert prediction.grad is not None
    touched = prediction.grad.abs().sum(dim=1) > 0
    valid = label != 255 if task in (*CLASS_MAPS, "edge") else label.abs().sum(dim=1) > 0
    assert torch.equal(touched, valid.reshape(SHAPE))


@pytest.mark.parametrize("task", DENSE_TASKS)
def test_batch_without_valid_pixel_gives_zero_loss_and_zero_gradient(task: str) -> None:
    prediction, label = _ignored_batch(task)
    prediction.requires_grad_()
    loss = get_task(task).loss(prediction, label)
    loss.backward()
    assert loss.item() == 0.0
    assert prediction.grad is not None
    assert torch.equal(prediction.grad, torch.zeros_like(prediction))


@pytest.mark.parametrize("value", [0, 1])
def test_saliency_with_one_class_only_has_a_finite_loss(value: int) -> None:
    prediction, label = _batch("saliency")
    assert get_task("saliency").loss(prediction, torch.full_like(label, value)).item() == 0.0


@pytest.mark.parametrize("task", DENSE_TASKS)
def test_loss_is_computed_in_float32_under_autocast(task: str) -> None:
    prediction, label = _batch(task)
    prediction = prediction.bfloat16()
    plain = get_task(task).loss(prediction.float(), label)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = get_task(task).loss(prediction, label)
    assert loss.dtype == torch.float32
    assert loss.item() == plain.item()


@pytest.mark.parametrize("task", DENSE_TASKS)
def test_prediction_of_another_resolution_is_refused(task: str) -> None:
    prediction, label = _batch(task)
    with pytest.raises(ValueError, match="label's resolution"):
        get_task(task).loss(prediction[:, :, ::2, ::2], label)


def test_class_beyond_the_head_is_refused_by_name() -> None:
    prediction, label = _batch("semseg")
    label[0, 0, 0] = 6
    with pytest.raises(ValueError, match=naming("class 6", "6 classes")):
        get_task("semseg").loss(prediction, label)


def test_weights_and_channels_are_those_of_the_paper() -> None:
    assert {task: get_task(task).loss_weight for task in TRAINED_TASKS} == WEIGHTS
    dense = [get_task(task) for task in DENSE_TASKS]
    assert {task.name: task.output_channels(NUM_CLASSES) for task in dense if isinstance(task, DenseTask)} == CHANNELS


def test_every_task_of_the_data_sets_can_be_trained() -> None:
    assert set(TRAINED_TASKS) == set(TASKS)
    assert {name for name in TRAINED_TASKS if not isinstance(get_task(name), DenseTask)} == OBJECT_TASKS
    assert all(get_task(name).name == name for name in TRAINED_TASKS)


@pytest.mark.parametrize("name", TRAINED_TASKS)
def test_metric_of_each_task_agrees_with_what_the_task_announces(name: str) -> None:
    task = get_task(name)
    metric = task.new_metric(NUM_CLASSES)
    assert (metric.name, metric.higher_is_better) == (task.metric_name, task.higher_is_better)


@pytest.mark.parametrize("name", DENSE_TASKS)
def test_metric_of_a_dense_task_scores_its_prediction(name: str) -> None:
    metric = get_task(name).new_metric(NUM_CLASSES)
    metric.update(*_batch(name))
    assert np.isfinite(metric.compute())


def test_edge_protocol_reaches_the_metric() -> None:
    task = EdgeDetection(EdgeProtocol(thresholds=9))
    assert task.metric_name == "odsF@9"
    assert task.new_metric({}).name == "odsF@9"


def test_unknown_task_lists_the_known_ones() -> None:
    with pytest.raises(UnknownTaskError, match=naming("semsg", "semseg, parts, saliency, normals, edge, depth")):
        get_task("semsg")


def test_missing_class_count_names_the_task() -> None:
    with pytest.raises(ValueError, match=r"num_classes\['parts'\]"):
        get_task("parts").modules({"semseg": 40})


@pytest.mark.parametrize(
    ("task", "num_classes", "message"),
    [
        ("instance", {"semseg": 40}, r"num_classes\['instance'\]"),
        ("stuff", {"semseg": 40}, r"num_classes\['stuff'\]"),
        ("panoptic", {"panoptic": 5}, r"num_classes\['panoptic-things'\]"),
        ("panoptic", {PANOPTIC_THINGS: 5}, r"num_classes\['panoptic'\]"),
        ("panoptic", {"panoptic": 5, PANOPTIC_THINGS: 5}, "5 of 5 panoptic classes are things"),
    ],
)
def test_missing_class_count_of_a_coco_task_is_named(task: str, num_classes: dict[str, int], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        get_task(task).modules(num_classes)
