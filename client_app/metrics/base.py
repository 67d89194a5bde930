"""What every metric has in common: a state of named arrays, and a value that may be unavailable.

A metric never holds pixels, only named arrays of sums or counts (float64 or int64). Because these add up, two
workers that scored different images can be merged by addition, and the state fits in a message. A metric that ranks
all objects of a data set has no such sums; `client_app.metrics.records` gives it arrays that grow instead.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from copy import copy
from typing import Any, ClassVar, Self

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
    `compute`. Counters combine by addition; for a state that does not add up see `RecordMetric`.

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

    def settings(self) -> Mapping[str, object]:
        """Return what the score depends on beside the data; only metrics with equal settings can be merged."""
        return {}

    def merge(self, other: "Metric") -> None:
        """Add what `other` has seen to this metric, as if both had been one.

        Raises:
            ValueError: `other` is another metric, has other settings, or holds counters of another shape.
        """
        if type(other) is not type(self):
            raise ValueError(f"Cannot merge a {type(other).__name__} into a {type(self).__name__}.")
        if dict(other.settings()) != dict(self.settings()):
            raise ValueError(
                f"Cannot merge two {type(self).__name__} with different settings: "
                f"{dict(self.settings())} and {dict(other.settings())}."
            )
        state = other.state()
        self._check(state)
        self._absorb(state)

    def state(self) -> dict[str, Array]:
        """Return a copy of the counters by name: all that another worker needs to continue or merge."""
        return {key: value.copy() for key, value in self._counters.items()}

    def from_state(self, state: Mapping[str, Array]) -> Self:
        """Return a metric with this one's settings that has seen what `state` describes; this one is unchanged.

        Args:
            state: what `state()` of a metric with the same settings returned.

        Raises:
            ValueError: names, shapes or dtypes differ from this metric's counters.
        """
        self._check(state)
        restored = copy(self)
        restored._take(state)
        return restored

    def counter(self, name: str) -> Array:
        """Return one counter by name (the array itself: do not write to it)."""
        return self._counters[name]

    def _add(self, **amounts: Array) -> None:
        """Add to counters by name, keeping their dtypes."""
        for key, amount in amounts.items():
            counter: Array = self._counters[key]
            self._counters[key] = np.asarray(counter + amount, dtype=counter.dtype)

    def _absorb(self, state: Mapping[str, Array]) -> None:
        """Add the state of another metric of this kind."""
        self._add(**state)

    def _take(self, state: Mapping[str, Array]) -> None:
        """Replace this metric's state by a copy of another."""
        self._counters = {key: np.array(value) for key, value in state.items()}

    def _require_finite(self) -> None:
        """Raise MetricUnavailable if the counter "non_finite" says that a prediction was NaN or infinite."""
        count = int(self.counter("non_finite"))
        if count:
            raise MetricUnavailable(f"{self.name}: {count} predicted values were NaN or infinite.")

    def _check(self, state: Mapping[str, Array]) -> None:
        """Raise ValueError unless `state` has this metric's counter names, shapes and dtypes."""
        expected = {key: (value.shape, str(value.dtype)) for key, value in self._counters.items()}
        found = {key: (np.shape(value), str(np.asarray(value).dtype)) for key, value in state.items()}
        if found != expected:
            raise ValueError(
                f"The state does not belong to this {type(self).__name__}: it holds {found}, expected {expected}. "
                "Use the state of a metric that was created with the same settings."
            )


def non_finite_values(prediction: Tensor) -> Array:
    """Return how many predicted values are NaN or infinite, as an int64 scalar for the counter "non_finite"."""
    return np.asarray(int((~torch.isfinite(prediction)).sum()), dtype=np.int64)
