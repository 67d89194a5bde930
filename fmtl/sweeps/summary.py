"""The end of a sweep: one row per label, on screen, in comparison.md and in summary.json."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from rich.table import Table

from fmtl.report.changes import Changes, draw_changes
from fmtl.report.comparison import Cell, Comparison, compare_runs
from fmtl.report.curves import write_curves
from fmtl.report.figure import write_figure
from fmtl.report.markdown import markdown_report
from fmtl.report.run_reader import read_run
from fmtl.sweeps.file import Sweep
from fmtl.sweeps.origins import values_by_origin
from fmtl.sweeps.plan import Job, jobs_of, reason_of, states_of
from fmtl.sweeps.row import Entry, Row
from fmtl.tables import escaped, markdown_table, plain_table, printable
from fmtl_strategies.contract.files import write_json, write_text

__all__ = ["change_against_local", "failures", "signed", "summarise", "to_table", "write_summary"]

_HEADING = ("label", "strategy", "seeds", "Δm %", "sd", "min", "max", "state")
_HUGE = 1e5
"""From here on a change is written with an exponent: it says that a run has diverged, and needs no more figures."""
FILE = "summary.json"
REPORT = "comparison.md"
CHART = "changes.png"


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
    states = states_of(jobs_of(sweep))
    read = {
        job: replace(read_run(job.folder), given_name=job.name)
        for job, state in states.items()
        if state in ("done", "failed")
    }
    comparison = compare_runs(list(read.values())) if read else None
    changes = {column.runs[0].name: column.delta_m for column in comparison.columns} if comparison else {}
    missing = Cell(missing_because="the run has no result")
    entries = {
        job: Entry(
            job,
            state,
            reason_of(job) if state == "failed" else reasons.get(job.name),
            changes.get(job.name, missing),
            read.get(job),
        )
        for job, state in states.items()
    }
    rows = (Row(line, tuple(entry for job, entry in entries.items() if job.label == line.label)) for line in sweep.runs)
    return tuple(sorted(rows, key=lambda row: row.rank)), comparison


def failures(rows: Sequence[Row]) -> list[str]:
    """A sentence for every run that is not done, has no delta_m, or went on without some client, with the reason."""
    entries = [entry for row in rows for entry in row.entries]
    listed = [
        f"{entry.job.name}: {entry.state}{f': {entry.reason}' if entry.reason else ''}"
        for entry in entries
        if entry.state != "done"
    ]
    lacking = [
        f"{entry.job.name}: Δm {entry.delta_m.missing_because}{_first_missing(entry)}"
        for entry in entries
        if entry.state == "done" and entry.delta_m.missing_because and _has_local(rows)
    ]
    missed = [
        f"{entry.job.name}: client {client} missed {count} of {entry.run.rounds} rounds (see history.jsonl)"
        for entry in entries
        if entry.run and entry.state == "done"
        for client, count in sorted(entry.run.missed.items())
    ]
    none = [] if _has_local(rows) else ["No Δm: the sweep has no run of strategy local to measure against."]
    return [*listed, *lacking, *missed, *none]


def _has_local(rows: Sequence[Row]) -> bool:
    return any(row.line.strategy == "local" for row in rows)


def _first_missing(entry: Entry) -> str:
    """Why the first value that a run lacks is missing; empty where it has all of its own."""
    scores = entry.run.scores.values() if entry.run else ()
    return next((f" ({score.missing_because})" for score in scores if score.value is None), "")


def to_table(rows: Sequence[Row]) -> Table:
    """The rows for the terminal."""
    table = plain_table(*_HEADING)
    for row in rows:
        table.add_row(*(printable(text) for text in _texts(row)))
    return table


def write_summary(sweep: Sweep, rows: Sequence[Row], comparison: Comparison | None) -> Path:
    """Write summary.json, and comparison.md with its curves where there is any result; returns the file to read."""
    write_json(sweep.out / FILE, _as_json(sweep, rows))
    if comparison is None:
        return sweep.out / FILE
    curves = write_curves(comparison, sweep.out)
    heading, _, rest = markdown_report(comparison, tuple(comparison.measures), curves, sweep.out).partition("\n")
    figure = draw_changes([Changes(_shown_label(row), row.changes) for row in rows if row.changes])
    chart = write_figure(figure, sweep.out / CHART) if figure else None
    picture = ["", f"![Change of every label against local training]({chart.name})"] if chart else []
    parts = [heading, *picture, "", _markdown(rows), _origins(sweep, rows), rest]
    write_text(sweep.out / REPORT, "\n".join(parts))
    return sweep.out / REPORT


def _shown_label(row: Row) -> str:
    missing = len(row.changes) < len(row.entries)
    return f"{row.line.label} ({len(row.changes)} of {len(row.entries)} seeds)" if missing else row.line.label


def _markdown(rows: Sequence[Row]) -> str:
    lines = ["## One row per label, best first", ""]
    lines.append(markdown_table(_HEADING, map(_texts, rows), right=range(2, 7)))
    lines += [
        "",
        (
            "Δm: mean relative change over all tasks of all clients against the local run of the same seed, in "
            "percent, positive is better; mean, sample standard deviation, smallest and largest over seeds. A row "
            "that lacks a seed stands below those with all."
        ),
        "",
    ]
    wrong = failures(rows)
    if wrong:
        lines += [
            "Without a result or a change, or without all clients in every round:",
            "",
            *(f"- {escaped(line)}" for line in wrong),
            "",
        ]
    return "\n".join(lines)


def _origins(sweep: Sweep, rows: Sequence[Row]) -> str:
    """A table of whose values each label ran with: a comparison of methods is worth what their settings are worth."""
    cells = [
        (row.line.label, *map(_listed, values_by_origin(row.line.values, sweep.scenario).values())) for row in rows
    ]
    table = markdown_table(("label", "given", "ours", "paper", "code"), cells)
    note = "Given: not the default. `fmtl settings NAME` says more of each default."
    return "\n".join(["## Whose values these are", "", table, "", note, ""])


def _listed(values: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} = {value}" for name, value in values.items()) or "-"


def _texts(row: Row) -> tuple[str, ...]:
    changes = row.changes
    states = [entry.state for entry in row.entries]
    state = "done" if set(states) == {"done"} else ", ".join(f"{states.count(s)} {s}" for s in dict.fromkeys(states))
    seeds = str(len(changes)) if len(changes) == len(states) else f"{len(changes)} of {len(states)}"
    low, high = (min(changes), max(changes)) if changes else (None, None)
    spread = "-" if row.spread is None else signed(row.spread).removeprefix("+")
    return row.line.label, row.line.strategy, seeds, signed(row.mean), spread, signed(low), signed(high), state


def signed(value: float | None) -> str:
    """A change in percent with its sign; a dash where there is none."""
    if value is None:
        return "-"
    if abs(value) >= _HUGE:
        return f"{value:+.2e}"
    rounded = round(value, 2) + 0.0
    return f"{rounded:+.2f}" if rounded else "0.00"


def _as_json(sweep: Sweep, rows: Sequence[Row]) -> dict[str, Any]:
    return {
        "format": 1,
        "scenario": sweep.scenario.name,
        "rounds": sweep.rounds,
        "seeds": list(sweep.seeds),
        "runs": [
            {
                "label": row.line.label,
                "strategy": row.line.strategy,
                "given": row.line.given,
                "values": values_by_origin(row.line.values, sweep.scenario),
                "delta_m": {
                    "mean": row.mean,
                    "sd": row.spread,
                    "min": min(row.changes, default=None),
                    "max": max(row.changes, default=None),
                    "seeds": len(row.changes),
                },
                "seeds": [_entry_as_json(entry) for entry in row.entries],
            }
            for row in rows
        ],
    }


def _entry_as_json(entry: Entry) -> dict[str, Any]:
    run = entry.run
    scores: dict[str, dict[str, float | None]] = {}
    for (client, task), score in run.scores.items() if run else ():
        scores.setdefault(client, {})[task] = score.value
    cost = run.cost if run else None
    return {
        "seed": entry.job.seed,
        "folder": entry.job.name,
        "state": entry.state,
        "reason": entry.reason,
        "delta_m": entry.delta_m.value,
        "delta_m_missing_because": entry.delta_m.missing_because,
        "scores": scores,
        "seconds": cost.seconds if cost else None,
        "bytes_up": cost.bytes_up if cost else None,
        "bytes_down": cost.bytes_down if cost else None,
    }
