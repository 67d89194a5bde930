"""``fmtl strategies``: which strategies there are."""

from __future__ import annotations


def command() -> None:
    """List the strategies; `fmtl settings STRATEGY` lists the parameters of one."""
    from rich.text import Text

    from fmtl.tables import console, plain_table
    from fmtl_strategies.registry import strategy_class, strategy_names

    table = plain_table("strategy", "what it does")
    for name in strategy_names():
        table.add_row(name, Text(strategy_class(name).summary_line))
    console().print(table)
