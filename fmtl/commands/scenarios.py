"""``fmtl scenarios``: which scenarios there are, and who takes part in one."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from collections.abc import Mapping

    from fmtl_datasets.scenarios.scenario import ClientEntry, Scenario
    from rich.table import Table

NO_DATA = "Procedural scenes, nothing to fetch"
OWN = "Real images, without a paper"
LONGEST_NAME = 29
LONGEST_ROOT = 13
"""Widths of columns, so that those of all groups stand below each other."""

COLUMNS = ("data set", "tasks", "share", "scored on", "image size")
"""What the table of clients has columns for, where clients differ in it; the rest is said in sentences."""


def command(
    name: Annotated[
        str | None, typer.Argument(help="A scenario's name or the path of its .yaml file; all names if left out.")
    ] = None,
) -> None:
    """List the scenarios, or the clients of one."""
    from fmtl_datasets.scenarios.scenario import list_scenarios, load_scenario
    from rich.text import Text

    from fmtl.tables import console

    screen = console()
    if name is None:
        for heading, scenarios in grouped([load_scenario(known) for known in list_scenarios()]):
            screen.print(Text(heading, style="bold"))
            screen.print(scenario_table(scenarios))
        screen.print("Data is looked for under the environment variable FMTL_DATA_ROOT; `fmtl data help` says more.")
        return
    scenario = load_scenario(name)
    table, sentences = client_table(scenario)
    source = f" {scenario.paper}." if scenario.paper else ""
    screen.print(Text(f"{scenario.name}:{source} {scenario.description}"))
    screen.print(table)
    if scenario.shares != "disjoint":
        sentences.append("Clients have training images in common (shares: may-overlap).")
    for sentence in (*sentences, *data_needs(scenario)):
        screen.print(Text(sentence))


def grouped(scenarios: list[Scenario]) -> list[tuple[str, list[Scenario]]]:
    """Scenarios under headings: those without data to fetch, those on small real data, then paper by paper."""
    groups: dict[str, list[Scenario]] = {NO_DATA: [], OWN: []}
    for scenario in scenarios:
        own = OWN if scenario.data_needs else NO_DATA
        groups.setdefault(scenario.paper or own, []).append(scenario)
    return [(heading, members) for heading, members in groups.items() if members]


def data_needs(scenario: Scenario) -> list[str]:
    """Sentences that say which data sets a scenario needs and where they are looked for."""
    kinds = {client.data_root: client.dataset for client in scenario.clients if client.data_root is not None}
    return [
        f"Needs {root}{'' if Path(root).expanduser().is_absolute() else ' under FMTL_DATA_ROOT'}; "
        f"see `fmtl data help {dataset}`."
        for root, dataset in kinds.items()
    ]


def scenario_table(scenarios: list[Scenario]) -> Table:
    """One row for each scenario."""
    from fmtl.tables import plain_table

    rows = (
        (scenario.name, str(len(scenario.clients)), "\n".join(scenario.data_needs) or "-", scenario.summary)
        for scenario in scenarios
    )
    table = plain_table(("scenario", "clients", "data", "summary"), rows)
    table.columns[0].min_width = LONGEST_NAME
    table.columns[1].justify = "right"
    table.columns[2].min_width = table.columns[2].max_width = LONGEST_ROOT
    return table


def client_table(scenario: Scenario) -> tuple[Table, list[str]]:
    """One row for each client of a scenario, in the order of the partitions.

    Returns:
        The table, and sentences on what it has no column for: settings that all of several clients have in common, and
        the other settings in which they differ.
    """
    from fmtl.tables import plain_table

    clients = {client.name: _client_facts(client) for client in scenario.clients}
    facts = list(next(iter(clients.values())))
    common = [fact for fact in facts if len(clients) > 1 and len({client[fact] for client in clients.values()}) == 1]
    shown = [fact for fact in facts if fact in COLUMNS and fact not in common]
    heading = ("client", "partition", *shown)
    rows = ((name, str(i), *(client[fact] for fact in shown)) for i, (name, client) in enumerate(clients.items()))
    table = plain_table(heading, rows, whole=[i for i, fact in enumerate(heading) if fact != "tasks"])
    first = next(iter(clients.values()))
    in_common = ", ".join(f"{fact} {first[fact]}" for fact in common if first[fact])
    sentences = [f"The same for all clients: {in_common}."] if in_common else []
    sentences += [_difference(fact, clients) for fact in facts if fact not in (*common, *shown)]
    return table, sentences


def _difference(fact: str, clients: Mapping[str, Mapping[str, str]]) -> str:
    """A sentence that says which clients have which value of a setting."""
    names: dict[str, list[str]] = {}
    for name, client in clients.items():
        names.setdefault(client[fact], []).append(name)
    groups = (f"{value} ({', '.join(members)})" for value, members in names.items() if value)
    return f"{fact[:1].upper()}{fact[1:]}: {', '.join(groups)}."


def _client_facts(client: ClientEntry) -> dict[str, str]:
    """What a reader wants to know of a client, in words; empty where there is nothing to say."""
    after = client.share.after if client.share else ()
    return {
        "data set": client.dataset if client.domain is None else f"{client.dataset} ({client.domain})",
        "tasks": ", ".join(client.tasks),
        "share": _share(client),
        "scored on": _scored_on(client),
        "image size": "x".join(str(side) for side in client.image_size),
        "training images": "whole share" if client.train_images is None else str(client.train_images),
        "shuffled after lists of": ", ".join(map(str, after)),
        "fit": client.fit,
        "augmentation": client.augment,
        "encoder": client.encoder,
        "encoder weights": client.encoder_weights,
        "local epochs": str(client.local_epochs),
        "batch size": str(client.batch_size),
        "device": client.device,
    }


def _scored_on(client: ClientEntry) -> str:
    if client.own_validation is not None and client.validation_list is None:
        return f"own {client.own_validation:.0%}"
    images = "" if client.validation_images is None else f"{client.validation_images} of "
    return f"{images}{client.validation_list or 'official list'}" if client.data_root else f"{images}own scenes"


def _share(client: ClientEntry) -> str:
    share = client.share
    if share is None:
        return "all"
    held = "" if client.own_validation is None else f", less {client.own_validation:.0%}"
    if share.part is not None:
        return f"part {share.part} of {share.of}{held}"
    return f"{share.fraction:.0%} from {share.start:.0%} on{held}"
