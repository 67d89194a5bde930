"""``fmtl reproduce``: run all methods of a published table, and put what is measured beside what was printed."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fmtl.commands.ending import exit_status

if TYPE_CHECKING:
    from fmtl.reproduce.measured import Report
    from fmtl.reproduce.plan import Reproduction


def command(
    table: Annotated[
        str | None, typer.Argument(metavar="[TABLE]", help="A table's name or .toml file; all names if left out.")
    ] = None,
    *,
    data: Annotated[Path | None, typer.Option(help="Folder that holds the data sets; sets FMTL_DATA_ROOT.")] = None,
    seeds: Annotated[
        str | None, typer.Option(metavar="0,1,2", help="Seeds of every method; 0,1,2 if left out: papers give none.")
    ] = None,
    rounds: Annotated[int | None, typer.Option(min=1, help="Rounds, if not those of the paper.")] = None,
    methods: Annotated[
        str | None, typer.Option(metavar="A,B", help="Run only these methods; see the table's list.")
    ] = None,
    again: Annotated[
        str | None, typer.Option(metavar="A,B", help="Remove the runs of these methods and do them anew.")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Folder; runs/reproduce/<table> if left out.")] = None,
    workers: Annotated[int, typer.Option(min=1, help="Runs at work at once.")] = 1,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Count rounds, images and bytes, measure a step; start nothing.")
    ] = False,
    report: Annotated[
        bool, typer.Option("--report", help="Print what has been measured so far; start nothing.")
    ] = False,
) -> None:
    """Run all methods of a published table, and print paper and measured values side by side.

    Started again, it goes on where it was. Exits with 0 when every run has completed, 1 when one failed, 2 for a wrong
    setting or missing data.
    """
    from fmtl.errors import SettingError
    from fmtl.reproduce.measured import measure
    from fmtl.reproduce.plan import DEFAULT_SEEDS, default_folder, methods_of, read_seeds, reproduction, seeds_on_disk
    from fmtl.reproduce.published_table import load_table
    from fmtl.tables import console

    if table is None:
        _list()
        return
    asked = {"--dry-run": dry_run, "--report": report, "--again": again is not None}
    if sum(asked.values()) > 1:
        named = " and ".join(option for option, given in asked.items() if given)
        raise SettingError(f"{named} ask for different things: one counts, one reads, one removes runs; give one.")
    if data is not None:
        if not data.expanduser().is_dir():
            raise SettingError(f"--data {data}: there is no such folder; give the one that holds all data sets.")
        os.environ["FMTL_DATA_ROOT"] = str(data.expanduser().absolute())
    found = load_table(table)
    count = rounds or found.rounds
    folder = out or default_folder(found, count)
    chosen = read_seeds(seeds) if seeds else (report and seeds_on_disk(found, folder)) or DEFAULT_SEEDS
    work = reproduction(found, folder, chosen, count)
    wanted = methods_of(found, methods)
    if dry_run:
        from fmtl.reproduce.dry_run import dry_run as print_dry_run

        print_dry_run(work, wanted, console())
    elif report:
        _show(measure(work, {}))
    else:
        _run(work, wanted, methods_of(found, again) if again else (), workers)


def _list() -> None:
    from fmtl.reproduce.published_table import list_tables, load_table
    from fmtl.tables import console, plain_table

    rows = []
    for name in list_tables():
        one = load_table(name)
        text = f"{one.paper.partition(':')[0].partition(',')[0]}, {one.number}: {one.title}"
        rows.append((name, str(len(one.rows)), str(one.rounds), text))
    console().print(plain_table(("table", "methods", "rounds", "paper, number and what it is"), rows))


def _show(report: Report) -> None:
    from fmtl.reproduce.report import print_report, write_report
    from fmtl.tables import console

    print_report(report, console())
    if report.work.out.is_dir():
        typer.echo(f"Report: {write_report(report)}")


def _run(work: Reproduction, wanted: tuple[str, ...], anew: tuple[str, ...], workers: int) -> None:
    from fmtl.interruption import SignalWatch
    from fmtl.reproduce.perform import check, perform_all

    check(work)
    seeds = ", ".join(map(str, work.seeds))
    typer.echo(f"{work.table.name}: {len(wanted)} methods, seeds {seeds}, {work.rounds} rounds; folder: {work.out}")
    if work.shortened:
        typer.echo(f"{work.shortened}.")
    advice = "Interrupted; what had been started has been stopped. Give the same command again to go on."
    with exit_status(advice), SignalWatch() as signals, signals.listening():
        report, completed = perform_all(work, wanted, anew, workers, typer.echo)
    _show(report)
    if not completed:
        raise typer.Exit(1)
