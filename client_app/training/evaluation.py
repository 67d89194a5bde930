"""Scoring a model on a client's validation split."""

from collections.abc import Mapping
from typing import Any

import torch
from fmtl_datasets.shared.edge_annotators import EDGE_ANNOTATORS
from torch import nn

from client_app.metrics.base import Metric, MetricUnavailable
from client_app.training.batches import LocalData, evaluation_batches, to_device
from client_app.training.device import reproducible_kernels
from fmtl_strategies.contract.messages import Score


def evaluate(
    model: nn.Module, metrics: Mapping[str, Metric], data: LocalData, batch_size: int, device: torch.device
) -> dict[str, Score]:
    """Score a model on the whole validation split, in float32 whatever the training's precision.

    Args:
        model: scored in evaluation mode; left in that mode.
        metrics: an empty metric by task; filled in place.
        data: the client's data.
        batch_size: images in a batch.
        device: where the model is.

    Returns:
        The metric of every task, or the reason why it has none.
    """
    model.eval()
    # Not inference_mode: an encoder that keeps a tensor made here (a mask, a table) could not be trained afterwards.
    with torch.no_grad(), reproducible_kernels():
        for batch in evaluation_batches(data, batch_size):
            moved = to_device(batch, device)
            predictions = model(moved["image"])
            for task, metric in metrics.items():
                metric.update(predictions[task], scored_label(task, moved))
    return {task: _score(metric) for task, metric in metrics.items()}


def scored_label(task: str, batch: Mapping[str, Any]) -> Any:
    """Return what a task is scored against: its label, or every annotator's edges where there are several.

    Training on such data uses one label that leaves out what the annotators disagree on; the benchmark does not.
    """
    if task == "edge" and EDGE_ANNOTATORS in batch:
        return batch[EDGE_ANNOTATORS]
    return batch[task]


def _score(metric: Metric) -> Score:
    try:
        return Score(value=metric.compute())
    except MetricUnavailable as error:
        return Score(missing_because=str(error)[:500] or "the metric gave no reason")
