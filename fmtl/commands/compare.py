"""``fmtl compare``: runs side by side, on screen, as Markdown and as curves."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def command(
    runs: Annotated[list[Path], typer.Argument(metavar="RUN...", help="Run folders to compare.")],
    output: Annotated[
        Path | None,
        typer.Option(help="Folder for comparison.md and the curves; 'comparison' beside the first run if left out."),
    ] = None,
    local: Annotated[
        Path | None,
        typer.Option(help="Measure every run against this one; if left out, against the local run of the same seed."),
    ] = None,
    columns: Annotated[
        list[str] | None,
        typer.Option(help="Show only this client, task or client/task ('*' matches any text); may be repeated."),
    ] = None,
) -> None:
    """Compare runs: a table by client and task with the mean change against local training, and curves."""
    from rich.text import Text

    from fmtl.report.comparison import compare_runs
    from fmtl.report.markdown import delta_m_note, write_report
    from fmtl.report.run_reader import read_run
    from fmtl.report.selection import select
    from fmtl.report.table import Footnotes, comparison_table
    from fmtl.tables import console

    comparison = compare_runs([read_run(run) for run in runs], None if local is None else read_run(local))
    names = {(client, task): (client, task, f"{client}/{task}") for client, task in comparison.measures}
    rows = select(names, columns, "--columns") if columns else tuple(names)

    screen = console()
    notes = Footnotes()
    parts = [("Single runs", comparison.columns)]
    if comparison.seeds:
        parts.insert(0, ("Mean ± sample standard deviation over seeds", comparison.seeds))
    screen.print(Text(f"Scenario {comparison.scenario}", style="bold"))
    for title, shown in parts:
        if comparison.seeds:
            screen.print(Text(title, style="bold"))
        for part in comparison_table(comparison, shown, rows, notes).parts(screen.width):
            screen.print(part.printed())
    for line in (delta_m_note(comparison, rows), *notes.lines(), *comparison.notes):
        screen.print(Text(line))

    report = write_report(comparison, rows, output or runs[0].resolve().parent / "comparison")
    screen.print(Text(f"Report: {report}, with curves"), soft_wrap=True)
