"""Edge detection: the probability of a boundary per pixel."""

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor

from client_app.metrics.base import Metric
from client_app.metrics.edge.ods import OdsF
from client_app.metrics.edge.protocol import EdgeProtocol
from client_app.tasks.base import IGNORE_LABEL, DenseTask

POSITIVE_WEIGHT = 0.95
"""Weight of edge pixels in the loss; the others weigh 1 minus this. FedHCA2 uses it on PASCAL and NYUD alike."""


class EdgeDetection(DenseTask):
    """Binary cross-entropy with weights 0.95 / 0.05, mean over valid pixels; weight 50; scored by odsF.

    Source: FedHCA2 losses and weights.

    Args:
        protocol: how boundaries are thinned and matched when scoring; it differs between data sets.
    """

    name = "edge"
    loss_weight = 50.0
    higher_is_better = OdsF.higher_is_better

    def __init__(self, protocol: EdgeProtocol | None = None) -> None:
        self.protocol = protocol if protocol is not None else EdgeProtocol()
        self.metric_name = self.protocol.metric_name

    def output_channels(self, num_classes: Mapping[str, int]) -> int:
        """Return 1: the logit of a boundary."""
        return 1

    def new_metric(self, num_classes: Mapping[str, int]) -> Metric:
        """Return an empty odsF under this task's protocol."""
        return OdsF(self.protocol)

    def _loss(self, prediction: Tensor, label: Tensor) -> Tensor:
        valid = label != IGNORE_LABEL
        target = torch.where(valid, label, 0.0)
        weight = POSITIVE_WEIGHT * target + (1.0 - POSITIVE_WEIGHT) * (1.0 - target)
        error = weight * F.binary_cross_entropy_with_logits(prediction, target, reduction="none")
        return torch.where(valid, error, 0.0).sum() / valid.sum().clamp(min=1)
