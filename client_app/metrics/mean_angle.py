"""Mean angular error of surface normals."""

import torch
import torch.nn.functional as F
from torch import Tensor

from client_app.metrics.pixel_mean import PixelMean


class MeanAngle(PixelMean):
    """mErr in degrees: mean angle between predicted and labelled normal over all valid pixels of the data set.

    The angle is 2 atan2(|p - g|, |p + g|) of the unit vectors, exact for small and for large angles (methods of
    FedHCA2's evaluation). A zero prediction has no direction and counts as 90 degrees. Label zero vector = invalid.
    """

    name = "mErr"
    higher_is_better = False
    unit = "degrees"
    channels = 3
    summed = "degrees"
    wanted = "a valid normal"

    def update(self, prediction: Tensor, label: Tensor) -> None:
        """Add one batch: predictions and labels (B, 3, H, W), of any length per vector.

        Raises:
            ValueError: shapes do not fit.
        """
        self._check_shapes(prediction, label)
        predicted = F.normalize(prediction.detach().double(), dim=1)
        truth = F.normalize(label.double(), dim=1)
        valid = label.abs().sum(dim=1) > 0
        angle = 2 * torch.atan2((predicted - truth).norm(dim=1), (predicted + truth).norm(dim=1))
        self._add_pixels(torch.rad2deg(angle[valid]), prediction)

    def compute(self) -> float:
        """Return mErr in degrees.

        Raises:
            MetricUnavailable: no valid pixel was seen, or a prediction was not finite.
        """
        return self._mean()
