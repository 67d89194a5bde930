"""Root mean squared error of depth."""

import math

from torch import Tensor

from client_app.metrics.pixel_mean import PixelMean

MAX_DEPTH = 80.0
"""Labels from this distance on, in metres, are not scored."""
MIN_PREDICTION = 1e-9
"""Predictions that are not positive count as this many metres."""


class DepthRMSE(PixelMean):
    """RMSE in metres over all valid pixels of the data set (methods of FedHCA2's evaluation).

    One root over the whole set; the mean of per-image roots is another, incomparable number. A label is valid where
    it lies strictly between 0 and 80 m.
    """

    name = "RMSE"
    higher_is_better = False
    unit = "metres"
    channels = 1
    summed = "squared_error"
    wanted = "a valid depth"

    def update(self, prediction: Tensor, label: Tensor) -> None:
        """Add one batch: predictions and labels (B, 1, H, W) in metres.

        Raises:
            ValueError: shapes do not fit.
        """
        self._check_shapes(prediction, label)
        valid = (label > 0) & (label < MAX_DEPTH)
        predicted = prediction.detach()[valid].double().clamp(min=MIN_PREDICTION)
        self._add_pixels((predicted - label[valid].double()).square(), prediction)

    def compute(self) -> float:
        """Return RMSE in metres.

        Raises:
            MetricUnavailable: no valid pixel was seen, or a prediction was not finite.
        """
        return math.sqrt(self._mean())
