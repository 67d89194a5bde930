"""The end of a sweep: one row per label, on screen, in comparison.md and in summary.json."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.table import Table

from fmtl.report.changes import Changes, draw_changes
from fmtl.report.comparison import Cell, Comparison, compare_runs
from fmtl.report.figure import write_figure
from fmtl.report.markdown import write_report
from fmtl.report.run_reader import read_run
from fmtl.sweeps.file import Sweep, SweepRun
from fmtl.sweeps.plan import Job
from fmtl.sweeps.results import Result, results_of
from fmtl.tables import escaped, format_number, markdown_table, plain_table, printable
from fmtl_strategies.contract.files import write_json

_HEADING = ("label", "strategy", "seeds", "Δm %", "sd", "min", "max", "state")
FILE = "summary.json"
CHART = "changes.png"
_NOTE = """
Δm: mean relative change over all tasks of all clients against the local run of the same seed, in percent, positive is \
better; mean, sample standard deviation, smallest and largest over seeds. A row that lacks a seed stands below those \
with all. Given: what its entry sets over the defaults.
"""


@dataclass(frozen=True)
class Row:
    """One label with all its seeds.

    Attributes:
        line: of the sweep file.
        results: one for each seed.
        changes: delta_m of each in percent against the local run of the same seed, or why there is none.
    """

    line: SweepRun
    results: tuple[Result, ...]
    changes: tuple[Cell, ...]

    @property
    def delta_m(self) -> Cell:
        """Over the seeds that have one."""
        return Cell(tuple(value for change in self.changes for value in change.values))

    @property
    def seeds(self) -> str:
        """How many seeds have a delta_m, and of how many where that is not all."""
        count, every = len(self.delta_m.values), len(self.changes)
        return str(count) if count == every else f"{count} of {every}"

    @property
    def rank(self) -> tuple[bool, float]:
        """Best first; rows that lack a seed come after those with all of them, for they average something else."""
        mean = self.delta_m.value
        return len(self.delta_m.values) < len(self.changes), float("inf") if mean is None else -mean


def change_against_local(job: Job, jobs: Sequence[Job]) -> float | None:
    """Delta_m of a run that has ended, in percent; None where the local run of its seed is not there (yet)."""
    local = [
        other
        for other in jobs
        if other.values["strategy"] == "local" and other.seed == job.seed and (other.folder / "result.json").is_file()
    ]
    if job.values["strategy"] == "local" or len(local) != 1:
        return None
    try:
        compared = compare_runs([read_run(job.folder)], read_run(local[0].folder))
    except ValueError:  # a line of progress must not end the sweep; the comparison at the end says what is wrong
        return None
    return compared.columns[-1].delta_m.value


def summarise(sweep: Sweep, reasons: Mapping[str, str]) -> tuple[tuple[Row, ...], Comparison | None]:
    """Read all results of a sweep.

    Args:
        sweep: the sweep.
        reasons: by name of the job, why runs ended without a result in this process's time.

    Returns:
        The rows, best first, and the comparison of all results; None where there is no result.
    """
    results = results_of(sweep, reasons)
    ended = [result.run for result in results if result.run]
    comparison = compare_runs(ended) if ended else None
    changes = {column.runs[0].name: column.delta_m for column in comparison.columns} if comparison else {}
    missing = Cell(missing_because="the run has no result")
    rows = []
    for line in sweep.runs:
        own = tuple(result for result in results if result.job.label == line.label)
        rows.append(Row(line, own, tuple(changes.get(result.job.name, missing) for result in own)))
    return tuple(sorted(rows, key=lambda row: row.rank)), comparison


def failures(rows: Sequence[Row]) -> list[str]:
    """A sentence for every run that is not done, has no delta_m, or went on without some client, with the reason."""
    lines = [f"{result.job.name}: {fault}" for row in rows for result in row.results for fault in result.faults]
    if not any(row.line.strategy == "local" for row in rows):
        return [*lines, "No Δm: the sweep has no run of strategy local to measure against."]
    for row in rows:
        for result, change in zip(row.results, row.changes, strict=True):
            if result.state == "done" and result.run and change.missing_because:
                missing = [score.missing_because for score in result.run.scores.values() if score.value is None]
                why = f" ({missing[0]})" if missing else ""
                lines.append(f"{result.job.name}: Δm {change.missing_because}{why}")
    return lines


def to_table(rows: Sequence[Row]) -> Table:
    """The rows for the terminal."""
    return plain_table(_HEADING, (map(printable, _texts(row)) for row in rows))


def write_summary(sweep: Sweep, rows: Sequence[Row], comparison: Comparison | None) -> Path:
    """Write summary.json, and comparison.md with its curves where there is any result; returns the file to read."""
    write_json(sweep.out / FILE, _as_json(sweep, rows))
    if comparison is None:
        return sweep.out / FILE
    figure = draw_changes([Changes(_shown_label(row), row.delta_m.values) for row in rows if row.delta_m.values])
    chart = write_figure(figure, sweep.out / CHART) if figure else None
    picture = f"![Change of every label against local training]({chart.name})\n\n" if chart else ""
    return write_report(comparison, tuple(comparison.measures), sweep.out, picture + _markdown(rows))


def _shown_label(row: Row) -> str:
    return f"{row.line.label} ({row.seeds} seeds)" if "of" in row.seeds else row.line.label


def _markdown(rows: Sequence[Row]) -> str:
    given = (", ".join(f"{name} = {value}" for name, value in row.line.given.items()) or "-" for row in rows)
    cells = ((*_texts(row), text) for row, text in zip(rows, given, strict=True))
    lines = [
        "## One row per label, best first\n",
        markdown_table((*_HEADING, "given"), cells, right=range(2, 7)),
        _NOTE,
    ]
    if wrong := failures(rows):
        lines += ["Without a result or a change, or without all clients in every round:\n"]
        lines += [*(f"- {escaped(line)}" for line in wrong), ""]
    return "\n".join(lines)


def _texts(row: Row) -> tuple[str, ...]:
    change = row.delta_m
    states = [result.state for result in row.results]
    state = "done" if set(states) == {"done"} else ", ".join(f"{states.count(s)} {s}" for s in dict.fromkeys(states))
    low, high = min(change.values, default=None), max(change.values, default=None)
    mean, low_text, high_text = (format_number(value, 2, signed=True) for value in (change.value, low, high))
    spread = format_number(change.spread, 2)
    return row.line.label, row.line.strategy, row.seeds, mean, spread, low_text, high_text, state


def _as_json(sweep: Sweep, rows: Sequence[Row]) -> dict[str, Any]:
    runs = []
    for row in rows:
        change = row.delta_m
        low, high = min(change.values, default=None), max(change.values, default=None)
        runs.append(
            {
                "label": row.line.label,
                "strategy": row.line.strategy,
                "given": row.line.given,
                "delta_m": {
                    "mean": change.value, "sd": change.spread, "min": low, "max": high, "seeds": len(change.values),
                },
                "seeds": [_as_entry(*pair) for pair in zip(row.results, row.changes, strict=True)],
            }
        )  # fmt: skip
    facts = {"format": 1, "scenario": sweep.scenario.name, "rounds": sweep.rounds, "seeds": list(sweep.seeds)}
    return {**facts, "runs": runs}


def _as_entry(result: Result, change: Cell) -> dict[str, Any]:
    run = result.run
    scores: dict[str, dict[str, float | None]] = {}
    for (client, task), score in run.scores.items() if run else ():
        scores.setdefault(client, {})[task] = score.value
    end = run.result if run else None
    return {
        "seed": result.job.seed,
        "folder": result.job.name,
        "state": result.state,
        "reason": result.reason,
        "delta_m": change.value,
        "delta_m_missing_because": change.missing_because,
        "scores": scores,
        **{key: getattr(end, key, None) for key in ("seconds", "bytes_up", "bytes_down")},
    }
