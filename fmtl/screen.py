"""The console that commands print to."""

from __future__ import annotations

from rich import box
from rich.console import Console
from rich.table import Table

__all__ = ["WIDTH", "console", "plain_table"]

WIDTH = 100
"""Characters in a line where the output goes to a file or a pipe, which have no width of their own."""


def console() -> Console:
    """A console as wide as the terminal, or ``WIDTH`` wide where there is none."""
    found = Console()
    return found if found.is_terminal else Console(width=WIDTH)


def plain_table(*heading: str, whole: tuple[int, ...] = (0,)) -> Table:
    """A table with a line under its heading only.

    Args:
        heading: names of the columns.
        whole: columns, counted from 0, whose texts are not broken into lines.
    """
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for index, name in enumerate(heading):
        table.add_column(name, overflow="fold", no_wrap=index in whole)
    return table
