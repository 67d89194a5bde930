"""``fmtl keys``: certificates of a coordinator, keys of sites."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

command = typer.Typer(no_args_is_help=True, help="Make, show and renew the keys of a coordinator and of sites.")


@command.command("coordinator")
def make_coordinator_keys(
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="The new coordinator's folder.", show_default=False)],
    host: Annotated[list[str], typer.Option(help="DNS name or IP address by which sites reach it; may be repeated.")],
    port: Annotated[int, typer.Option(min=1, max=65535, help="TCP port it will listen on.")] = 8000,
) -> None:
    """Make a coordinator: its folder with settings, a CA of its own, and a server certificate."""
    from fmtl.network.certificates import read_facts
    from fmtl.network.coordinator_folder import make_coordinator

    made = make_coordinator(folder, tuple(host), port)
    facts = read_facts(made.certificates.server)
    typer.echo(f"Made {made.path}; the server certificate is for {', '.join(facts.names)} until {facts.ends:%Y-%m-%d}.")
    typer.echo(f"Give every site {made.certificates.ca} and this machine's address with port {port}.")
    typer.echo(f"For every site that sends you its public key: fmtl server allow {folder} NAME.pub")
    typer.echo(f"Then: fmtl server start {folder}")


@command.command("site")
def make_site_keys(
    name: Annotated[str, typer.Argument(metavar="NAME", help="The site's name.", show_default=False)],
    out: Annotated[Path, typer.Option(help="Folder for the two files.")] = Path(),
) -> None:
    """Make a site's key pair: NAME.key stays here, NAME.pub goes to the coordinator."""
    from fmtl.network.site_keys import make_site_key, require_public_key

    pair = make_site_key(out, name)
    typer.echo(f"Keep {pair.private} here, and send {pair.public} to the coordinator.")
    typer.echo(f"Fingerprint, to compare by telephone: {require_public_key(pair.public)}")


@command.command("renew")
def renew_server_certificate(
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="The coordinator's folder.", show_default=False)],
) -> None:
    """Make a new server certificate for the hosts in coordinator.yaml; sites need nothing new."""
    from fmtl.network.certificates import make_server_certificate, read_facts
    from fmtl.network.coordinator_folder import CoordinatorFolder, read_settings

    place = CoordinatorFolder(folder.absolute())
    settings = read_settings(place)
    make_server_certificate(place.certificates, settings.hosts)
    facts = read_facts(place.certificates.server)
    typer.echo(f"The new certificate is for {', '.join(facts.names)} until {facts.ends:%Y-%m-%d}.")
    typer.echo("A running coordinator reloads it within seconds, and runs go on; restart the container if you use one.")


@command.command("show")
def show_key(
    file: Annotated[
        Path, typer.Argument(metavar="FILE", help="A certificate (.crt) or a key (.pub, .key).", show_default=False)
    ],
) -> None:
    """Say whose a certificate or key is, how long it is valid, and its fingerprint; private parts are never printed."""
    from datetime import UTC, datetime

    from fmtl.network.certificates import read_facts
    from fmtl.network.site_keys import require_public_key, require_site_key

    if file.suffix == ".pub":
        typer.echo(f"public key of a site, ECDSA P-384\nfingerprint {require_public_key(file)}")
    elif file.suffix == ".key":
        typer.echo(f"private key of a site, ECDSA P-384\nfingerprint {require_site_key(file)}")
    else:
        facts = read_facts(file)
        state = facts.problem(datetime.now(UTC)) or "is valid now"
        typer.echo(f"certificate for {', '.join(facts.names) or 'signing servers (a CA)'}; {state}")
        typer.echo(f"from {facts.begins:%Y-%m-%d %H:%M} to {facts.ends:%Y-%m-%d %H:%M} UTC")
        typer.echo(f"fingerprint SHA256 {facts.fingerprint}")
