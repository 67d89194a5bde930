"""A comparison as text: the same rows, columns and footnotes on the terminal and in Markdown.

Rows are the tasks of the clients and columns the runs, because scenarios have many of the former.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from rich.text import Text

from fmtl.report.comparison import Cell, Column, Comparison
from fmtl.report.run_reader import Measure, Pair
from fmtl.tables import WideTable, format_number, printable


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


def comparison_table(
    comparison: Comparison, columns: Sequence[Column], rows: Sequence[Pair], notes: Footnotes
) -> WideTable:
    """Lay out columns of a comparison; a client is named on the first of its rows only, and the last row is delta_m.

    Args:
        comparison: where the columns come from.
        columns: ``comparison.columns`` or ``comparison.seeds``.
        rows: the client-task pairs to show.
        notes: collects the reasons for missing values.
    """
    body = []
    previous = ""
    for client, task in rows:
        measure = comparison.measures[client, task]
        cells = [column.cells[client, task] for column in columns]
        largest = max((abs(cell.value) for cell in cells if cell.value is not None), default=0.0)
        decimals = 4 if largest < 1 else 3 if largest < 10 else 2
        higher = None if measure is None else measure.higher_is_better
        names = ("" if client == previous else client, task, _metric(measure))
        body.append([*map(Text, names), *_texts(cells, columns, notes, decimals=decimals, higher=higher)])
        previous = client
    changes = _texts([column.delta_m for column in columns], columns, notes, decimals=2, higher=True, signed=True)
    body.append([*map(Text, ("all", "Δm", "% ↑")), *changes])
    heading = ("client", "task", "metric", *("\n".join(column.label) for column in columns))
    return WideTable(heading, body, lead=3, total=True)


def _metric(measure: Measure | None) -> str:
    if measure is None:
        return "unknown"
    return f"{printable(measure.metric)} {'↑' if measure.higher_is_better else '↓'}"


def _texts(
    cells: Sequence[Cell],
    columns: Sequence[Column],
    notes: Footnotes,
    *,
    decimals: int,
    higher: bool | None,
    signed: bool = False,
) -> list[Text]:
    """Texts of one row; bold are all values that read the same as the best one, where at least two compete."""
    values = [None if cell.value is None else round(cell.value, decimals) for cell in cells]
    ranked = [value if column.ranked else None for value, column in zip(values, columns, strict=True)]
    competing = [value for value in ranked if value is not None]
    best = None
    if higher is not None and len(competing) > 1:
        best = max(competing) if higher else min(competing)
    texts = [_text(cell, notes, decimals=decimals, signed=signed) for cell in cells]
    return [
        Text(text, "bold" if value is not None and value == best else "")
        for text, value in zip(texts, ranked, strict=True)
    ]


def cell_text(cell: Cell, decimals: int, *, signed: bool = False) -> str:
    """Mean and spread; a dash where there is no value."""
    text = format_number(cell.value, decimals, signed=signed)
    return text if cell.spread is None else f"{text} ± {format_number(cell.spread, decimals)}"


def _text(cell: Cell, notes: Footnotes, *, decimals: int, signed: bool) -> str:
    if cell.value is None:
        return f"missing {notes.mark(cell.missing_because or 'no reason was recorded')}"
    return cell_text(cell, decimals, signed=signed)
