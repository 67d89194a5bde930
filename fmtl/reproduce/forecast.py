"""The dry run as text: what is there, what the runs do, what they cost, how long that takes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from rich.console import Console
from rich.table import Table
from rich.text import Text

from fmtl.reproduce.cost import ClientCost, RunCost, client_costs, run_cost
from fmtl.reproduce.needs import Need, find_needs
from fmtl.reproduce.plan import Reproduction
from fmtl.reproduce.speed import Kind, Speed, kind_of_client, measure_speeds, stated_speeds
from fmtl.sweep.plan import Job, State, jobs_of, states_of
from fmtl.tables import plain_table
from fmtl_strategies.contract.groups import kind_of
from server_app.config import parse_run_config

__all__ = ["Estimate", "Forecast", "forecast", "print_forecast"]


@dataclass(frozen=True)
class Forecast:
    """What a reproduction would do.

    Attributes:
        work: the reproduction.
        needs: what it reads from disk.
        clients: by scenario.
        runs: of the methods asked for, with scenario, state and cost.
        speeds: by kind of client.
        workers: runs at once.
    """

    work: Reproduction
    needs: tuple[Need, ...]
    clients: Mapping[str, tuple[ClientCost, ...]]
    runs: tuple[tuple[str, Job, State, RunCost], ...]
    speeds: Mapping[Kind, Speed]
    workers: int


@dataclass(frozen=True)
class Estimate:
    """How a time estimate is to be made.

    Attributes:
        seconds_per_step: as the user states it; None to measure.
        seconds_per_edge_image: what odsF takes, as the user states it beside seconds_per_step; None to measure.
        show: prints a line of progress.
    """

    seconds_per_step: float | None
    seconds_per_edge_image: float | None
    show: Callable[[str], None]


def forecast(work: Reproduction, methods: tuple[str, ...], workers: int, estimate: Estimate) -> Forecast:
    """Count, look for the data and measure; nothing is run and nothing written.

    Raises:
        TableError: the numbers of images are not known.
        SweepError: a folder holds something else than its run.
    """
    needs = find_needs(work)
    clients = client_costs(work)
    runs = []
    for scenario, sweep in work.sweeps.items():
        for job, state in states_of(jobs_of(sweep)).items():
            if job.label in methods:
                runs.append((scenario, job, state, run_cost(job, clients[scenario])))
    listed = [client for scenario in clients for client in clients[scenario]]
    if estimate.seconds_per_step is not None:
        speeds = stated_speeds(listed, estimate.seconds_per_step, estimate.seconds_per_edge_image)
    else:
        there = {need.name: need.problem is None for need in needs}
        settings = parse_run_config(next(iter(work.sweeps.values())).runs[0].values)[0].local_settings()
        speeds = measure_speeds(listed, settings, there, estimate.show)
    return Forecast(work, needs, clients, tuple(runs), speeds, workers)


def print_forecast(found: Forecast, screen: Console) -> None:
    """Print the forecast: data, clients, runs, time."""
    work, table = found.work, found.work.table
    screen.print(Text(f"{table.name}: {table.number} of {table.paper}. {table.title}."))
    if work.shortened:
        screen.print(Text(f"NOT COMPARABLE: {work.rounds} of {table.rounds} rounds.", style="bold"))
    screen.print(Text("\nData"))
    for need in found.needs:
        screen.print(Text(f"- {need.name}: {need.found}." if need.problem is None else f"- MISSING. {need.problem}"))
    if not found.needs:
        screen.print(Text("- Drawn scenes, which need no files."))
    for scenario, clients in found.clients.items():
        name = work.sweeps[scenario].scenario.name
        screen.print(Text(f"\nClients of {name}; {_counted(clients)}"))
        screen.print(_clients(found, clients))
    for line in _runs(found):
        screen.print(Text(line))
    screen.print(_methods(found))
    for line in _time(found):
        screen.print(Text(line))


def _counted(clients: tuple[ClientCost, ...]) -> str:
    """Where the numbers of images come from, by data set where that differs."""
    sources = {client.entry.dataset: client.counted for client in clients}
    if len(set(sources.values())) == 1:
        return f"images from {clients[0].counted}"
    return ", ".join(f"{dataset} images from {counted}" for dataset, counted in sources.items())


def _clients(found: Forecast, clients: tuple[ClientCost, ...]) -> Table:
    heads = (
        "client",
        "images",
        "batch",
        "steps an epoch",
        "epochs a round",
        "parameters",
        "encoder",
        "a step",
        "a scored image",
    )
    shown = plain_table(*heads, whole=(0, 1, 2, 5, 6, 7))
    for client in clients:
        groups, speed = client.profile.groups, found.speeds[kind_of_client(client.entry)]
        parameters = sum(layout.size for group, layout in groups.items() if kind_of(group) != "buffers")
        shown.add_row(
            client.entry.name,
            f"{client.profile.train_examples:,}",
            str(client.batch),
            f"{client.steps:,}",
            str(client.entry.local_epochs),
            f"{parameters / 1e6:.1f} M",
            f"{groups['encoder'].size / 1e6:.1f} M",
            _short(speed.step),
            _short(speed.image),
        )
    return _right(shown)


def _right(shown: Table) -> Table:
    for column in shown.columns[1:]:
        column.justify = "right"
    return shown


def _labels(found: Forecast) -> list[str]:
    return list(dict.fromkeys(job.label for _, job, _, _ in found.runs))


def _runs(found: Forecast) -> list[str]:
    work = found.work
    costs = [cost for _, _, _, cost in found.runs]
    ended = sum(state in ("done", "failed") for _, _, state, _ in found.runs)
    seeds = f"seed{'s' if len(work.seeds) > 1 else ''} {', '.join(map(str, work.seeds))}"
    disk, largest = sum(cost.disk for cost in costs), max(cost.disk for cost in costs)
    return [
        f"All runs: {len(found.runs)} ({len(_labels(found))} methods, {seeds})"
        + (f"; {ended} ended already" if ended else ""),
        f"  rounds            {len(found.runs) * work.rounds:,} ({work.rounds} in each run)",
        f"  client trainings  {sum(cost.trainings for cost in costs):,}",
        f"  optimiser steps   {sum(sum(cost.steps.values()) for cost in costs):,}",
        f"  images trained    {sum(cost.images_trained for cost in costs):,}",
        f"  images scored     {sum(sum(cost.scored.values()) for cost in costs):,}",
        f"  bytes up          {_bytes(sum(cost.bytes_up for cost in costs))}",
        f"  bytes down        {_bytes(sum(cost.bytes_down for cost in costs))}",
        f"  disk              {_bytes(disk)} for checkpoints, {_bytes(largest)} of the largest run",
    ]


def _methods(found: Forecast) -> Table:
    shown = plain_table(
        "one run of", "scenario", "optimiser steps", "bytes up", "bytes down", "time", whole=(0, 2, 3, 4, 5)
    )
    for label in _labels(found):
        scenario, _, _, cost = next(run for run in found.runs if run[1].label == label)
        shown.add_row(
            label,
            found.work.sweeps[scenario].scenario.name,
            f"{sum(cost.steps.values()):,}",
            _bytes(cost.bytes_up),
            _bytes(cost.bytes_down),
            _duration(_seconds(found, scenario, cost)),
        )
    _right(shown).columns[1].justify = "left"
    return shown


def _seconds(found: Forecast, scenario: str, cost: RunCost) -> float:
    total = 0.0
    for client in found.clients[scenario]:
        speed = found.speeds[kind_of_client(client.entry)]
        total += cost.steps[client.entry.name] * speed.step + cost.scored[client.entry.name] * speed.image
    return total


def _edge_seconds(found: Forecast, scenario: str, cost: RunCost) -> float:
    return sum(
        cost.scored[client.entry.name] * found.speeds[kind_of_client(client.entry)].edge
        for client in found.clients[scenario]
    )


def _edge_lines(found: Forecast, seconds: float) -> list[str]:
    sources = list(dict.fromkeys(speed.edge_source for speed in found.speeds.values() if speed.edge_source))
    if not sources:
        return []
    known = "; ".join(sources)
    return [f"{_duration(seconds)} of that is odsF, which takes one CPU core and no GPU: {known}."]


def _time(found: Forecast) -> list[str]:
    left = [run for run in found.runs if run[2] in ("to do", "unfinished")]
    total = sum(_seconds(found, scenario, cost) for scenario, _, _, cost in left)
    lines = [f"Time: about {_duration(total)} for the {len(left)} runs that are left, one at a time."]
    lines += _edge_lines(found, sum(_edge_seconds(found, scenario, cost) for scenario, _, _, cost in left))
    if found.workers > 1:
        lines.append(f"--workers {found.workers} share the machine; how much that saves was not measured.")
    sources = list(dict.fromkeys(speed.source for speed in found.speeds.values()))
    lines.append(f"A step and a scored image: {'; '.join(sources)}.")
    metrics = "" if any(source.startswith("measured") for source in sources) else "metrics other than odsF, "
    lines.append(
        f"Not counted: {metrics}the server's own work, and looking for the images that a task can use. What an "
        "unfinished run has done already is not taken off."
    )
    return lines


def _short(seconds: float) -> str:
    return f"{seconds:.2f} s" if seconds >= 0.1 else f"{1000 * seconds:.1f} ms"


def _bytes(count: float) -> str:
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:,.1f} TB"


def _duration(seconds: float) -> str:
    if seconds < 100:
        return f"{seconds:.0f} s"
    if seconds < 6000:
        return f"{seconds / 60:.0f} min"
    if seconds < 172_800:
        return f"{seconds / 3600:.1f} h"
    days = seconds / 86_400
    return f"{days:.1f} days" if days < 100 else f"{days:,.0f} days"
