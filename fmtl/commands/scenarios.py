"""``fmtl scenarios``: which scenarios there are, and who takes part in one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from rich.table import Table

    from datasets.scenario import ClientEntry, Scenario


def command(
    name: Annotated[
        str | None, typer.Argument(help="A scenario's name or the path of its .yaml file; all names if left out.")
    ] = None,
) -> None:
    """List the scenarios, or the clients of one."""
    from rich.text import Text

    from datasets.scenario import list_scenarios, load_scenario
    from fmtl.screen import console

    screen = console()
    if name is None:
        screen.print(scenario_table([load_scenario(known) for known in list_scenarios()]))
        return
    scenario = load_scenario(name)
    table, common = client_table(scenario)
    screen.print(Text(f"{scenario.name}: {scenario.description}"))
    screen.print(table)
    if common:
        screen.print(Text(f"The same for all clients: {common}."))


def scenario_table(scenarios: list[Scenario]) -> Table:
    """One row for each scenario."""
    from rich.text import Text

    from fmtl.screen import plain_table

    table = plain_table("scenario", "clients", "tasks", "description")
    for scenario in scenarios:
        tasks = dict.fromkeys(task for client in scenario.clients for task in client.tasks)
        cells = (scenario.name, str(len(scenario.clients)), ", ".join(tasks), scenario.description)
        table.add_row(*(Text(cell) for cell in cells))
    return table


def client_table(scenario: Scenario) -> tuple[Table, str]:
    """One row for each client of a scenario, in the order of the partitions.

    Returns:
        The table, and as a phrase those settings that are the same for all of several clients; they have no column.
    """
    from rich.text import Text

    from fmtl.screen import plain_table

    clients = [_client_facts(client) for client in scenario.clients]
    facts = list(clients[0])
    common = [fact for fact in facts if len(clients) > 1 and len({client[fact] for client in clients}) == 1]
    shown = [fact for fact in facts if fact not in common]
    table = plain_table("client", "partition", *shown)
    for index, (entry, client) in enumerate(zip(scenario.clients, clients, strict=True)):
        table.add_row(entry.name, str(index), *(Text(client[fact]) for fact in shown))
    return table, ", ".join(f"{fact} {clients[0][fact]}" for fact in common)


def _client_facts(client: ClientEntry) -> dict[str, str]:
    return {
        "data set": client.dataset if client.domain is None else f"{client.dataset} ({client.domain})",
        "tasks": ", ".join(client.tasks),
        "share": _share(client),
        "training images": "whole share" if client.train_images is None else str(client.train_images),
        "image size": "x".join(str(side) for side in client.image_size),
        "encoder": client.encoder,
        "encoder weights": client.encoder_weights,
        "local epochs": str(client.local_epochs),
        "batch size": str(client.batch_size),
        "device": client.device,
    }


def _share(client: ClientEntry) -> str:
    share = client.share
    if share is None:
        return "all"
    if share.part is not None:
        return f"part {share.part} of {share.of}"
    return f"{share.fraction:.0%} from {share.start:.0%} on"
