"""``fmtl reproduce``: run all methods of a published table, and put what is measured beside what was printed."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from fmtl.reproduce.measured import Report
    from fmtl.reproduce.plan import Reproduction


def command(
    table: Annotated[
        str | None, typer.Argument(metavar="[TABLE]", help="A table's name or .toml file; all names if left out.")
    ] = None,
    *,
    list_only: Annotated[bool, typer.Option("--list", help="List the tables.")] = False,
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
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")] = "auto",
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Count steps, images and bytes, measure a step; start nothing.")
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
    from fmtl.reproduce.perform import choose_device
    from fmtl.reproduce.plan import DEFAULT_SEEDS, default_folder, methods_of, read_seeds, reproduction, seeds_on_disk
    from fmtl.reproduce.table import load_table

    if table is None or list_only:
        _list()
        return
    _check_dry_run(dry_run=dry_run, report=report, again=again)
    if data is not None:
        if not data.expanduser().is_dir():
            raise SettingError(
                f"--data {data}: there is no such folder; give the one that holds the data sets' folders."
            )
        os.environ["FMTL_DATA_ROOT"] = str(data.expanduser().absolute())
    found = load_table(table)
    count = rounds or found.rounds
    folder = out or default_folder(found, count)
    chosen = read_seeds(seeds) if seeds else (report and seeds_on_disk(found, folder)) or DEFAULT_SEEDS
    work = reproduction(found, folder, chosen, count)
    wanted = methods_of(found, methods)
    anew = methods_of(found, again) if again else ()
    choose_device(work, device)
    if dry_run:
        _dry_run(work, wanted)
    elif report:
        _show(measure(work, {}))
    else:
        _run(work, wanted, anew, workers)


def _list() -> None:
    from rich.text import Text

    from fmtl.reproduce.table import list_tables, load_table
    from fmtl.tables import console, plain_table

    shown = plain_table("table", "methods", "rounds", "paper, number and what it is")
    for name in list_tables():
        one = load_table(name)
        text = f"{one.paper.partition(':')[0].partition(',')[0]}, {one.number}: {one.title}"
        shown.add_row(*(Text(cell) for cell in (name, str(len(one.rows)), str(one.rounds), text)))
    console().print(shown)


def _check_dry_run(*, dry_run: bool, report: bool, again: str | None) -> None:
    """Refuse options that ask for different things, before one of them is left out without a word."""
    from fmtl.errors import SettingError

    if dry_run and report:
        raise SettingError("--dry-run says what is to come and --report what has been measured; give one of them.")
    if again and (dry_run or report):
        option = "--dry-run" if dry_run else "--report"
        raise SettingError(
            f"--again {again} removes runs, but {option} starts and removes nothing; leave one of them out."
        )


def _dry_run(work: Reproduction, wanted: tuple[str, ...]) -> None:
    from fmtl.reproduce.dry_run import dry_run
    from fmtl.tables import console

    dry_run(work, wanted, console())


def _show(report: Report) -> None:
    from fmtl.reproduce.report import print_report, write_report
    from fmtl.tables import console

    print_report(report, console())
    if report.work.out.is_dir():
        typer.echo(f"Report: {write_report(report)}")


def _run(work: Reproduction, wanted: tuple[str, ...], anew: tuple[str, ...], workers: int) -> None:
    from fmtl.errors import RunError, RunInterruptedError
    from fmtl.interruption import SignalWatch
    from fmtl.reproduce.perform import check, perform_all
    from fmtl_strategies.contract.files import InUseError

    check(work)
    seeds = ", ".join(map(str, work.seeds))
    typer.echo(f"{work.table.name}: {len(wanted)} methods, seeds {seeds}, {work.rounds} rounds; folder: {work.out}")
    if work.shortened:
        typer.echo(work.shortened[0].upper() + work.shortened[1:] + ".")
    try:
        with SignalWatch() as signals, signals.listening():
            report, completed = perform_all(work, wanted, anew, workers, typer.echo)
    except RunInterruptedError as interruption:
        typer.echo(
            "Interrupted; every process that had been started has been stopped. Give the same command again to go on.",
            err=True,
        )
        raise typer.Exit(128 + interruption.signal_number) from interruption
    except (RunError, InUseError) as error:
        typer.echo(f"Error: {error}", err=True)
        raise typer.Exit(1) from error
    _show(report)
    if not completed:
        raise typer.Exit(1)
