"""What every metric has in common: a state of named arrays, and a value that may be unavailable.

A metric never holds pixels, only named arrays of sums or counts (float64 or int64); a metric that ranks all objects of
a data set keeps those beside them.
"""

from abc import ABC, abstractmethod
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

    A subclass passes its zeroed counters to `__init__`, adds to them in `update` and turns them into one number in
    `compute`.

    Class attributes: `name` (as in tables, for example "mIoU"), `higher_is_better`, `unit` ("%", "degrees", "metres").
    """

    name: ClassVar[str]
    higher_is_better: ClassVar[bool]
    unit: ClassVar[str]

    def __init__(self, counters: Mapping[str, Array]) -> None:
        """Start empty.

        Args:
            counters: zeroed float64 or int64 arrays by name; their shapes and dtypes stay fixed.
        """
        self._counters: dict[str, Array] = {key: np.array(value) for key, value in counters.items()}

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
        """Return one counter by name (the array itself: do not write to it)."""
        return self._counters[name]

    def _add(self, **amounts: Array) -> None:
        """Add to counters by name, keeping their dtypes."""
        for key, amount in amounts.items():
            counter: Array = self._counters[key]
            self._counters[key] = np.asarray(counter + amount, dtype=counter.dtype)

    def _require_finite(self) -> None:
        """Raise MetricUnavailable if the counter "non_finite" says that a prediction was NaN or infinite."""
        count = int(self.counter("non_finite"))
        if count:
            raise MetricUnavailable(f"{self.name}: {count} predicted values were NaN or infinite.")


def non_finite_values(prediction: Tensor) -> Array:
    """Return how many predicted values are NaN or infinite, as an int64 scalar for the counter "non_finite"."""
    return np.asarray(int((~torch.isfinite(prediction)).sum()), dtype=np.int64)
