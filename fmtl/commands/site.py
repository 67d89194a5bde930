"""``fmtl site``: take part in a federation from this machine."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from fmtl.commands.ending import exit_status

command = typer.Typer(no_args_is_help=True, help="Take part in a federation from this machine.")

SiteFilePath = Annotated[Path, typer.Argument(metavar="FILE", help="The site's YAML file.", show_default=False)]


@command.command("init")
def init(
    dataset: Annotated[
        str,
        typer.Option(help="folder (images of your own), nyud, pascal_context, coco, bsds_sod or procedural."),
    ] = "folder",
    name: Annotated[str, typer.Option(help="The site's name, as in `fmtl keys site NAME`.")] = "CHANGE-ME",
    coordinator: Annotated[str, typer.Option(help="Address of the coordinator, as host:port.")] = "CHANGE-ME:8000",
) -> None:
    """Print a site's file to fill in: fmtl site init --name NAME > site.yaml."""
    from fmtl.network.flower_programs import parse_endpoint
    from fmtl.network.site_template import site_template

    parse_endpoint(coordinator, "--coordinator")
    typer.echo(site_template(dataset, name, coordinator), nl=False)


@command.command("check")
def check(file: SiteFilePath) -> None:
    """Check key, certificate, coordinator, clock, disk, data and device, and start nothing."""
    from fmtl.network.site_checks import check_site

    check_site(file, typer.echo)


@command.command("start")
def start(
    file: SiteFilePath,
    *,
    without_checks: Annotated[
        bool, typer.Option("--without-checks", help="Start at once: for a restart of what was checked before.")
    ] = False,
) -> None:
    """Check everything, then take part until Ctrl-C or SIGTERM."""
    from fmtl.network.site import run_site

    with exit_status("The site has ended; everything it had started has been stopped."):
        run_site(file, typer.echo, checks=not without_checks)


@command.command("sent")
def sent(
    file: SiteFilePath,
    *,
    as_json: Annotated[
        bool,
        typer.Option("--json", help="Print the record itself: a JSON line for every answer, with its whole text."),
    ] = False,
) -> None:
    """List everything that this site's client has sent, with names and sizes, from the record that the site keeps."""
    from client_app.site.site_file import read_site_file
    from fmtl.network.sent_report import json_lines, read_sent, sent_lines
    from fmtl.network.site import SENT_FILE

    lines = read_sent(read_site_file(file).state / SENT_FILE)
    for line in json_lines(lines) if as_json else sent_lines(lines):
        typer.echo(line)
