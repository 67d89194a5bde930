"""Tables and texts as commands print them and as reports hold them in Markdown."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

WIDTH = 100
"""Characters in a line where the output goes to a file or a pipe, which have no width of their own."""

_LONGEST_NAME = 30
"""Longer names at the left of a wide table are folded on the terminal."""

_HUGE = 1e7
"""Values from here on are written with an exponent: no metric is that large, and tables stay readable."""

_BETWEEN = 3
"""Characters between two columns on the terminal."""

MARKUP = "\\|*_<>`[]"
"""Characters that Markdown would read as markup, links or pictures."""


def console() -> Console:
    """A console as wide as the terminal, or ``WIDTH`` wide where there is none."""
    found = Console()
    return found if found.is_terminal else Console(width=WIDTH)


def plain_table(heading: Sequence[str], rows: Iterable[Iterable[str]], *, whole: Collection[int] = (0,)) -> Table:
    """A table for the terminal with a line under its heading only.

    Args:
        heading: names of the columns.
        rows: cells of each row; nothing in them is read as markup.
        whole: columns, counted from 0, whose texts are not broken into lines.
    """
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for index, name in enumerate(heading):
        table.add_column(name, overflow="fold", no_wrap=index in whole)
    for row in rows:
        table.add_row(*map(Text, row))
    return table


def markdown_table(heading: Sequence[str], rows: Iterable[Iterable[object]], *, right: Collection[int] = ()) -> str:
    """A table in GitHub-flavoured Markdown, every cell escaped; without a line break at its end.

    Args:
        heading: names of the columns.
        rows: cells of each row.
        right: columns, counted from 0, that stand at the right.
    """
    rule = ("---:" if index in right else "---" for index in range(len(heading)))
    lines = [_markdown_row(map(escaped, heading)), _markdown_row(rule)]
    return "\n".join((*lines, *(_markdown_row(escaped(str(cell)) for cell in row) for row in rows)))


@dataclass(frozen=True)
class WideTable:
    """A table that is cut into several where it does not fit the width.

    Attributes:
        heading: names of the columns, which may have several lines.
        rows: the cells; bold is kept in Markdown.
        lead: how many of the first columns say what a row is; they stand at the left of every part.
        total: whether a line stands above the last row.
    """

    heading: Sequence[str]
    rows: Sequence[Sequence[Text]]
    lead: int
    total: bool = False

    def parts(self, width: int) -> Iterator[WideTable]:
        """Cut the table: columns in their order, as many in each part as fit into so many characters, at least one."""
        columns = zip(self.heading, *self.rows, strict=True)
        widths = [max(len(line) for cell in column for line in str(cell).split("\n")) + _BETWEEN for column in columns]
        names = list(range(self.lead))
        available = width - sum(min(widths[index], _LONGEST_NAME + _BETWEEN) for index in names)
        parts: list[list[int]] = []
        for index in range(self.lead, len(widths)):
            if parts and sum(widths[other] for other in (*parts[-1], index)) <= available:
                parts[-1].append(index)
            else:
                parts.append([index])
        for part in parts:
            chosen = names + part
            rows = [[row[index] for index in chosen] for row in self.rows]
            yield replace(self, heading=[self.heading[index] for index in chosen], rows=rows)

    def printed(self) -> Table:
        """The table for the terminal."""
        table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
        for index, name in enumerate(self.heading):
            lines = Text("\n".join(map(printable, name.split("\n"))))
            if index < self.lead:
                table.add_column(lines, overflow="fold", max_width=_LONGEST_NAME)
            else:
                table.add_column(lines, justify="right", no_wrap=True)
        for number, row in enumerate(self.rows, start=1):
            if self.total and number == len(self.rows):
                table.add_section()
            table.add_row(*row)
        return table

    def markdown(self) -> str:
        """The table in GitHub-flavoured Markdown."""
        lines = [
            _markdown_row("<br>".join(map(escaped, name.split("\n"))) for name in self.heading),
            _markdown_row("---" if index < self.lead else "---:" for index in range(len(self.heading))),
        ]
        for row in self.rows:
            texts = [(escaped(cell.plain), cell.style == "bold") for cell in row]
            lines.append(_markdown_row(f"**{text}**" if is_bold else text for text, is_bold in texts))
        return "\n".join(lines) + "\n"


def _markdown_row(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"


def escaped(text: str) -> str:
    """Text from outside as Markdown shows it: on one line, no markup, links or pictures of its own."""
    return "".join(f"\\{char}" if char in MARKUP else char for char in printable(text))


def printable(text: str) -> str:
    """Text from outside on one line and without control characters, which a terminal would obey."""
    return " ".join("".join(char if char.isprintable() else " " for char in text).split())


def format_number(value: float | None, decimals: int, *, signed: bool = False) -> str:
    """A number with so many decimals; a dash where there is none."""
    if value is None:
        return "-"
    sign = "+" if signed else "-"
    if abs(value) >= _HUGE:
        return f"{value:{sign}.3e}"
    # Adding 0.0 turns a rounded -0.0 into 0.0, so that "no change" never carries a sign.
    rounded = round(value, decimals) + 0.0
    return f"{rounded:{sign if rounded else '-'}.{decimals}f}"


def format_bytes(count: float) -> str:
    """A number of bytes as people read it, in decimal units."""
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} TB"


def format_seconds(seconds: float) -> str:
    """A duration as people read it."""
    if seconds < 120:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes < 120 else f"{minutes // 60} h {minutes % 60} min"
