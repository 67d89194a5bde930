"""What the runs of a reproduction say: a mean and a spread for every cell, or why there is none."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from fmtl.report.run_reader import Run, read_run
from fmtl.reproduce.plan import Reproduction
from fmtl.reproduce.table import Column, Row, Table
from fmtl.sweeps.plan import Job, State, jobs_of, reason_of, states_of
from fmtl_strategies.maths.delta_m import delta_m

__all__ = ["Measured", "MeasuredRow", "MeasuredRun", "Report", "measure"]


@dataclass(frozen=True)
class Measured:
    """A value over seeds.

    Attributes:
        values: of the seeds that have one, in the unit that the paper prints.
        missing_because: why there is none; None where there is one.
    """

    values: tuple[float, ...] = ()
    missing_because: str | None = None

    @property
    def mean(self) -> float | None:
        """Mean over seeds."""
        return statistics.fmean(self.values) if self.values else None

    @property
    def spread(self) -> float | None:
        """Sample standard deviation over seeds; None for fewer than two."""
        return statistics.stdev(self.values) if len(self.values) > 1 else None

    def differs_from(self, printed: float | None, decimals: int) -> bool:
        """Whether the mean is further from a printed value than the spread and the printed value's rounding explain.

        Without a spread nothing is known of that, and nothing is marked.
        """
        if printed is None or self.mean is None or self.spread is None:
            return False
        return bool(abs(self.mean - printed) > self.spread + 0.5 * 10**-decimals)


@dataclass(frozen=True)
class MeasuredRun:
    """One run of a row.

    Attributes:
        seed: its seed.
        state: ``done``, ``failed``, ``unfinished`` or ``to do``.
        reason: why it is not done, or how far it is.
        run: its result; None where it has none.
    """

    seed: int
    state: State
    reason: str | None
    run: Run | None


@dataclass(frozen=True)
class MeasuredRow:
    """A row of a table with what was measured.

    Attributes:
        row: as published.
        runs: one for each seed.
        cells: by column head.
        delta_m: in percent against the reference row's run of the same seed.
    """

    row: Row
    runs: tuple[MeasuredRun, ...]
    cells: Mapping[str, Measured]
    delta_m: Measured

    @property
    def seeds(self) -> int:
        """How many runs are done."""
        return sum(run.state == "done" for run in self.runs)


@dataclass(frozen=True)
class Report:
    """A reproduction as far as it got.

    Attributes:
        work: the reproduction.
        rows: in the order of the paper.
    """

    work: Reproduction
    rows: tuple[MeasuredRow, ...]


def measure(work: Reproduction, reasons: Mapping[str, str]) -> Report:
    """Read the results of all runs.

    Args:
        work: the reproduction.
        reasons: by ``<scenario>/<name of the job>``, why runs ended without a result in this process's time.

    Raises:
        SweepError: a folder holds something else than its run.
    """
    found: dict[str, tuple[MeasuredRun, ...]] = {}
    for scenario, sweep in work.sweeps.items():
        states = states_of(jobs_of(sweep))
        for row in sweep.runs:
            found[row.label] = tuple(
                _run(job, state, work.rounds, reasons.get(f"{scenario}/{job.name}"))
                for job, state in states.items()
                if job.label == row.label
            )
    base = {one.seed: one.run for one in found[work.table.reference] if one.state == "done"}
    rows = (_row(work.table, row, found[row.same_run_as or row.method], base) for row in work.table.rows)
    return Report(work, tuple(rows))


def _run(job: Job, state: State, rounds: int, reason: str | None) -> MeasuredRun:
    if state == "to do":
        return MeasuredRun(job.seed, state, reason, None)
    run = read_run(job.folder)
    if state == "failed":
        reason = reason_of(job)
    elif state == "unfinished":
        reason = f"{run.rounds} of {rounds} rounds done{f'; {reason}' if reason else ''}"
    return MeasuredRun(job.seed, state, reason, run)


def _row(table: Table, row: Row, runs: tuple[MeasuredRun, ...], base: Mapping[int, Run | None]) -> MeasuredRow:
    done = [one for one in runs if one.state == "done" and one.run is not None]
    if not done:
        missing = Measured(missing_because="no run of it is done")
        return MeasuredRow(row, runs, {column.head: missing for column in table.columns}, missing)

    def cell(column: Column) -> Measured:
        if table.cells == "values":
            return _over_seeds(done, lambda run: _value(column, run))
        return _over_seeds(done, lambda run: _change((column,), run, base.get(run.seed)))

    cells = {column.head: cell(column) for column in table.columns}
    if row.method == table.reference:
        return MeasuredRow(row, runs, cells, Measured((0.0,) * len(done)))
    return MeasuredRow(row, runs, cells, _over_seeds(done, lambda run: _change(table.columns, run, base.get(run.seed))))


def _over_seeds(done: Sequence[MeasuredRun], value_of: Callable[[Run], float | str]) -> Measured:
    """The values of all seeds, or the first reason why one has none: means over other seeds must not be compared."""
    values: list[float] = []
    for one in done:
        assert one.run is not None
        value = value_of(one.run)
        if isinstance(value, str):
            return Measured(missing_because=f"seed {one.seed}: {value}")
        values.append(value)
    return Measured(tuple(values))


def _value(column: Column, run: Run) -> float | str:
    """The mean over a column's clients in the paper's unit, or why there is none."""
    clients = column.clients or tuple(client for client, task in run.scores if task == column.task)
    if not clients:
        return f"no client has {column.task}"
    values: list[float] = []
    for client in clients:
        score, measure = run.scores.get((client, column.task)), run.measures.get((client, column.task))
        if score is None or measure is None:
            return f"{client}/{column.task} was not scored"
        if measure.metric != column.metric:
            return f"{client}/{column.task} was scored by {measure.metric}, the column is {column.metric}"
        if score.value is None:
            return f"{client}/{column.task}: {score.missing_because}"
        values.append(score.value)
    return column.scale * statistics.fmean(values)


def _change(columns: Sequence[Column], run: Run, base: Run | None) -> float | str:
    """Mean relative change over columns in percent; columns of another metric count as unchanged."""
    if base is None:
        return "the reference row has no finished run of this seed"
    values: list[float] = []
    references: list[float] = []
    compared = [column for column in columns if column.different is None]
    if not compared:
        return "no column is comparable"
    for column in compared:
        for one, collected in ((run, values), (base, references)):
            value = _value(column, one)
            if isinstance(value, str):
                return value
            if not math.isfinite(value) or (one is base and value == 0):
                return f"{column.head} is {value:g}, which gives no relative change"
            collected.append(value)
    change = delta_m(values, references, [column.higher_is_better for column in compared])
    return change * len(compared) / len(columns)
