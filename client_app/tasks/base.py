"""What every task defines: how its part of the model is built, loss and its weight, metric."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from fmtl_datasets.shared.conventions import IGNORE
from torch import Tensor

from client_app.metrics.base import Metric
from client_app.model.dense import dense_modules
from client_app.model.multi_task_model import TaskModules


class Task(ABC):
    """One task a client can train.

    Class attributes: `name` (key of the label in a sample), `loss_weight` (factor in the sum over a client's tasks,
    used for single-task clients too, as FedHCA2 does), `metric` (its class).
    """

    name: ClassVar[str]
    loss_weight: ClassVar[float] = 1.0
    metric: ClassVar[type[Metric]]

    @property
    def metric_name(self) -> str:
        """Name under which the score is reported."""
        return self.metric.name

    @property
    def higher_is_better(self) -> bool:
        """Direction of the score."""
        return self.metric.higher_is_better

    @abstractmethod
    def modules(self, num_classes: Mapping[str, int]) -> TaskModules:
        """Return how this task's decoder and head are built.

        Args:
            num_classes: the data set's class counts (`dataset.num_classes`).

        Raises:
            ValueError: the task needs a class count that the data set does not give.
        """

    def new_metric(self, num_classes: Mapping[str, int]) -> Metric:
        """Return an empty metric for this task; `num_classes` as for `modules`."""
        return self.metric()

    @abstractmethod
    def loss(self, prediction: Any, label: Any) -> Tensor:
        """Return the unweighted loss of one batch, a float32 scalar with a graph.

        Args:
            prediction: what the task's head returned.
            label: the collated label of this task, on the same device: a tensor, or for an object task a list with
                one label for each image.

        Raises:
            ValueError: prediction and label do not belong together.
        """


class DenseTask(Task):
    """A task with a prediction and a label for every pixel.

    Class attributes: `channels` that a head predicts; None for one per class of the data set.
    """

    channels: ClassVar[int | None] = None

    def output_channels(self, num_classes: Mapping[str, int]) -> int:
        """Return the channels a head for this task predicts; `num_classes` and errors as for `modules`."""
        return class_count(num_classes, self.name, 2) if self.channels is None else self.channels

    def modules(self, num_classes: Mapping[str, int]) -> TaskModules:
        """Return FedHCA2's decoder and head with this task's channels."""
        return dense_modules(self.output_channels(num_classes))

    def loss(self, prediction: Tensor, label: Tensor) -> Tensor:
        """Return the unweighted loss of one batch, computed in float32 whatever the prediction's dtype.

        A batch without a valid pixel gives 0 that still carries a graph, so `backward` works and adds zeros.

        Args:
            prediction: (B, C, H, W) raw output of the head, any floating dtype.
            label: the collated label of this task, on the same device.

        Returns:
            float32 scalar.

        Raises:
            ValueError: batch or image size differ between prediction and label, or a class is out of range.
        """
        if prediction.shape[0] != label.shape[0] or prediction.shape[-2:] != label.shape[-2:]:
            raise ValueError(
                f"Task {self.name!r}: prediction {tuple(prediction.shape)} and label {tuple(label.shape)} differ in "
                "batch or image size. Predictions must have the label's resolution."
            )
        with torch.autocast(prediction.device.type, enabled=False):
            return self._loss(prediction.float(), label)

    @abstractmethod
    def _loss(self, prediction: Tensor, label: Tensor) -> Tensor:
        """Compute the loss for a float32 prediction of the label's size."""


def class_count(num_classes: Mapping[str, int], key: str, least: int) -> int:
    """Return a class count, or raise ValueError naming what the data set does give."""
    if num_classes.get(key, 0) < least:
        raise ValueError(
            f"num_classes[{key!r}] of at least {least} is needed, but the data set gives {dict(num_classes)}. Choose a "
            "data set that labels this task."
        )
    return num_classes[key]


def mean_over(valid: Tensor, error: Tensor) -> Tensor:
    """Return the mean of an error over the valid pixels; 0, with a graph, where there is none."""
    return torch.where(valid, error, 0.0).sum() / valid.sum().clamp(min=1)


def mean_cross_entropy(prediction: Tensor, label: Tensor, class_weights: Tensor | None = None) -> Tensor:
    """Return cross-entropy summed over valid pixels, divided by their number (not by the sum of class weights).

    Args:
        prediction: (B, C, H, W) float32 logits.
        label: (B, H, W) int64 classes, 255 = ignore.
        class_weights: (C,) float32, or None for equal weights.

    Raises:
        ValueError: a label is neither 255 nor below C; on a GPU it would otherwise abort the whole process.
    """
    valid = label != IGNORE
    worst = int(torch.where(valid, label, 0).max()) if label.numel() else 0
    if worst >= prediction.shape[1]:
        raise ValueError(
            f"A label has class {worst}, but the head predicts {prediction.shape[1]} classes (0 to "
            f"{prediction.shape[1] - 1}, 255 = ignore). Check num_classes of the data set."
        )
    total = F.cross_entropy(prediction, label, weight=class_weights, ignore_index=IGNORE, reduction="sum")
    return total / valid.sum().clamp(min=1)
