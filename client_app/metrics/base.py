"""What every metric has in common: a state of named arrays, and a value that may be unavailable.

A metric never holds pixels, only named arrays of sums or counts (float64 or int64); a metric that ranks all objects of
a data set keeps those beside them.
"""

from abc import ABC, abstractmethod
from collections import defaultdict
from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

Array = npt.NDArray[Any]


class MetricUnavailable(ValueError):  # noqa: N818 - it is a state of the result, reported with its reason
    """The metric has no value; the message says why. Report it as missing, never as a number."""


class Metric(ABC):
    """One task's score over a data set, built up batch by batch.

    A subclass adds to its counters in `update` and turns them into one number in `compute`.

    Class attributes: `name` (as in tables, for example "mIoU"), `higher_is_better`, `unit` ("%", "degrees", "metres").
    """

    name: ClassVar[str]
    higher_is_better: ClassVar[bool]
    unit: ClassVar[str] = "%"

    def __init__(self) -> None:
        """Start empty."""
        self._counters: defaultdict[str, Array] = defaultdict(lambda: np.zeros((), dtype=np.int64))

    @abstractmethod
    def update(self, prediction: Any, label: Any) -> None:
        """Add one batch.

        Args:
            prediction: what the task's head returned: for a dense task (B, C, H, W) raw network output at label
                resolution, any floating dtype, any device.
            label: the collated label of the task: (B, H, W) int64 classes, (B, C, H, W) float32, or a list with an
                object label for each image.

        Raises:
            ValueError: shapes do not fit the metric.
        """

    @abstractmethod
    def compute(self) -> float:
        """Return the score over everything seen so far, in `unit` (fractions as percent, 0 to 100).

        Raises:
            MetricUnavailable: nothing valid was seen, or a prediction was not finite.
        """

    def details(self) -> Mapping[str, float | None]:
        """Return further numbers by name, in `unit`; None for one that has no value. Errors as in `compute`."""
        return {}

    def counter(self, name: str) -> Array:
        """Return one counter by name (the array itself: do not write to it); the number 0 before anything was added."""
        return self._counters[name]

    def _add(self, **amounts: Array) -> None:
        """Add to counters by name."""
        for key, amount in amounts.items():
            self._counters[key] = np.asarray(self._counters[key] + amount)

    def _count_non_finite(self, prediction: Tensor) -> int:
        """Count the predicted values that are NaN or infinite; any makes the metric unavailable."""
        count = int((~torch.isfinite(prediction)).sum())
        self._add(non_finite=np.asarray(count))
        return count

    def _require_finite(self) -> None:
        count = int(self.counter("non_finite"))
        if count:
            raise MetricUnavailable(f"{self.name}: {count} predicted values were NaN or infinite.")

    def _require_class_map(self, prediction: Tensor, label: Tensor, classes: int) -> None:
        """Raise ValueError unless the label is (B, H, W) and the prediction (B, classes, H, W)."""
        if label.ndim != 3 or tuple(prediction.shape) != (label.shape[0], classes, *label.shape[1:]):
            raise ValueError(
                f"{self.name}: expected a label (B, H, W) and a prediction (B, {classes}, H, W), got "
                f"{tuple(label.shape)} and {tuple(prediction.shape)}."
            )
