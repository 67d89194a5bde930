"""Saliency: which pixels draw attention, as a two-class problem."""

from collections.abc import Mapping

import torch
from torch import Tensor

from client_app.metrics.base import Metric
from client_app.metrics.max_f import MaxF
from client_app.tasks.base import IGNORE_LABEL, DenseTask, mean_cross_entropy


class Saliency(DenseTask):
    """Two-class cross-entropy balanced within the batch, weight 5, scored by maxF (FedHCA2 losses and weights).

    Background weighs as much as the fraction of salient pixels and the other way round, so both classes pull equally.
    A batch with one class only has loss 0, as in the reference: the class that is there weighs nothing.
    """

    name = "saliency"
    loss_weight = 5.0
    metric_name = MaxF.name
    higher_is_better = MaxF.higher_is_better

    def output_channels(self, num_classes: Mapping[str, int]) -> int:
        """Return 2: background, salient."""
        return 2

    def new_metric(self, num_classes: Mapping[str, int]) -> Metric:
        """Return an empty maxF."""
        return MaxF()

    def _loss(self, prediction: Tensor, label: Tensor) -> Tensor:
        valid = (label != IGNORE_LABEL).sum().clamp(min=1)
        salient = (label == 1).sum() / valid
        background = (label == 0).sum() / valid
        return mean_cross_entropy(prediction, label, torch.stack([salient, background]))
