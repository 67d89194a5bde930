"""Mean angular error of surface normals."""

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from client_app.metrics.base import Metric, MetricUnavailable, non_finite_values


class MeanAngle(Metric):
    """mErr in degrees: mean angle between predicted and labelled normal over all valid pixels of the data set.

    The angle is 2 atan2(|p - g|, |p + g|) of the unit vectors, exact for small and for large angles (methods of
    FedHCA2's evaluation). A zero prediction has no direction and counts as 90 degrees. Label zero vector = invalid.
    """

    name = "mErr"
    higher_is_better = False
    unit = "degrees"

    def __init__(self) -> None:
        super().__init__(
            {
                "degrees": np.zeros((), dtype=np.float64),
                "pixels": np.zeros((), dtype=np.int64),
                "non_finite": np.zeros((), dtype=np.int64),
            }
        )

    def update(self, prediction: Tensor, label: Tensor) -> None:
        """Add one batch: predictions and labels (B, 3, H, W), of any length per vector.

        Raises:
            ValueError: shapes do not fit.
        """
        if label.ndim != 4 or label.shape[1] != 3 or prediction.shape != label.shape:
            raise ValueError(
                "mErr: expected a label and a prediction (B, 3, H, W), got "
                f"{tuple(label.shape)} and {tuple(prediction.shape)}."
            )
        predicted = F.normalize(prediction.detach().double(), dim=1)
        truth = F.normalize(label.double(), dim=1)
        valid = label.abs().sum(dim=1) > 0
        angle = 2 * torch.atan2((predicted - truth).norm(dim=1), (predicted + truth).norm(dim=1))
        self._add(
            degrees=np.asarray(torch.rad2deg(angle[valid]).sum().item()),
            pixels=np.asarray(int(valid.sum())),
            non_finite=non_finite_values(prediction),
        )

    def compute(self) -> float:
        """Return mErr in degrees.

        Raises:
            MetricUnavailable: no valid pixel was seen, or a prediction was not finite.
        """
        self._require_finite()
        if not self.counter("pixels"):
            raise MetricUnavailable("mErr: no pixel with a valid normal was seen.")
        return float(self.counter("degrees") / self.counter("pixels"))
