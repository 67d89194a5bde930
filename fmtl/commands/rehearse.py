"""``fmtl rehearse``: a coordinator and its sites on this machine, as they would be on many."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from fmtl.commands.ending import exit_status


def command(
    *,
    scenario: Annotated[str, typer.Option(help="Scenario; every client becomes a site.")] = "network_demo",
    strategies: Annotated[
        list[str] | None,
        typer.Option("--strategy", help="Strategy; may be repeated. local and fedhca2 if left out."),
    ] = None,
    num_server_rounds: Annotated[int, typer.Option(min=1, help="Number of rounds.")] = 2,
    settings: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="One run config key; may be repeated.")
    ] = None,
    out: Annotated[Path, typer.Option(help="New folder for results and comparison.")] = Path("runs/rehearsal"),
    keep: Annotated[
        bool, typer.Option("--keep", help="Keep keys, site files, states and logs too, in OUT/federation.")
    ] = False,
) -> None:
    """Rehearse a federation: TLS, keys and a process for every site, all on this machine, and a comparison at the end.

    Ctrl-C ends everything that was started and removes what was made.
    """
    from fmtl.commands.compare import command as compare
    from fmtl.network.rehearsal import Plan, rehearse
    from fmtl.settings import parse_setting

    values = dict(parse_setting(text) for text in settings or [])
    values |= {"num-server-rounds": num_server_rounds}
    plan = Plan(scenario, tuple(strategies or ("local", "fedhca2")), values, out, keep)
    with exit_status("The rehearsal has ended; everything it had started and made is gone."):
        runs = rehearse(plan, typer.echo)
    compare(runs, output=out / "comparison", local=None, columns=None)
    if keep:
        first = next((out / "federation" / "sites").glob("*/site.yaml"))
        typer.echo(f"What a site has sent: fmtl site sent {first}")
