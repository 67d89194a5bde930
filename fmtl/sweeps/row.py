"""One label of a sweep at its end: its runs, and what they say together."""

from __future__ import annotations

import statistics
from dataclasses import dataclass

from fmtl.report.comparison import Cell
from fmtl.report.run_reader import Run
from fmtl.sweeps.file import SweepRun
from fmtl.sweeps.plan import Job

__all__ = ["Entry", "Row"]


@dataclass(frozen=True)
class Entry:
    """One run of the sweep at its end.

    Attributes:
        job: the run.
        state: `done`, `failed`, `unfinished` or `to do`.
        reason: why it is not done, where that is known.
        delta_m: in percent against the local run of the same seed, or why there is none.
        run: its result; None where it has none.
    """

    job: Job
    state: str
    reason: str | None
    delta_m: Cell
    run: Run | None


@dataclass(frozen=True)
class Row:
    """One label with all its seeds.

    Attributes:
        line: of the sweep file.
        entries: one for each seed, in the order of the seeds.
    """

    line: SweepRun
    entries: tuple[Entry, ...]

    @property
    def changes(self) -> list[float]:
        """Delta_m of the seeds that have one."""
        return [entry.delta_m.value for entry in self.entries if entry.delta_m.value is not None]

    @property
    def mean(self) -> float | None:
        """Mean of delta_m over the seeds that have one."""
        return statistics.fmean(self.changes) if self.changes else None

    @property
    def spread(self) -> float | None:
        """Sample standard deviation of delta_m; None for fewer than two seeds."""
        return statistics.stdev(self.changes) if len(self.changes) > 1 else None

    @property
    def rank(self) -> tuple[bool, float]:
        """Best first; rows that lack a seed come after those with all of them, for they average something else."""
        return len(self.changes) < len(self.entries), -self.mean if self.mean is not None else float("inf")
