"""``fmtl strategies``: which strategies there are."""

from __future__ import annotations

import ast
from pathlib import Path


def command() -> None:
    """List the strategies; `fmtl settings STRATEGY` lists the parameters of one."""
    import fmtl_strategies.methods
    from fmtl.tables import console, plain_table

    # Read, not imported: torch and Flower, which every strategy needs, take seconds.
    found = [fact for file in Path(fmtl_strategies.methods.__path__[0]).glob("*.py") for fact in _strategies_in(file)]
    console().print(plain_table(("strategy", "what it does"), sorted(found)))


def _strategies_in(file: Path) -> list[tuple[str, str]]:
    """Name and summary line of the strategies that a file of Python defines."""
    found = []
    for node in ast.parse(file.read_text(encoding="utf-8")).body:
        texts = {
            target.id: line.value.value
            for line in getattr(node, "body", ())
            if isinstance(line, ast.Assign | ast.AnnAssign) and isinstance(line.value, ast.Constant)
            for target in (line.targets if isinstance(line, ast.Assign) else [line.target])
            if isinstance(target, ast.Name)
        }
        if {"name", "summary_line"} <= texts.keys():
            found.append((str(texts["name"]), str(texts["summary_line"])))
    return found
