"""How long a training step and a scored image take on this machine, measured on a few images."""

from __future__ import annotations

import logging
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch
from fmtl_datasets.scenarios.scenario import ClientEntry

from client_app.round.local_data import local_data
from client_app.round.local_model import client_tasks, reusable_model
from client_app.training.batches import LocalData
from client_app.training.device import choose_arithmetic
from client_app.training.evaluation import evaluate
from client_app.training.loop import Learner, RoundPlan, train_round
from client_app.training.optimiser import build_optimiser
from fmtl.reproduce.cost import ClientCost
from fmtl.reproduce.edge_time import seconds_per_edge_image
from fmtl_strategies.contract.settings import LocalSettings

__all__ = ["Speed", "kind_of_client", "measure_speeds", "stated_speeds"]

_STEPS = 2
_SCORED = 2
_FORWARD_SHARE = 3
"""A step is a forward and a backward pass, and the backward pass takes about twice as long as the forward one."""

Kind = tuple[object, ...]


@dataclass(frozen=True)
class Speed:
    """What a kind of client takes.

    Attributes:
        step: seconds of an optimiser step with the client's batch size.
        image: seconds to score one validation image, reading and metric included.
        source: how it is known, as a phrase.
        edge: what of `image` odsF takes, where that is known separately.
        edge_source: how `edge` is known, as a phrase.
    """

    step: float
    image: float
    source: str
    edge: float = 0.0
    edge_source: str = ""


def kind_of_client(entry: ClientEntry) -> Kind:
    """What clients share whose steps take equally long."""
    return (entry.dataset, entry.tasks, entry.encoder, entry.image_size, entry.decoder_width, entry.batch_size)


def stated_speeds(
    clients: Sequence[ClientCost], seconds_per_step: float, per_edge_image: float | None
) -> dict[Kind, Speed]:
    """Speeds from one number of seconds for a step of every client.

    Args:
        clients: of all scenarios.
        seconds_per_step: as the user states it.
        per_edge_image: seconds that odsF takes for an image, as the user states it; None to measure it here on drawn
            outlines of the client's image size.
    """
    source = "a step as stated by --seconds-per-step, a scored image as the third of a step's share"
    measured: dict[tuple[int, int, float], float] = {}
    speeds = {}
    for client in clients:
        edge, edge_source = 0.0, ""
        if "edge" in client.entry.tasks:
            edge, edge_source = _edge_time(client.entry, per_edge_image, measured)
        image = seconds_per_step / (_FORWARD_SHARE * client.batch) + edge
        speeds[kind_of_client(client.entry)] = Speed(seconds_per_step, image, source, edge, edge_source)
    return speeds


def _edge_time(
    entry: ClientEntry, stated: float | None, measured: dict[tuple[int, int, float], float]
) -> tuple[float, str]:
    """Seconds that odsF takes for an image, and how that is known; measures each size once."""
    if stated is not None:
        return stated, f"{1000 * stated:.0f} ms an image as stated by --seconds-per-edge-image"
    height, width = entry.image_size
    key = (height, width, entry.edge_distance)
    if key not in measured:
        measured[key] = seconds_per_edge_image(*key)
    return measured[key], f"{1000 * measured[key]:.0f} ms an image, measured on drawn outlines of {height} x {width}"


def measure_speeds(
    clients: Sequence[ClientCost], settings: LocalSettings, there: Mapping[str, bool], show: Callable[[str], None]
) -> dict[Kind, Speed]:
    """Train and score a few images for each kind of client.

    Args:
        clients: of all scenarios.
        settings: optimiser and precision of the runs.
        there: by data set, whether it is on disk; scenes stand in for what is not.
        show: prints a line before each measurement.
    """
    kinds = {kind_of_client(client.entry): client for client in clients}
    speeds = {}
    for number, (kind, client) in enumerate(kinds.items(), start=1):
        show(f"measuring {number} of {len(kinds)}: {client.entry.name}")
        with _quiet():
            speeds[kind] = _measure(client, settings, there.get(client.entry.dataset, True))
    return speeds


def _measure(client: ClientCost, settings: LocalSettings, there: bool) -> Speed:
    arithmetic = choose_arithmetic(client.entry.device, settings.precision)
    # On a CPU time goes with the number of images, so a small batch says enough and asks for little memory. Of one
    # image a batch norm may see a single pixel, which it refuses.
    batch = client.batch if arithmetic.on_gpu else min(2, client.batch)
    entry = _few_images(client.entry, batch, there)
    with tempfile.TemporaryDirectory() as folder:
        data = local_data(entry, Path(folder) if there else None)
        model = reusable_model(entry, data.num_classes).to(arithmetic.device)
        learner = Learner(model, build_optimiser(model, settings), arithmetic.scaler(), arithmetic)
        plan = RoundPlan(entry.name, 1, 0, 1, batch, settings)
        if arithmetic.on_gpu:
            train_round(learner, client_tasks(entry), data, plan)  # kernels are chosen and compiled at first use
        step = _seconds(arithmetic.device, lambda: train_round(learner, client_tasks(entry), data, plan)) / _STEPS
        image = _seconds(arithmetic.device, lambda: _score(entry, model, data, arithmetic.device)) / _SCORED
        model.cpu()
    on = torch.cuda.get_device_name(arithmetic.device) if arithmetic.on_gpu else _threads()
    images = "its own images" if there else "drawn scenes in place of its images"
    return Speed(step * client.batch / batch, image, f"measured on {on}, {_STEPS} steps of {batch} with {images}")


def _threads() -> str:
    count = torch.get_num_threads()
    return f"{count} CPU threads" if count > 1 else "1 CPU thread"


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


def _few_images(entry: ClientEntry, batch: int, there: bool) -> ClientEntry:
    few: dict[str, object] = {"train_images": _STEPS * batch, "validation_images": _SCORED, "encoder_weights": "none"}
    if not there:
        few |= {
            "dataset": "procedural", "domain": "indoor", "data_root": None, "train_list": None,
            "validation_list": None, "own_validation": None, "fit": "resize", "parts_flags": "own",
            "stuff_labels": "panoptic",
        }  # fmt: skip
    return entry.model_copy(update=few)


def _score(entry: ClientEntry, model: torch.nn.Module, data: LocalData, device: torch.device) -> None:
    metrics = {name: task.new_metric(data.num_classes) for name, task in client_tasks(entry).items()}
    evaluate(model, metrics, data, entry.batch_size, device)


def _seconds(device: torch.device, work: Callable[[], object]) -> float:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    started = time.perf_counter()
    work()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter() - started
