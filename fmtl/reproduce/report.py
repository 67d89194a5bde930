"""Paper and measured values side by side: on the terminal, as Markdown and as CSV, and a picture of the changes."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from io import StringIO
from pathlib import Path

from rich.console import Console
from rich.text import Text

from fmtl.report.changes import Changes, draw_changes
from fmtl.report.comparison import Cell
from fmtl.report.figure import write_figure
from fmtl.report.table import cell_text
from fmtl.reproduce.measured import MeasuredRow, Report, differs
from fmtl.reproduce.plan import Reproduction
from fmtl.reproduce.published_table import Column, Table
from fmtl.tables import WideTable, escaped, format_number, markdown_table, printable
from fmtl_strategies.contract.files import write_text
from fmtl_strategies.registry import strategy_class

MARK = "*"
DELTA = "Δm %"
_CSV_HEADING = "method,name,strategy,rounds,column,unit,paper,measured,sd,seeds,beyond_spread,missing"


def lines_of(report: Report) -> Iterator[tuple[str, str, list[str]]]:
    """Two lines for each row: its name, what the line is, and its cells with Δm last."""
    table = report.work.table
    for one in report.rows:
        printed = [_printed(table, column, one) for column in table.columns]
        yield one.row.name, "paper", [*printed, format_number(one.row.delta_m, 2, signed=True)]
        cells = [_cell(table, column, one) for column in table.columns]
        seeds = str(one.seeds) if one.seeds == len(one.runs) else f"{one.seeds} of {len(one.runs)}"
        yield "", f"measured, n = {seeds}", [*cells, _text(one.delta_m, one.row.delta_m, 2, signed=True)]


def _decimals(table: Table, column: Column) -> int:
    return 2 if table.cells == "changes" else column.decimals


def _printed(table: Table, column: Column, one: MeasuredRow) -> str:
    value = one.row.values.get(column.head)
    return format_number(value, _decimals(table, column), signed=table.cells == "changes")


def _cell(table: Table, column: Column, one: MeasuredRow) -> str:
    if column.different:
        return "not compared"
    printed, decimals = one.row.values.get(column.head), _decimals(table, column)
    return _text(one.cells[column.head], printed, decimals, signed=table.cells == "changes")


def _text(cell: Cell, printed: float | None, decimals: int, *, signed: bool) -> str:
    """Mean, spread, and the mark of a mean that is further from the printed value than the spread."""
    return cell_text(cell, decimals, signed=signed) + (f" {MARK}" if differs(cell, printed, decimals) else "")


def notes_of(report: Report) -> list[str]:
    """What the reader has to know: first what is missing and why, then what is ours, then what is not comparable."""
    table = report.work.table
    notes = _waiting(report)
    for one in report.rows:
        notes += _states(one)
    most = max(one.seeds for one in report.rows)
    if most == 1:
        notes.append("Measured: one seed, so nothing is known of its spread, and no difference is marked.")
    elif most:
        notes.append(
            f"Measured: mean ± sample standard deviation over n seeds; {MARK} marks a mean that is further from the "
            "printed value than that spread and the rounding."
        )
    notes.append(
        f"Δm: mean relative change over the columns against {table.row(table.reference).name}, "
        "measured against the run of the same seed; positive is better."
    )
    for c in table.columns:
        if c.different:
            notes.append(f"{c.head} is not compared and counts as unchanged: {c.different}.")
        if c.scale != 1.0:
            notes.append(f"{c.head}: printed in {c.unit}; our {c.metric} is multiplied by {c.scale:g}.")
    notes += [f"{row.name}: {row.note}" for row in table.rows if row.note]
    return [*notes, *(f"Not given by the paper and ours: {text}." for text in _ours(table)), *table.caveats]


def _states(one: MeasuredRow) -> Iterator[str]:
    """A sentence for each run of a row that is not done or lacked a client, and for each missing cell."""
    for run in one.runs:
        if run.state != "to do" or run.reason:
            yield from (f"{one.row.name}, seed {run.job.seed}: {fault}." for fault in run.faults)
    reasons = [cell.missing_because for cell in (*one.cells.values(), one.delta_m) if one.seeds]
    yield from (f"{one.row.name}: {reason}." for reason in dict.fromkeys(reasons) if reason)


def _waiting(report: Report) -> list[str]:
    """The runs that have not begun."""
    waiting = []
    for one in report.rows:
        seeds = [str(run.job.seed) for run in one.runs if run.state == "to do" and not run.reason]
        if seeds:
            waiting.append(one.row.name if len(seeds) == len(one.runs) else f"{one.row.name} (seed {', '.join(seeds)})")
    return [f"Not run yet: {', '.join(waiting)}."] if waiting else []


def _ours(table: Table) -> Iterator[str]:
    yield from (f"{key} = {table.settings[key]} ({why})" for key, why in table.ours.items())
    for row in table.rows:
        defaults = strategy_class(row.strategy).parameters_model().model_dump(by_alias=True) if row.ours else {}
        values = {**defaults, **row.settings, **row.parameters}
        yield from (f"{row.name} {key} = {values[key]} ({why})" for key, why in row.ours.items())


def print_heading(work: Reproduction, screen: Console) -> None:
    """Print which table this is, and that shorter runs are not comparable."""
    table = work.table
    screen.print(Text(f"{table.name}: {table.number} of {table.paper}. {table.title}."))
    if work.shortened:
        screen.print(Text(f"{work.shortened}.", style="bold"))


def print_report(report: Report, screen: Console) -> None:
    """Print the table, cut into blocks of columns that fit the screen, and the notes."""
    table = report.work.table
    print_heading(report.work, screen)
    lines = list(lines_of(report))
    columns = [_aligned(cells) for cells in zip(*(cells for _, _, cells in lines), strict=True)]
    rows = [
        [Text(name), Text(what), *(Text(column[number]) for column in columns)]
        for number, (name, what, _) in enumerate(lines)
    ]
    for part in WideTable(["method", "", *_heads(table)], rows, lead=2).parts(screen.width):
        screen.print(part.printed())
    for note in notes_of(report):
        screen.print(Text(f"- {printable(note)}"))


def _heads(table: Table) -> list[str]:
    return [*(column.head for column in table.columns), DELTA]


def _aligned(cells: Sequence[str]) -> list[str]:
    """Cells of a column as narrow as they can be, with room for the mark in all where one has it."""
    narrow = [cell.replace(" ± ", "±").replace(f" {MARK}", MARK) for cell in cells]
    marked = any(cell.endswith(MARK) for cell in narrow)
    return [cell if not marked or cell.endswith(MARK) else f"{cell} " for cell in narrow]


def write_report(report: Report) -> Path:
    """Write ``table.md``, ``table.csv`` and ``delta_m.png`` to the folder; returns the first."""
    work = report.work
    title = f"{work.table.name}{f' ({work.shortened})' if work.shortened else ''}"
    figure = draw_changes(
        [Changes(one.row.name, one.delta_m.values, one.row.delta_m) for one in report.rows], title=title
    )
    chart = write_figure(figure, work.out / "delta_m.png") if figure else None
    write_text(work.out / "table.csv", _csv(report))
    write_text(work.out / "table.md", _markdown(report, chart))
    return work.out / "table.md"


def _markdown(report: Report, chart: Path | None) -> str:
    table = report.work.table
    heads = _heads(table)
    lines = [f"# {table.name}: {table.title}", "", f"{table.number} of {table.paper}.", ""]
    if report.work.shortened:
        lines += [f"**{report.work.shortened}.**", ""]
    rows = ((name, what, *cells) for name, what, cells in lines_of(report))
    lines.append(markdown_table(("method", "", *heads), rows, right=range(2, len(heads) + 2)))
    if chart:
        lines += ["", f"![Printed and measured change of every method]({chart.name})"]
    lines += ["", *(f"- {escaped(note)}" for note in notes_of(report)), ""]
    return "\n".join(lines)


def _csv(report: Report) -> str:
    """One line for each row and column, in full precision."""
    table = report.work.table
    changes = table.cells == "changes"
    text = StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(_CSV_HEADING.split(","))
    for one in report.rows:
        lead = (one.row.method, one.row.name, one.row.strategy, report.work.rounds)
        for c in table.columns:
            cell = Cell(missing_because=f"not compared: {c.different}") if c.different else one.cells[c.head]
            unit, decimals = ("percent change", 2) if changes else (c.unit, c.decimals)
            writer.writerow((*lead, c.head, unit, *_facts(cell, one.row.values.get(c.head), decimals)))
        writer.writerow((*lead, "delta_m", "percent", *_facts(one.delta_m, one.row.delta_m, 2)))
    return text.getvalue()


def _facts(cell: Cell, printed: float | None, decimals: int) -> tuple[object, ...]:
    """The cells of the CSV file from `paper` on; what is not known is empty."""
    beyond = str(differs(cell, printed, decimals)).lower() if cell.spread is not None else None
    return printed, cell.value, cell.spread, len(cell.values), beyond, cell.missing_because
