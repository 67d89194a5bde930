"""Depth: the distance of every pixel in metres."""

from collections.abc import Mapping

import torch
from torch import Tensor

from client_app.metrics.base import Metric
from client_app.metrics.rmse import DepthRMSE
from client_app.tasks.base import DenseTask


class Depth(DenseTask):
    """Mean absolute error over valid pixels (label above 0), weight 1, scored by RMSE (FedHCA2 losses and weights)."""

    name = "depth"
    loss_weight = 1.0
    metric_name = DepthRMSE.name
    higher_is_better = DepthRMSE.higher_is_better

    def output_channels(self, num_classes: Mapping[str, int]) -> int:
        """Return 1: metres."""
        return 1

    def new_metric(self, num_classes: Mapping[str, int]) -> Metric:
        """Return an empty RMSE."""
        return DepthRMSE()

    def _loss(self, prediction: Tensor, label: Tensor) -> Tensor:
        valid = label > 0
        error = (prediction - label).abs()
        return torch.where(valid, error, 0.0).sum() / valid.sum().clamp(min=1)
