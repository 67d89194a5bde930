"""Surface normals: a unit vector per pixel."""

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor

from client_app.metrics.base import Metric
from client_app.metrics.mean_angle import MeanAngle
from client_app.tasks.base import DenseTask


class SurfaceNormals(DenseTask):
    """L1 between normalised vectors, summed over x, y, z, mean over valid pixels; weight 10; scored by mErr.

    Source: FedHCA2 losses and weights. A pixel is valid where the label is not the zero vector.
    """

    name = "normals"
    loss_weight = 10.0
    metric_name = MeanAngle.name
    higher_is_better = MeanAngle.higher_is_better

    def output_channels(self, num_classes: Mapping[str, int]) -> int:
        """Return 3: x, y, z."""
        return 3

    def new_metric(self, num_classes: Mapping[str, int]) -> Metric:
        """Return an empty mean angular error."""
        return MeanAngle()

    def _loss(self, prediction: Tensor, label: Tensor) -> Tensor:
        valid = label.abs().sum(dim=1) > 0
        error = (F.normalize(prediction, dim=1) - label).abs().sum(dim=1)
        return torch.where(valid, error, 0.0).sum() / valid.sum().clamp(min=1)
