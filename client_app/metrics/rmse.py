"""Root mean squared error of depth."""

import numpy as np
from torch import Tensor

from client_app.metrics.base import Metric, MetricUnavailable, non_finite_values

MAX_DEPTH = 80.0
"""Labels from this distance on, in metres, are not scored."""
MIN_PREDICTION = 1e-9
"""Predictions that are not positive count as this many metres."""


class DepthRMSE(Metric):
    """RMSE in metres over all valid pixels of the data set (methods of FedHCA2's evaluation).

    One root over the whole set; the mean of per-image roots is another, incomparable number. A label is valid where
    it lies strictly between 0 and 80 m.
    """

    name = "RMSE"
    higher_is_better = False
    unit = "metres"

    def __init__(self) -> None:
        super().__init__(
            {
                "squared_error": np.zeros((), dtype=np.float64),
                "pixels": np.zeros((), dtype=np.int64),
                "non_finite": np.zeros((), dtype=np.int64),
            }
        )

    def update(self, prediction: Tensor, label: Tensor) -> None:
        """Add one batch: predictions and labels (B, 1, H, W) in metres.

        Raises:
            ValueError: shapes do not fit.
        """
        if label.ndim != 4 or label.shape[1] != 1 or prediction.shape != label.shape:
            raise ValueError(
                "RMSE: expected a label and a prediction (B, 1, H, W), got "
                f"{tuple(label.shape)} and {tuple(prediction.shape)}."
            )
        valid = (label > 0) & (label < MAX_DEPTH)
        predicted = prediction.detach()[valid].double().clamp(min=MIN_PREDICTION)
        error = predicted - label[valid].double()
        self._add(
            squared_error=np.asarray(error.square().sum().item()),
            pixels=np.asarray(int(valid.sum())),
            non_finite=non_finite_values(prediction),
        )

    def compute(self) -> float:
        """Return RMSE in metres.

        Raises:
            MetricUnavailable: no valid pixel was seen, or a prediction was not finite.
        """
        self._require_finite()
        if not self.counter("pixels"):
            raise MetricUnavailable("RMSE: no pixel with a valid depth was seen.")
        return float(np.sqrt(self.counter("squared_error") / self.counter("pixels")))
