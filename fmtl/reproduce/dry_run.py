"""The dry run: what is on disk, what the runs do, and the time of their training steps; nothing is started."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

import torch
from fmtl_datasets.scenarios.scenario import ClientEntry
from rich.console import Console
from rich.text import Text

from client_app.round.local_data import local_data
from client_app.round.local_model import client_tasks, reusable_model
from client_app.training.device import choose_arithmetic
from client_app.training.loop import Learner, RoundPlan, train_round
from client_app.training.optimiser import build_optimiser
from fmtl.reproduce.counts import Client, RunCounts, clients_of, count
from fmtl.reproduce.needs import find_needs
from fmtl.reproduce.plan import Reproduction
from fmtl.reproduce.report import print_heading
from fmtl.sweeps.plan import jobs_of, states_of
from fmtl.tables import format_bytes, format_seconds, plain_table
from fmtl_strategies.contract.settings import LocalSettings
from server_app.config import parse_run_config

__all__ = ["dry_run"]

_DRAWN = {"dataset": "procedural", "domain": "indoor", "data_root": None, "train_list": None, "validation_list": None}
_DRAWN |= {"own_validation": None, "fit": "resize", "parts_flags": "own", "stuff_labels": "panoptic"}


def dry_run(work: Reproduction, methods: tuple[str, ...], screen: Console, show: Callable[[str], None]) -> None:
    """Print what the runs of some methods would do and how long their training steps take here.

    Args:
        work: the reproduction.
        methods: whose runs are counted.
        screen: where the result goes.
        show: prints a line of progress.

    Raises:
        TableError: the numbers of images are not known.
        SweepError: a folder holds something else than its run.
    """
    clients = clients_of(work)
    print_heading(work, screen)
    _print_data(work, screen)
    counts: dict[str, list[RunCounts]] = {}
    ended = 0
    for scenario, sweep in work.sweeps.items():
        states = {job: state for job, state in states_of(jobs_of(sweep)).items() if job.label in methods}
        ended += sum(state in ("done", "failed") for state in states.values())
        counts[scenario] = [count(job, clients[scenario]) for job in states]
    _print_counts(work, [one for listed in counts.values() for one in listed], ended, screen)
    _print_steps(work, clients, counts, screen, show)


def _print_data(work: Reproduction, screen: Console) -> None:
    needs = find_needs(work)
    screen.print(Text("\nData"))
    for need in needs:
        screen.print(Text(f"- {need.name}: {need.found}." if need.problem is None else f"- MISSING. {need.problem}"))
    if not needs:
        screen.print(Text("- Drawn scenes, which need no files."))


def _print_counts(work: Reproduction, counts: list[RunCounts], ended: int, screen: Console) -> None:
    seeds = f"seed{'s' if len(work.seeds) > 1 else ''} {', '.join(map(str, work.seeds))}"
    runs = f"All runs: {len(counts)} ({len(counts) // len(work.seeds)} methods, {seeds})"
    screen.print(Text(f"\n{runs}{f'; {ended} ended already' if ended else ''}"))
    for what, number in (
        ("rounds", f"{len(counts) * work.rounds:,} ({work.rounds} in each run)"),
        ("optimiser steps", f"{sum(sum(one.steps.values()) for one in counts):,}"),
        ("images trained", f"{sum(one.images_trained for one in counts):,}"),
        ("images scored", f"{sum(sum(one.images_scored.values()) for one in counts):,}"),
        ("bytes up", format_bytes(sum(one.bytes_up for one in counts))),
        ("bytes down", format_bytes(sum(one.bytes_down for one in counts))),
    ):
        screen.print(Text(f"  {what:<17} {number}"))


def _print_steps(
    work: Reproduction,
    clients: Mapping[str, tuple[Client, ...]],
    counts: Mapping[str, list[RunCounts]],
    screen: Console,
    show: Callable[[str], None],
) -> None:
    """Measure one step of each kind of client, and print what that makes for all steps of the runs."""
    settings = parse_run_config(next(iter(work.sweeps.values())).runs[0].values)[0].local
    measured: dict[tuple[object, ...], float] = {}
    total = 0.0
    for scenario, listed in counts.items():
        table = plain_table("client", "images", "batch", "steps/epoch", "s/step")
        for client in clients[scenario]:
            step = _step_of(client, settings, measured, show)
            total += step * sum(one.steps[client.entry.name] for one in listed)
            images = f"{client.profile.train_examples:,}"
            table.add_row(client.entry.name, images, str(client.batch), str(client.steps), f"{step:.3g}")
        sources = " and ".join(dict.fromkeys(client.counted for client in clients[scenario]))
        screen.print(Text(f"\nClients of {work.sweeps[scenario].scenario.name}; images from {sources}"))
        screen.print(table)
    screen.print(
        Text(
            f"Training steps of all runs: about {format_seconds(total)} on {_device(settings)}, one run at a time, "
            "from one step of each kind of client on drawn images. Reading images, scoring and the server come on top."
        )
    )


def _step_of(
    client: Client, settings: LocalSettings, measured: dict[tuple[object, ...], float], show: Callable[[str], None]
) -> float:
    """Seconds of a client's training step; measured once for clients whose steps take equally long."""
    entry = client.entry
    kind = (entry.dataset, entry.tasks, entry.encoder, entry.image_size, entry.decoder_width, client.batch)
    if kind not in measured:
        show(f"measuring a step of {entry.name}")
        measured[kind] = _measured_step(entry, client.batch, settings)
    return measured[kind]


def _measured_step(entry: ClientEntry, whole_batch: int, settings: LocalSettings) -> float:
    arithmetic = choose_arithmetic(entry.device, settings.precision)
    # On a CPU time goes with the number of images, so a small batch says enough and asks for little memory. Of one
    # image a batch norm may see a single pixel, which it refuses.
    batch = whole_batch if arithmetic.on_gpu else min(2, whole_batch)
    few = {"train_images": batch, "validation_images": 1, "encoder_weights": "none"}
    drawn = entry.model_copy(update=_DRAWN | few)
    data = local_data(drawn, None)
    model = reusable_model(drawn, data.num_classes).to(arithmetic.device)
    learner = Learner(model, build_optimiser(model, settings), arithmetic.scaler(), arithmetic)
    plan = RoundPlan(entry.name, 1, 0, 1, batch, settings)
    with _quiet():
        train_round(learner, client_tasks(drawn), data, plan)  # kernels are chosen and images drawn at first use
        started = time.perf_counter()
        train_round(learner, client_tasks(drawn), data, plan)
        if arithmetic.on_gpu:
            torch.cuda.synchronize(arithmetic.device)
        seconds = time.perf_counter() - started
    model.cpu()
    return seconds * whole_batch / batch


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep the lines that training logs for every epoch off the screen."""
    logger = logging.getLogger("flwr")
    level = logger.level
    logger.setLevel(logging.WARNING)
    try:
        yield
    finally:
        logger.setLevel(level)


def _device(settings: LocalSettings) -> str:
    arithmetic = choose_arithmetic("auto", settings.precision)
    return (
        torch.cuda.get_device_name(arithmetic.device) if arithmetic.on_gpu else f"{torch.get_num_threads()} CPU threads"
    )
