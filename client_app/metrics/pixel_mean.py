"""What metrics that average a number over all valid pixels of a data set have in common."""

from __future__ import annotations

import numpy as np
from torch import Tensor

from client_app.metrics.base import Metric, MetricUnavailable, non_finite_values


class PixelMean(Metric):
    """Sum of a value over valid pixels, and their count; a subclass says which value."""

    channels: int
    """Channels of label and prediction."""
    summed: str
    """Name of the counter that sums the values; it tells states of different metrics apart."""
    wanted: str
    """What makes a pixel valid, for the reason why there is no value."""

    def __init__(self) -> None:
        super().__init__(
            {
                self.summed: np.zeros((), dtype=np.float64),
                "pixels": np.zeros((), dtype=np.int64),
                "non_finite": np.zeros((), dtype=np.int64),
            }
        )

    def _check_shapes(self, prediction: Tensor, label: Tensor) -> None:
        if label.ndim != 4 or label.shape[1] != self.channels or prediction.shape != label.shape:
            raise ValueError(
                f"{self.name}: expected a label and a prediction (B, {self.channels}, H, W), got "
                f"{tuple(label.shape)} and {tuple(prediction.shape)}."
            )

    def _add_pixels(self, values: Tensor, prediction: Tensor) -> None:
        """Add the values of valid pixels, float64 of any shape; the whole prediction is checked to be finite."""
        total = {self.summed: np.asarray(values.sum().item())}
        self._add(**total, pixels=np.asarray(values.numel()), non_finite=non_finite_values(prediction))

    def _mean(self) -> float:
        self._require_finite()
        if not self.counter("pixels"):
            raise MetricUnavailable(f"{self.name}: no pixel with {self.wanted} was seen.")
        return float(self.counter(self.summed) / self.counter("pixels"))
