"""``fmtl sweep``: strategies x settings x seeds over one scenario, resumable, one comparison at the end."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from fmtl.commands.ending import exit_status


def command(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="The sweep, a TOML file; see docs/sweeps.md.")],
    *,
    out: Annotated[Path | None, typer.Option(help="Folder of the sweep; runs/<name of FILE> if left out.")] = None,
    workers: Annotated[int, typer.Option(min=1, help="Runs at once; the CPU cores are shared out among them.")] = 1,
    gpus_per_client: Annotated[float, typer.Option(min=0.0, help="Share of a GPU for each run.")] = 0.0,
    ray_address: Annotated[
        str | None, typer.Option(help="A Ray cluster that is already running; a private one if left out.")
    ] = None,
    only: Annotated[
        list[str] | None,
        typer.Option(metavar="LABEL", help="Do only these runs ('*' matches any text); may be repeated."),
    ] = None,
    again: Annotated[
        list[str] | None,
        typer.Option(metavar="LABEL", help="Remove these runs and do them anew; may be repeated."),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Check the file, list the runs, start nothing.")] = False,
) -> None:
    """Run strategies x settings x seeds over one scenario, and compare them.

    Started again, it goes on where it was, also after a power cut. Exits with 0 when every run has completed, 1 when
    one failed, 2 for a wrong setting.
    """
    import shlex

    from rich.text import Text

    from fmtl.interruption import SignalWatch
    from fmtl.sweeps.file import read_sweep
    from fmtl.sweeps.perform import perform, planned, sweep_engine
    from fmtl.sweeps.summary import failures, to_table
    from fmtl.tables import console

    sweep = read_sweep(file, out)
    if dry_run:
        for job, state in planned(sweep, only or (), again or ()).items():
            typer.echo(f"{state:<10}  {job.name}")
        return
    typer.echo(f"Sweep {file} over scenario {sweep.scenario.name}, {sweep.rounds} rounds; folder: {sweep.out}")
    again_later = shlex.join(["fmtl", "sweep", str(file), "--out", str(sweep.out)])
    advice = f"The sweep was interrupted; what it had started has been stopped. Go on with it later: {again_later}"
    with exit_status(advice), SignalWatch() as signals, signals.listening():
        engine = sweep_engine(workers, gpus_per_client, ray_address)
        verdict = perform(sweep, engine, typer.echo, only=only or (), again=again or ())
    screen = console()
    screen.print(to_table(verdict.rows))
    for line in failures(verdict.rows):
        screen.print(Text(line))
    screen.print(Text(f"Report: {verdict.report}"), soft_wrap=True)
    if not verdict.completed:
        raise typer.Exit(1)
