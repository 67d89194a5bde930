"""Paper and measured values side by side: on the terminal, as Markdown and as CSV."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from io import StringIO
from pathlib import Path

from rich.console import Console
from rich.table import Table as RichTable
from rich.text import Text

from fmtl.reproduce.chart import write_chart
from fmtl.reproduce.measured import Measured, MeasuredRow, measure
from fmtl.reproduce.plan import Reproduction
from fmtl.reproduce.table import Column, Table
from fmtl.tables import escaped, markdown_table, plain_table, printable
from fmtl_strategies.contract.files import write_text
from fmtl_strategies.registry import strategy_class

__all__ = ["Report", "make_report", "print_report", "write_report"]

MARK = "*"
DELTA = "Δm %"
_HUGE = 1e5
_GAP = 3
"""Characters between two columns on the terminal."""


@dataclass(frozen=True)
class Report:
    """A reproduction as far as it got.

    Attributes:
        work: the reproduction.
        rows: in the order of the paper.
    """

    work: Reproduction
    rows: tuple[MeasuredRow, ...]


def make_report(work: Reproduction, reasons: Mapping[str, str]) -> Report:
    """Read what there is; see `measure`."""
    return Report(work, measure(work, reasons))


def heads_of(table: Table) -> list[str]:
    """The column heads, Δm last."""
    return [*(column.head for column in table.columns), DELTA]


def lines_of(report: Report) -> Iterator[tuple[str, str, list[str]]]:
    """Two lines for each row: its name, what the line is, and its cells with Δm last."""
    table = report.work.table
    for one in report.rows:
        printed = [_printed(table, column, one) for column in table.columns]
        yield one.row.name, "paper", [*printed, _change(one.row.delta_m)]
        cells = [_cell(table, column, one) for column in table.columns]
        yield "", _measured_label(one), [*cells, _with_spread(one.delta_m, one.row.delta_m, 2, signed=True)]


def _measured_label(one: MeasuredRow) -> str:
    return (
        f"measured, n = {one.seeds}" if one.seeds == len(one.runs) else f"measured, n = {one.seeds} of {len(one.runs)}"
    )


def _printed(table: Table, column: Column, one: MeasuredRow) -> str:
    value = one.row.values.get(column.head)
    if value is None:
        return "-"
    return _change(value) if table.cells == "changes" else f"{value:.{column.decimals}f}"


def _cell(table: Table, column: Column, one: MeasuredRow) -> str:
    if column.different:
        return "not compared"
    changes = table.cells == "changes"
    decimals = 2 if changes else column.decimals
    return _with_spread(one.cells[column.head], one.row.values.get(column.head), decimals, signed=changes)


def _with_spread(measured: Measured, printed: float | None, decimals: int, *, signed: bool) -> str:
    if measured.mean is None:
        return "-"
    if abs(measured.mean) >= _HUGE:
        text = f"{measured.mean:.1e}"
    else:
        text = (
            f"{measured.mean:+.{decimals}f}"
            if signed and round(measured.mean, decimals)
            else _plain(measured.mean, decimals)
        )
    if measured.spread is not None:
        text += f" ± {measured.spread:.{decimals}f}" if measured.spread < _HUGE else f" ± {measured.spread:.1e}"
    return text + (f" {MARK}" if measured.differs_from(printed, decimals) else "")


def _plain(value: float, decimals: int) -> str:
    return f"{round(value, decimals) + 0.0:.{decimals}f}"


def _change(value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value:+.2f}" if value else "0.00"


def notes_of(report: Report) -> list[str]:
    """What the reader has to know: first what is missing and why, then what is ours, then what is not comparable."""
    work, table = report.work, report.work.table
    notes = [f"The runs are {work.shortened}."] if work.shortened else []
    notes += _states(report)
    most = max(one.seeds for one in report.rows)
    if most == 1:
        notes.append("Measured: one seed, so nothing is known of its spread, and no difference is marked.")
    elif most:
        notes.append(
            f"Measured: mean ± sample standard deviation over n seeds; {MARK} marks a mean that is further from the "
            "printed value than that spread and the rounding."
        )
    notes.append(
        f"{DELTA.removesuffix(' %')}: mean relative change over the columns against {table.row(table.reference).name}, "
        "measured against the run of the same seed; positive is better."
    )
    notes += [
        f"{column.head} is not compared and counts as unchanged: {column.different}." for column in _others(table)
    ]
    converted = [column for column in table.columns if column.scale != 1.0]
    notes += [f"{c.head}: printed in {c.unit}; our {c.metric} is multiplied by {c.scale:g}." for c in converted]
    notes += [f"{row.name}: {row.note}" for row in table.rows if row.note]
    notes += _ours(table)
    return [*notes, *table.caveats]


def _others(table: Table) -> list[Column]:
    return [column for column in table.columns if column.different]


def _states(report: Report) -> list[str]:
    """A sentence for each row that is not done, or whose cells are missing."""
    notes = _waiting(report)
    for one in report.rows:
        for run in one.runs:
            state = "not run yet" if run.state == "to do" else run.state
            if run.state not in ("done", "to do") or run.reason:
                notes.append(f"{one.row.name}, seed {run.seed}: {state}{f': {run.reason}' if run.reason else ''}.")
            for client, count in sorted(run.run.missed.items()) if run.run else ():
                notes.append(f"{one.row.name}, seed {run.seed}: client {client} missed {count} rounds.")
        reasons = [cell.missing_because for cell in (*one.cells.values(), one.delta_m) if one.seeds]
        notes += [f"{one.row.name}: {reason}." for reason in dict.fromkeys(reasons) if reason]
    return notes


def _waiting(report: Report) -> list[str]:
    """The runs that have not begun: rows of which none has, then single seeds of the others."""
    idle = {
        one.row.name: [run.seed for run in one.runs if run.state == "to do" and not run.reason] for one in report.rows
    }
    whole = [name for name, seeds in idle.items() if len(seeds) == len(report.work.seeds)]
    notes = [f"Not run yet: {', '.join(whole)}."] if whole else []
    for seed in report.work.seeds:
        names = [name for name, seeds in idle.items() if seed in seeds and name not in whole]
        notes += [f"Not run yet: seed {seed} of {', '.join(names)}."] if names else []
    return notes


def _ours(table: Table) -> list[str]:
    notes = [
        f"Not given by the paper and ours: {key} = {table.settings[key]} ({why})." for key, why in table.ours.items()
    ]
    for row in table.rows:
        for key, why in row.ours.items():
            defaults = strategy_class(row.strategy).parameters_model().model_dump(by_alias=True)
            value = {**defaults, **row.settings, **row.parameters}[key]
            notes.append(f"Not given by the paper and ours: {row.name} {key} = {value} ({why}).")
    return notes


def print_report(report: Report, screen: Console) -> None:
    """Print the tables, cut so that they fit, and the notes."""
    work, table = report.work, report.work.table
    screen.print(Text(f"{table.name}: {table.number} of {table.paper}. {table.title}."))
    if work.shortened:
        screen.print(Text(f"NOT COMPARABLE: {work.rounds} of {table.rounds} rounds.", style="bold"))
    for block in blocks(report, screen.width):
        screen.print(block)
    for note in notes_of(report):
        screen.print(Text(f"- {printable(note)}"))


def blocks(report: Report, width: int) -> list[RichTable]:
    """The table cut into blocks of columns that fit a width; the names of the rows stand in each."""
    lines, heads = list(lines_of(report)), heads_of(report.work.table)
    columns = [_aligned([cells[i] for _, _, cells in lines]) for i in range(len(heads))]
    needed = [max(map(len, (head, *column))) + _GAP for head, column in zip(heads, columns, strict=True)]
    left = max(len(name) for name, _, _ in lines) + max(len(what) for _, what, _ in lines) + 2 * _GAP
    chosen: list[list[int]] = [[]]
    for index, need in enumerate(needed):
        if chosen[-1] and left + sum(needed[i] for i in chosen[-1]) + need > width:
            chosen.append([])
        chosen[-1].append(index)
    made = []
    for indices in chosen:
        block = plain_table("method", "", *(heads[i] for i in indices), whole=tuple(range(len(indices) + 2)))
        for index in range(len(indices)):
            block.columns[index + 2].justify = "right"
        for number, (name, what, _) in enumerate(lines):
            block.add_row(*(Text(text) for text in (name, what, *(columns[i][number] for i in indices))))
        made.append(block)
    return made


def _aligned(cells: list[str]) -> list[str]:
    """Cells of a column as narrow as they can be, with room for the mark in all where one has it."""
    narrow = [cell.replace(" ± ", "±").replace(f" {MARK}", MARK) for cell in cells]
    marked = any(cell.endswith(MARK) for cell in narrow)
    return [cell if not marked or cell.endswith(MARK) else f"{cell} " for cell in narrow]


def write_report(report: Report) -> Path:
    """Write ``table.md``, ``table.csv`` and ``delta_m.png`` to the folder; returns the first."""
    out = report.work.out
    chart = write_chart(report.work, report.rows, out)
    write_text(out / "table.csv", _csv(report))
    write_text(out / "table.md", _markdown(report, chart))
    return out / "table.md"


def _markdown(report: Report, chart: Path | None) -> str:
    table = report.work.table
    heads = heads_of(table)
    lines = [f"# {table.name}: {table.title}", "", f"{table.number} of {table.paper}.", ""]
    if report.work.shortened:
        lines += [f"**NOT COMPARABLE: {report.work.rounds} of {table.rounds} rounds.**", ""]
    rows = ((name, what, *cells) for name, what, cells in lines_of(report))
    lines.append(markdown_table(("method", "", *heads), rows, right=range(2, len(heads) + 2)))
    if chart:
        lines += ["", f"![Printed and measured change of every method]({chart.name})"]
    lines += ["", *(f"- {escaped(note)}" for note in notes_of(report)), ""]
    return "\n".join(lines)


def _csv(report: Report) -> str:
    """One line for each row and column, in full precision."""
    table = report.work.table
    text = StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(
        [
            "method",
            "name",
            "strategy",
            "rounds",
            "column",
            "unit",
            "paper",
            "measured",
            "sd",
            "seeds",
            "beyond_spread",
            "missing",
        ]
    )
    for one in report.rows:
        cells: list[tuple[str, str, float | None, Measured, int]] = [
            (c.head, "percent change" if table.cells == "changes" else c.unit, one.row.values.get(c.head),
             Measured(missing_because=f"not compared: {c.different}") if c.different else one.cells[c.head],
             2 if table.cells == "changes" else c.decimals)
            for c in table.columns
        ]  # fmt: skip
        cells.append(("delta_m", "percent", one.row.delta_m, one.delta_m, 2))
        for head, unit, printed, measured, decimals in cells:
            beyond = str(measured.differs_from(printed, decimals)).lower() if measured.spread is not None else ""
            writer.writerow(
                [one.row.method, one.row.name, one.row.strategy, report.work.rounds, head, unit, _blank(printed),
                 _blank(measured.mean), _blank(measured.spread), len(measured.values), beyond,
                 measured.missing_because or ""]
            )  # fmt: skip
    return text.getvalue()


def _blank(value: float | None) -> str:
    return "" if value is None else repr(value)
