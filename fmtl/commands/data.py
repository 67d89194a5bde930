"""``fmtl data``: where data sets come from, how they must lie on disk, and whether they do."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

if TYPE_CHECKING:
    from fmtl.data.report import DataReport

FINDINGS = 1

command = typer.Typer(no_args_is_help=True, help="Say where data sets come from, and check one on disk.")


@command.command("list")
def list_data_sets() -> None:
    """List the data sets, with their tasks."""
    from fmtl_datasets.catalogue import DATA_SETS
    from rich.text import Text

    from fmtl.data.pages import read_pages
    from fmtl.tables import console, plain_table

    pages = read_pages()
    rows = ((name, pages[name].title, ", ".join(known.tasks)) for name, known in DATA_SETS.items())
    screen = console()
    screen.print(plain_table(("data set", "what", "tasks"), rows))
    screen.print(Text("`fmtl data help NAME` says where it comes from and how it must lie on disk."))


@command.command("help")
def help_data_set(
    name: Annotated[
        str | None, typer.Argument(metavar="[NAME]", help="A data set; a list of all if left out.", show_default=False)
    ] = None,
) -> None:
    """Say where a data set comes from, its terms, its layout, its counts and how a scenario names it."""
    from rich.markdown import Markdown

    from fmtl.data.pages import read_pages
    from fmtl.tables import console

    if name is None:
        list_data_sets()
        return
    pages = read_pages()
    if name not in pages:
        raise ValueError(f"no data set is called {name!r}; known: {', '.join(pages)}.")
    screen = console()
    if screen.is_terminal:
        screen.print(Markdown(pages[name].text))
    else:
        typer.echo(pages[name].text, nl=False)


@command.command("check")
def check_data_set(
    name: Annotated[str, typer.Argument(metavar="NAME", help="A data set; see `fmtl data list`.", show_default=False)],
    path: Annotated[Path, typer.Argument(metavar="PATH", help="Its folder.", show_default=False)],
    *,
    tasks: Annotated[str, typer.Option(help="Tasks to check, with commas between; all if left out.")] = "",
    lists: Annotated[str, typer.Option(help="Image lists to check, with commas between; all if left out.")] = "",
    sample: Annotated[int | None, typer.Option(min=1, help="Check only so many images of each list.")] = None,
    workers: Annotated[
        int, typer.Option(min=0, help="Processes that read images; 0 for one for each core, at most 8.")
    ] = 0,
    out: Annotated[
        Path | None, typer.Option(help="Folder of the report; data-check-NAME-<time> here if left out.")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the sample and of the contact sheet's images.")] = 0,
    json: Annotated[bool, typer.Option("--json", help="Print report.json instead of tables.")] = False,
    stuff_labels: Annotated[
        Literal["panoptic", "stuff"], typer.Option(help="coco only: which annotation the stuff task reads.")
    ] = "panoptic",
) -> None:
    """Check a data set on disk, and draw a dozen of its images with their labels.

    Exits with 0 when nothing stands in the way of training, 1 when something does, 2 when the folder is not this data
    set. Nothing is written into the data set.
    """
    from fmtl_datasets.shared.source import SourceSettings
    from rich.console import Console
    from rich.progress import MofNCompleteColumn, Progress, TimeRemainingColumn

    from fmtl.data.check import CheckOptions, check_source
    from fmtl.data.place import open_data_set, report_folder
    from fmtl.data.sheet import draw_sheet

    root = path.expanduser()
    source = open_data_set(name, SourceSettings(root, stuff_labels=stuff_labels))
    folder = report_folder(out, name, root)
    errors = Console(stderr=True)
    with Progress(
        *Progress.get_default_columns()[:2],
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=errors,
        disable=not errors.is_terminal,
        transient=True,
    ) as bar:
        line = bar.add_task("images")
        options = CheckOptions(
            dataset=name,
            tasks=_names(tasks),
            lists=_names(lists),
            sample=sample,
            workers=workers or min(8, os.cpu_count() or 1),
            seed=seed,
            progress=lambda done, total: bar.update(line, completed=done, total=total),
        )
        report = check_source(source, options)
    written = report.write(folder, draw_sheet(source, report, seed))
    show(report, written, as_json=json)
    raise typer.Exit(0 if report.trainable else FINDINGS)


def show(report: DataReport, written: list[Path], *, as_json: bool) -> None:
    """Print a report: tables and findings, or ``report.json``."""
    if as_json:
        typer.echo(written[0].read_text(encoding="utf-8"), nl=False)
        return
    from rich.text import Text

    from fmtl.data.report import HEADING
    from fmtl.tables import console, plain_table

    screen = console()
    screen.print(Text(report.summary))
    screen.print(plain_table(HEADING, report.rows(), whole=(0, 1)))
    for line in report.lines():
        screen.print(Text(line), soft_wrap=True)
    screen.print(Text(report.verdict, style="green" if report.trainable else "red"), soft_wrap=True)
    screen.print(Text(f"Written in {report.seconds:.0f} s: {', '.join(map(str, written))}"), soft_wrap=True)


def _names(text: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split(",") if part.strip())
