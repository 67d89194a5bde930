"""Tables and texts as commands print them and as reports hold them in Markdown."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence

from rich import box
from rich.console import Console
from rich.table import Table

__all__ = [
    "WIDTH",
    "console",
    "escaped",
    "format_bytes",
    "format_seconds",
    "markdown_row",
    "markdown_table",
    "plain_table",
    "printable",
]

WIDTH = 100
"""Characters in a line where the output goes to a file or a pipe, which have no width of their own."""

MARKUP = "\\|*_<>`[]"
"""Characters that Markdown would read as markup, links or pictures."""


def console() -> Console:
    """A console as wide as the terminal, or ``WIDTH`` wide where there is none."""
    found = Console()
    return found if found.is_terminal else Console(width=WIDTH)


def plain_table(*heading: str, whole: tuple[int, ...] = (0,)) -> Table:
    """A table for the terminal with a line under its heading only.

    Args:
        heading: names of the columns.
        whole: columns, counted from 0, whose texts are not broken into lines.
    """
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for index, name in enumerate(heading):
        table.add_column(name, overflow="fold", no_wrap=index in whole)
    return table


def markdown_table(heading: Sequence[str], rows: Iterable[Iterable[object]], *, right: Collection[int] = ()) -> str:
    """A table in GitHub-flavoured Markdown, every cell escaped; without a line break at its end.

    Args:
        heading: names of the columns.
        rows: cells of each row.
        right: columns, counted from 0, that stand at the right.
    """
    rule = ("---:" if index in right else "---" for index in range(len(heading)))
    lines = [markdown_row(map(escaped, heading)), markdown_row(rule)]
    return "\n".join((*lines, *(markdown_row(escaped(str(cell)) for cell in row) for row in rows)))


def markdown_row(cells: Iterable[str]) -> str:
    """One line of a Markdown table; the cells are Markdown already."""
    return f"| {' | '.join(cells)} |"


def escaped(text: str) -> str:
    """Text from outside as Markdown shows it: on one line, no markup, links or pictures of its own."""
    return "".join(f"\\{char}" if char in MARKUP else char for char in printable(text))


def printable(text: str) -> str:
    """Text from outside on one line and without control characters, which a terminal would obey."""
    return " ".join("".join(char if char.isprintable() else " " for char in text).split())


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
