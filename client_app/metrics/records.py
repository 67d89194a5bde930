"""Metrics that rank all objects of a data set, and so have to keep them until the end."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from client_app.metrics.base import Array, Metric


class RecordMetric(Metric):
    """A metric with records beside its counters: arrays with a row for each thing seen, which only grow.

    Records of two metrics are merged by putting the other's after this one's, so that a score may depend on the order
    of merging where two objects have the same rank.
    """

    def __init__(self, counters: Mapping[str, Array], records: Mapping[str, Array]) -> None:
        """Start empty.

        Args:
            counters: as in `Metric`.
            records: arrays without rows by name; their dtype and the shape of a row stay fixed.
        """
        super().__init__(counters)
        # A list of blocks: joining at every batch would copy all that was seen again and again.
        self._blocks: dict[str, list[Array]] = {key: [np.array(value)] for key, value in records.items()}

    def record(self, name: str) -> Array:
        """Return all rows of one record so far (do not write to them)."""
        blocks = self._blocks[name]
        if len(blocks) > 1:
            blocks[:] = [np.concatenate(blocks)]
        return blocks[0]

    def state(self) -> dict[str, Array]:
        """Return a copy of counters and records by name."""
        return {**super().state(), **{name: self.record(name).copy() for name in self._blocks}}

    def _append(self, **rows: Array) -> None:
        """Add rows to records by name, keeping their dtypes."""
        for name, new in rows.items():
            self._blocks[name].append(np.asarray(new, dtype=self._blocks[name][0].dtype))

    def _absorb(self, state: Mapping[str, Array]) -> None:
        self._add(**{name: state[name] for name in self._counters})
        self._append(**{name: state[name] for name in self._blocks})

    def _take(self, state: Mapping[str, Array]) -> None:
        super()._take({name: state[name] for name in self._counters})
        self._blocks = {name: [np.array(state[name])] for name in self._blocks}

    def _check(self, state: Mapping[str, Array]) -> None:
        super()._check({name: value for name, value in state.items() if name not in self._blocks})
        for name, blocks in self._blocks.items():
            expected = (blocks[0].shape[1:], str(blocks[0].dtype))
            value = np.asarray(state[name]) if name in state else None
            if value is None or value.ndim == 0 or (value.shape[1:], str(value.dtype)) != expected:
                found = "nothing" if value is None else f"{value.dtype} of shape {value.shape}"
                raise ValueError(
                    f"The state does not belong to this {type(self).__name__}: its {name!r} is {found}, expected rows "
                    f"of shape {expected[0]} and {expected[1]}. Use the state of a metric of this kind."
                )
