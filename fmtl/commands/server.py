"""``fmtl server``: the coordinator of a federation of real machines."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fmtl.commands.ending import exit_status

if TYPE_CHECKING:
    from fmtl.network.coordinator_folder import CoordinatorFolder
    from fmtl.settings import RunConfig

command = typer.Typer(no_args_is_help=True, help="Coordinate a federation of real machines.")

Folder = Annotated[Path, typer.Argument(metavar="FOLDER", help="The coordinator's folder.", show_default=False)]


@command.command("start")
def start(folder: Folder) -> None:
    """Listen for sites, until Ctrl-C or SIGTERM; runs are started with `fmtl server run` meanwhile."""
    from fmtl.network.coordinator import serve

    with exit_status("The coordinator has ended; everything it had started has been stopped."):
        serve(folder, typer.echo)


@command.command("allow")
def allow(
    folder: Folder,
    key: Annotated[Path, typer.Argument(metavar="NAME.pub", help="The site's public key.", show_default=False)],
) -> None:
    """Let a site take part; its name is that of the key file. A running coordinator notices within seconds."""
    from fmtl.network.coordinator_folder import allow_site

    name, fingerprint = allow_site(folder, key)
    typer.echo(f"Site {name} may take part. Its fingerprint, to compare by telephone: {fingerprint}")


@command.command("revoke")
def revoke(
    folder: Folder, name: Annotated[str, typer.Argument(metavar="NAME", help="The site.", show_default=False)]
) -> None:
    """Revoke a site. A running coordinator does so within seconds; it needs a new key to rejoin."""
    from fmtl.network.coordinator_folder import revoke_site

    typer.echo(f"Site {name} may no longer take part; its key is kept as {revoke_site(folder, name)}.")


@command.command("sites")
def sites(folder: Folder) -> None:
    """List the sites that may take part, and whether they are connected."""
    from fmtl.network.site_register import site_states
    from fmtl.tables import console, plain_table

    rows = ((site.name, site.state, site.since, site.fingerprint) for site in site_states(folder))
    console().print(plain_table(("Site", "State", "Since", "Fingerprint"), rows))


@command.command("run")
def run(
    folder: Folder,
    *,
    config: Annotated[Path | None, typer.Option(metavar="FILE.toml", help="Run config keys from a file.")] = None,
    settings: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="One run config key; may be repeated.")
    ] = None,
    strategy: Annotated[str | None, typer.Option(help="Strategy; see `fmtl strategies`.")] = None,
    num_server_rounds: Annotated[int | None, typer.Option(min=1, help="Number of rounds.")] = None,
    seed: Annotated[int | None, typer.Option(min=0, help="Seed of everything random.")] = None,
    name: Annotated[str | None, typer.Option(help="Name of the run's folder under FOLDER/runs.")] = None,
) -> None:
    """Start a run on the sites and show it until it ends; Ctrl-C leaves it running.

    Exits with 0 when the run has completed, 1 when it failed, 2 for a wrong setting.
    """
    from fmtl.network.runs import new_run
    from fmtl.settings import parse_setting, read_config_file

    flags = {"strategy": strategy, "num-server-rounds": num_server_rounds, "seed": seed}
    sources = [] if config is None else [(read_config_file(config), f"--config {config}")]
    sources.append((dict(parse_setting(text) for text in settings or []), "--set"))
    sources.append(({key: value for key, value in flags.items() if value is not None}, "flag"))
    _launch(*new_run(folder, sources, name))


@command.command("resume")
def resume(
    folder: Folder,
    name: Annotated[str, typer.Argument(metavar="RUN", help="Name of the run.", show_default=False)],
) -> None:
    """Go on with a run that failed or was stopped, from its newest checkpoint."""
    from fmtl.network.runs import resumed_run

    _launch(*resumed_run(folder, name))


@command.command("watch")
def watch(
    folder: Folder,
    name: Annotated[str, typer.Argument(metavar="RUN", help="Name of the run.", show_default=False)],
) -> None:
    """Show what a run has done and does, until it ends; Ctrl-C leaves it running."""
    from fmtl.network.coordinator_folder import CoordinatorFolder
    from fmtl.network.runs import run_id_of

    place = CoordinatorFolder(folder.expanduser().absolute())
    _follow(place, run_id_of(place, name), place.runs / name)


@command.command("stop")
def stop(
    folder: Folder,
    name: Annotated[str, typer.Argument(metavar="RUN", help="Name of the run.", show_default=False)],
) -> None:
    """Stop a run; `fmtl server resume` goes on with it."""
    from fmtl.network.coordinator_folder import CoordinatorFolder
    from fmtl.network.runs import run_id_of, stop_run

    place = CoordinatorFolder(folder.expanduser().absolute())
    stop_run(place, run_id_of(place, name))
    typer.echo(f"Stopped. Go on with it: fmtl server resume {folder} {name}")


def _launch(place: CoordinatorFolder, values: RunConfig, run_folder: Path) -> None:
    from fmtl.network.runs import submit

    run_id = submit(place, values, run_folder)
    typer.echo(f"Run {run_folder.name} has started; its folder is {run_folder}.")
    _follow(place, run_id, run_folder)


def _follow(place: CoordinatorFolder, run_id: str, run_folder: Path) -> None:
    from fmtl.network.runs import RunEndedBadlyError, follow

    try:
        follow(place, run_id, run_folder, typer.echo)
    except KeyboardInterrupt as interruption:
        typer.echo(f"\nThe run goes on. Watch it: fmtl server watch {place.path} {run_folder.name}", err=True)
        raise typer.Exit(130) from interruption
    except RunEndedBadlyError as error:
        typer.echo(f"Error: {error}", err=True)
        raise typer.Exit(1) from error
    typer.echo(f"Completed; results: {run_folder}")
