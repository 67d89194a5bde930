"""Errors averaged over all valid pixels of a data set: the mean angle of surface normals, the RMSE of depth."""

import math
from abc import abstractmethod
from typing import ClassVar

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from client_app.metrics.base import Metric, MetricUnavailable

MAX_DEPTH = 80.0
"""Labels from this distance on, in metres, are not scored."""
MIN_PREDICTION = 1e-9
"""Predictions that are not positive count as this many metres."""


class PixelMean(Metric):
    """Mean over valid pixels of an error that a subclass defines; the mean of per-image means is another number.

    Class attributes: `channels` of label and prediction; `wanted`, what makes a pixel valid.
    """

    higher_is_better = False
    channels: ClassVar[int]
    wanted: ClassVar[str]

    def update(self, prediction: Tensor, label: Tensor) -> None:
        """Add one batch: predictions and labels (B, C, H, W).

        Raises:
            ValueError: shapes do not fit.
        """
        if label.ndim != 4 or label.shape[1] != self.channels or prediction.shape != label.shape:
            raise ValueError(
                f"{self.name}: expected a label and a prediction (B, {self.channels}, H, W), got "
                f"{tuple(label.shape)} and {tuple(prediction.shape)}."
            )
        errors = self._errors(prediction.detach(), label)
        self._add(errors=np.asarray(errors.sum().item()), pixels=np.asarray(errors.numel()))
        self._count_non_finite(prediction)

    @abstractmethod
    def _errors(self, prediction: Tensor, label: Tensor) -> Tensor:
        """Return the errors of valid pixels, float64 of any shape."""

    def compute(self) -> float:
        """Return the mean error.

        Raises:
            MetricUnavailable: no valid pixel was seen, or a prediction was not finite.
        """
        self._require_finite()
        if not self.counter("pixels"):
            raise MetricUnavailable(f"{self.name}: no pixel with {self.wanted} was seen.")
        return float(self.counter("errors") / self.counter("pixels"))


class MeanAngle(PixelMean):
    """mErr in degrees: mean angle between predicted and labelled normal over all valid pixels of the data set.

    The angle is 2 atan2(|p - g|, |p + g|) of the unit vectors, exact for small and for large angles (methods of
    FedHCA2's evaluation). A zero prediction has no direction and counts as 90 degrees. Label zero vector = invalid.
    """

    name = "mErr"
    unit = "degrees"
    channels = 3
    wanted = "a valid normal"

    def _errors(self, prediction: Tensor, label: Tensor) -> Tensor:
        predicted = F.normalize(prediction.double(), dim=1)
        truth = F.normalize(label.double(), dim=1)
        valid = label.abs().sum(dim=1) > 0
        angle = 2 * torch.atan2((predicted - truth).norm(dim=1), (predicted + truth).norm(dim=1))
        return torch.rad2deg(angle[valid])


class DepthRMSE(PixelMean):
    """RMSE in metres over all valid pixels of the data set (methods of FedHCA2's evaluation).

    One root over the whole set; the mean of per-image roots is another, incomparable number. A label is valid where
    it lies strictly between 0 and 80 m.
    """

    name = "RMSE"
    unit = "metres"
    channels = 1
    wanted = "a valid depth"

    def _errors(self, prediction: Tensor, label: Tensor) -> Tensor:
        valid = (label > 0) & (label < MAX_DEPTH)
        predicted = prediction[valid].double().clamp(min=MIN_PREDICTION)
        return (predicted - label[valid].double()).square()

    def compute(self) -> float:
        """Return the root of the mean squared error; errors as in `PixelMean.compute`."""
        return math.sqrt(super().compute())
