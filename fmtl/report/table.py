"""A comparison as text: the same rows, columns and footnotes on the terminal and in Markdown.

Rows are the tasks of the clients and columns the runs, because scenarios have many of the former. Where the columns do
not fit the width, the table is cut into several that repeat the first three columns.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from rich import box
from rich.table import Table as RichTable
from rich.text import Text

from fmtl.report.comparison import Cell, Column, Comparison
from fmtl.report.run_reader import Measure, Pair
from fmtl.tables import WIDTH, escaped, markdown_row, printable

__all__ = ["Block", "Entry", "Footnotes", "blocks", "columns_that_fit", "to_markdown", "to_rich"]

CLIENT_WIDTH = 30
"""Longer client names are folded on the terminal."""

_HEADING = ("client", "task", "metric")
_BETWEEN = 3
_HUGE = 1e7
"""Values from here on are written with an exponent: no metric is that large, and the table stays readable."""


@dataclass(frozen=True)
class Entry:
    """The text of one cell, and whether it is the best of its row."""

    text: str
    best: bool = False


@dataclass(frozen=True)
class Block:
    """A table that fits the width.

    Attributes:
        heading: lines of each column's heading.
        rows: entries by row and column.
    """

    heading: tuple[tuple[str, ...], ...]
    rows: tuple[tuple[Entry, ...], ...]


@dataclass
class Footnotes:
    """Reasons for missing values, numbered in the order of their first appearance."""

    reasons: list[str] = field(default_factory=list)

    def mark(self, reason: str) -> str:
        """The mark of a reason, which is added where it is new."""
        if reason not in self.reasons:
            self.reasons.append(reason)
        return f"({self.reasons.index(reason) + 1})"

    def lines(self) -> Iterator[str]:
        """Every footnote with its mark."""
        for number, reason in enumerate(self.reasons, start=1):
            yield f"({number}) {printable(reason)}"


def blocks(
    comparison: Comparison, columns: Sequence[Column], rows: Sequence[Pair], notes: Footnotes, *, width: int = WIDTH
) -> tuple[Block, ...]:
    """Lay out columns of a comparison as one or several tables.

    Args:
        comparison: where the columns come from.
        columns: ``comparison.columns`` or ``comparison.seeds``.
        rows: the client-task pairs to show.
        notes: collects the reasons for missing values.
        width: characters each table may take; a table has at least one column beside the first three.

    Returns:
        The tables, all with the same rows; the last row is delta_m.
    """
    lead = _lead(comparison.measures, rows)
    body = [
        _row(comparison.measures[pair], [column.cells[pair] for column in columns], columns, notes) for pair in rows
    ]
    body.append(_delta_row([column.delta_m for column in columns], columns, notes))
    widths = [
        max(len(text) for text in (*column.label, *(entries[index].text for entries in body)))
        for index, column in enumerate(columns)
    ]
    lead_width = sum(
        min(max(len(text) for text in (heading, *(texts[index] for texts in lead))), CLIENT_WIDTH) + _BETWEEN
        for index, heading in enumerate(_HEADING)
    )
    return tuple(
        Block(
            heading=(*((text,) for text in _HEADING), *(columns[index].label for index in chosen)),
            rows=tuple(
                (*(Entry(text) for text in texts), *(entries[index] for index in chosen))
                for texts, entries in zip(lead, body, strict=True)
            ),
        )
        for chosen in columns_that_fit(widths, width - lead_width)
    )


def to_rich(block: Block) -> RichTable:
    """The table for the terminal; the best values are bold."""
    table = RichTable(box=box.SIMPLE_HEAD, pad_edge=False)
    for index, lines in enumerate(block.heading):
        first = index < len(_HEADING)
        table.add_column(
            Text("\n".join(printable(line) for line in lines)),
            justify="left" if first else "right",
            overflow="fold",
            max_width=CLIENT_WIDTH if first else None,
            no_wrap=not first,
        )
    for number, row in enumerate(block.rows):
        if number == len(block.rows) - 1:
            table.add_section()
        table.add_row(*(Text(entry.text, style="bold" if entry.best else "") for entry in row))
    return table


def to_markdown(block: Block) -> str:
    """The table as GitHub-flavoured Markdown; the best values are bold."""
    lines = [
        markdown_row("<br>".join(escaped(line) for line in lines) for lines in block.heading),
        markdown_row("---" if index < len(_HEADING) else "---:" for index in range(len(block.heading))),
    ]
    for row in block.rows:
        lines.append(markdown_row(f"**{escaped(one.text)}**" if one.best else escaped(one.text) for one in row))
    return "\n".join(lines) + "\n"


def _lead(measures: Mapping[Pair, Measure | None], rows: Sequence[Pair]) -> list[tuple[str, str, str]]:
    """The first three columns; a client is named on the first of its rows only."""
    lead: list[tuple[str, str, str]] = []
    previous = ""
    for client, task in rows:
        measure = measures[client, task]
        metric = "unknown" if measure is None else f"{printable(measure.metric)} {_arrow(measure.higher_is_better)}"
        lead.append(("" if client == previous else client, task, metric))
        previous = client
    return [*lead, ("all", "Δm", "% ↑")]


def _arrow(higher_is_better: bool) -> str:  # noqa: FBT001 - the direction is the value to show
    return "↑" if higher_is_better else "↓"


def _row(
    measure: Measure | None, cells: Sequence[Cell], columns: Sequence[Column], notes: Footnotes
) -> tuple[Entry, ...]:
    largest = max((abs(cell.value) for cell in cells if cell.value is not None), default=0.0)
    decimals = 4 if largest < 1 else 3 if largest < 10 else 2
    higher = None if measure is None else measure.higher_is_better
    return _entries(cells, columns, notes, decimals=decimals, higher=higher)


def _delta_row(cells: Sequence[Cell], columns: Sequence[Column], notes: Footnotes) -> tuple[Entry, ...]:
    return _entries(cells, columns, notes, decimals=2, higher=True, sign="+")


def _entries(
    cells: Sequence[Cell],
    columns: Sequence[Column],
    notes: Footnotes,
    *,
    decimals: int,
    higher: bool | None,
    sign: str = "-",
) -> tuple[Entry, ...]:
    """Texts of one row; best are all values that read the same as the best one, where at least two compete."""
    texts = [_text(cell, notes, decimals=decimals, sign=sign) for cell in cells]
    competing = [
        round(cell.value, decimals)
        for cell, column in zip(cells, columns, strict=True)
        if cell.value is not None and column.ranked
    ]
    best = None
    if higher is not None and len(competing) > 1:
        best = max(competing) if higher else min(competing)
    return tuple(
        Entry(text, best=column.ranked and cell.value is not None and round(cell.value, decimals) == best)
        for text, cell, column in zip(texts, cells, columns, strict=True)
    )


def _text(cell: Cell, notes: Footnotes, *, decimals: int, sign: str) -> str:
    if cell.value is None:
        return f"missing {notes.mark(cell.missing_because or 'no reason was recorded')}"
    if abs(cell.value) >= _HUGE:
        return f"{cell.value:.3e}"
    # Adding 0.0 turns a rounded -0.0 into 0.0, so that "no change" never carries a minus.
    value = round(cell.value, decimals) + 0.0
    text = f"{value:{sign if value else '-'}.{decimals}f}"
    return text if cell.spread is None else f"{text} ± {cell.spread:.{decimals}f}"


def columns_that_fit(widths: Sequence[int], available: int) -> list[list[int]]:
    """Cut a wide table: columns in order, as many in each part as fit, at least one.

    Args:
        widths: of the columns, in characters.
        available: characters that the columns of a part may take, with the space between them.
    """
    tables: list[list[int]] = []
    used = 0
    for index, width in enumerate(widths):
        taken = width + _BETWEEN
        if tables and used + taken <= available:
            tables[-1].append(index)
            used += taken
        else:
            tables.append([index])
            used = taken
    return tables
