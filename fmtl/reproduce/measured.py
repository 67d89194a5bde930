"""What the runs of a reproduction say: a mean and a spread for every cell, or why there is none."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from fmtl.report.comparison import Cell
from fmtl.report.run_reader import Run
from fmtl.reproduce.plan import Reproduction
from fmtl.reproduce.published_table import Column, Row, Table
from fmtl.sweeps.results import Result, results_of
from fmtl_strategies.maths.delta_m import delta_m


@dataclass(frozen=True)
class MeasuredRow:
    """A row of a table with what was measured.

    Attributes:
        row: as published.
        runs: one for each seed.
        cells: by column head, in the unit that the paper prints.
        delta_m: in percent against the reference row's run of the same seed.
    """

    row: Row
    runs: Sequence[Result]
    cells: Mapping[str, Cell]
    delta_m: Cell

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


def differs(cell: Cell, printed: float | None, decimals: int) -> bool:
    """Whether the mean is further from a printed value than the spread and the printed value's rounding explain.

    Without a spread nothing is known of that, and nothing is marked.
    """
    if printed is None or cell.value is None or cell.spread is None:
        return False
    return bool(abs(cell.value - printed) > cell.spread + 0.5 * 10**-decimals)


def measure(work: Reproduction, reasons: Mapping[str, Mapping[str, str]]) -> Report:
    """Read the results of all runs.

    Args:
        work: the reproduction.
        reasons: by scenario and name of the job, why runs ended without a result in this process's time.

    Raises:
        SettingError: a folder holds something else than its run.
    """
    found: dict[str, list[Result]] = {}
    for scenario, sweep in work.sweeps.items():
        for result in results_of(sweep, reasons.get(scenario, {})):
            found.setdefault(result.job.label, []).append(result)
    base = {run.seed: run for run in _done(found[work.table.reference])}
    rows = (_row(work.table, row, found[row.same_run_as or row.method], base) for row in work.table.rows)
    return Report(work, tuple(rows))


def _done(results: Sequence[Result]) -> list[Run]:
    return [result.run for result in results if result.state == "done" and result.run]


def _row(table: Table, row: Row, runs: Sequence[Result], base: Mapping[int, Run]) -> MeasuredRow:
    done = _done(runs)
    if not done:
        missing = Cell(missing_because="no run of it is done")
        return MeasuredRow(row, runs, {column.head: missing for column in table.columns}, missing)

    def cell(column: Column) -> Cell:
        if table.cells == "values":
            return _over_seeds(done, lambda run: _value(column, run))
        return _over_seeds(done, lambda run: _change((column,), run, base.get(run.seed)))

    cells = {column.head: cell(column) for column in table.columns}
    if row.method == table.reference:
        return MeasuredRow(row, runs, cells, Cell((0.0,) * len(done)))
    return MeasuredRow(row, runs, cells, _over_seeds(done, lambda run: _change(table.columns, run, base.get(run.seed))))


def _over_seeds(done: Sequence[Run], value_of: Callable[[Run], float | str]) -> Cell:
    """The values of all seeds, or the first reason why one has none: means over other seeds must not be compared."""
    values: list[float] = []
    for run in done:
        value = value_of(run)
        if isinstance(value, str):
            return Cell(missing_because=f"seed {run.seed}: {value}")
        values.append(value)
    return Cell(tuple(values))


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
