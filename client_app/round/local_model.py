"""A client's tasks and its model at the start of a run, as its scenario entry asks for them."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Literal

from fmtl_datasets.scenarios.scenario import ClientEntry

from client_app.metrics.edge.protocol import EdgeProtocol
from client_app.model import ModelConfig, MultiTaskModel, build_model, set_encoder_batch_norm_eval
from client_app.model.weights import load_encoder_weights
from client_app.tasks import Task, get_task
from client_app.tasks.edge import EdgeDetection
from client_app.tasks.object_task import ObjectTask
from fmtl_strategies.flower_compat import log

_CACHED_MODELS = 8
"""Models kept by one process: as many clients as one simulation worker usually serves, 0.1 GB each for Swin-T."""


@dataclass(frozen=True)
class PreparedModel:
    """A model and where its encoder's parameters come from.

    Attributes:
        model: on the CPU, float32.
        weights_report: which pretrained weights were loaded: file, keys matched, hash.
    """

    model: MultiTaskModel
    weights_report: str


def client_tasks(entry: ClientEntry, metric_workers: int = 0) -> dict[str, Task]:
    """Return a client's tasks by name, in the order of its entry.

    Args:
        entry: the client.
        metric_workers: processes that may share the work of a slow metric (odsF); 0 for none.

    Raises:
        UnknownTaskError: a task that cannot be trained.
    """
    tasks = {name: get_task(name) for name in entry.tasks}
    if "edge" in tasks:
        distance = entry.edge_distance
        protocol = EdgeProtocol(max_distance=distance, workers=metric_workers)
        tasks["edge"] = EdgeDetection(protocol)
    for name, task in tasks.items():
        if isinstance(task, ObjectTask):
            tasks[name] = type(task)(entry.smallest_anchor)
    return tasks


def prepare_model(entry: ClientEntry, num_classes: Mapping[str, int], seed: int) -> PreparedModel:
    """Build a client's model as it is at the start of a run, with pretrained encoder weights where the entry has them.

    Args:
        entry: the client.
        num_classes: class counts of its data set by task.
        seed: seed of the run.

    Raises:
        ValueError: the entry's encoder, sizes or weights cannot be used; a subclass says why.
    """
    model = _build(entry, num_classes, seed)
    report = load_encoder_weights(
        model.encoder, entry.encoder, _weights_source(entry), allow_unmatched=entry.allow_unmatched_weights == "true"
    )
    if report.matched:
        log(logging.INFO, "%s: %s", entry.name, report.summary())
    return PreparedModel(model, report.summary())


def reusable_model(entry: ClientEntry, num_classes: Mapping[str, int]) -> MultiTaskModel:
    """Return a model of a client's shape with arbitrary contents, for a caller that overwrites all of it.

    Building a network takes longer than training a small client for a round, and a simulation's worker does it again
    and again; so the same object is given to every caller in this process that asks for the same entry.
    """
    return _cached_model(entry, tuple(sorted(num_classes.items())))


@lru_cache(maxsize=_CACHED_MODELS)
def _cached_model(entry: ClientEntry, num_classes: tuple[tuple[str, int], ...]) -> MultiTaskModel:
    return _build(entry, dict(num_classes), seed=0)


def _build(entry: ClientEntry, num_classes: Mapping[str, int], seed: int) -> MultiTaskModel:
    config = ModelConfig(
        encoder=entry.encoder,
        tasks=entry.tasks,
        modules={name: task.modules(num_classes) for name, task in client_tasks(entry).items()},
        image_size=entry.image_size,
        decoder_width=entry.decoder_width,
        seed=seed,
    )
    model = build_model(config)
    if entry.batch_norm == "eval":
        set_encoder_batch_norm_eval(model)
    return model


def _weights_source(entry: ClientEntry) -> Literal["none", "hub"] | Path:
    if entry.encoder_weights == "hub":
        return "hub"
    return entry.weights_path() or "none"
