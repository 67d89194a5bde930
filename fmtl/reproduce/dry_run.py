"""The dry run: what is on disk, what the runs do, and the time of a training step; nothing is started."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Sequence
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
from fmtl.reproduce.counts import RunCounts, clients_of, count
from fmtl.reproduce.needs import find_needs
from fmtl.reproduce.plan import Reproduction
from fmtl.reproduce.report import print_heading
from fmtl.sweeps.plan import jobs_of, states_of
from fmtl.tables import format_bytes
from fmtl_strategies.contract.settings import LocalSettings
from server_app.config import parse_run_config

_DRAWN = {"dataset": "procedural", "domain": "indoor", "data_root": None, "train_list": None, "validation_list": None}
_DRAWN |= {"own_validation": None, "fit": "resize", "parts_flags": "own", "stuff_labels": "panoptic"}


def dry_run(work: Reproduction, methods: Sequence[str], screen: Console) -> None:
    """Print what the runs of some methods would do, and how long a training step takes here.

    Args:
        work: the reproduction.
        methods: whose runs are counted.
        screen: where the result goes.

    Raises:
        SettingError: the numbers of images are not known, or a folder holds something else than its run.
    """
    clients = clients_of(work)
    print_heading(work, screen)
    found, problems = find_needs(work)
    for line in found or ([] if problems else ["Drawn scenes, which need no files."]):
        screen.print(Text(f"- {line}"))
    for problem in problems:
        screen.print(Text(f"- MISSING. {problem} Its images are counted as the paper says."))
    counts: list[RunCounts] = []
    ended = 0
    for scenario, sweep in work.sweeps.items():
        states = {job: state for job, state in states_of(jobs_of(sweep)).items() if job.label in methods}
        ended += sum(state in ("done", "failed") for state in states.values())
        counts += [count(job, clients[scenario]) for job in states]
    _print_counts(work, counts, ended, screen)
    sweep = next(iter(work.sweeps.values()))
    client = sweep.scenario.clients[0]
    settings = parse_run_config(sweep.runs[0].values)[0].local
    seconds = _measured_step(client, settings)
    images = f"a training step of {client.name} ({client.batch_size} drawn images)"
    screen.print(Text(f"Measured: {images} takes {seconds:.3g} s on {_device(settings)}."))


def _print_counts(work: Reproduction, counts: Sequence[RunCounts], ended: int, screen: Console) -> None:
    seeds = f"seed{'s' if len(work.seeds) > 1 else ''} {', '.join(map(str, work.seeds))}"
    runs = f"All runs: {len(counts)} ({len(counts) // len(work.seeds)} methods, {seeds})"
    screen.print(Text(f"\n{runs}{f'; {ended} ended already' if ended else ''}"))
    for what, number in (
        ("rounds", f"{len(counts) * work.rounds:,} ({work.rounds} in each run)"),
        ("images trained", f"{sum(one.images_trained for one in counts):,}"),
        ("images scored", f"{sum(one.images_scored for one in counts):,}"),
        ("bytes up", format_bytes(sum(one.bytes_up for one in counts))),
        ("bytes down", format_bytes(sum(one.bytes_down for one in counts))),
    ):
        screen.print(Text(f"  {what:<17} {number}"))


def _measured_step(entry: ClientEntry, settings: LocalSettings) -> float:
    """Seconds of one optimiser step on a whole batch."""
    arithmetic = choose_arithmetic(entry.device, settings.precision)
    # On a CPU time goes with the number of images, so a small batch says enough and asks for little memory. Of one
    # image a batch norm may see a single pixel, which it refuses.
    batch = entry.batch_size if arithmetic.on_gpu else min(2, entry.batch_size)
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
    return seconds * entry.batch_size / batch


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
