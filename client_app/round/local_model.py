"""A client's tasks and its model at the start of a run, as its scenario entry asks for them."""

import logging
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Literal

from fmtl_datasets.scenarios.scenario import ClientEntry

from client_app.metrics.edge.protocol import EdgeProtocol
from client_app.model.multi_task_model import MultiTaskModel, build_model
from client_app.model.weights import load_encoder_weights
from client_app.tasks.base import Task
from client_app.tasks.dense import EdgeDetection
from client_app.tasks.objects import ObjectTask
from client_app.tasks.registry import get_task
from fmtl_strategies.flower_compat import log

_CACHED_MODELS = 8
"""Models kept by one process: as many clients as one simulation worker usually serves, 0.1 GB each for Swin-T."""


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
        tasks["edge"] = EdgeDetection(EdgeProtocol(max_distance=entry.edge_distance, workers=metric_workers))
    for name, task in tasks.items():
        if isinstance(task, ObjectTask):
            tasks[name] = type(task)(entry.smallest_anchor)
    return tasks


def prepare_model(entry: ClientEntry, num_classes: Mapping[str, int], seed: int) -> tuple[MultiTaskModel, str]:
    """Build a client's model as it is at the start of a run, with pretrained encoder weights where the entry has them.

    Args:
        entry: the client.
        num_classes: class counts of its data set by task.
        seed: seed of the run.

    Returns:
        The model, on the CPU in float32, and which pretrained weights were loaded: file, keys matched, hash.

    Raises:
        ValueError: the entry's encoder, sizes or weights cannot be used; a subclass says why.
    """
    model = _build(entry, num_classes, seed)
    source: Literal["none", "hub"] | Path = "hub" if entry.encoder_weights == "hub" else entry.weights_path() or "none"
    allow_unmatched = entry.allow_unmatched_weights == "true"
    report = load_encoder_weights(model.encoder, entry.encoder, source, allow_unmatched=allow_unmatched)
    if report.matched:
        log(logging.INFO, "%s: %s", entry.name, report.summary())
    return model, report.summary()


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
    modules = {name: task.modules(num_classes) for name, task in client_tasks(entry).items()}
    model = build_model(entry.encoder, modules, entry.image_size, decoder_width=entry.decoder_width, seed=seed)
    if entry.batch_norm == "eval":
        model.encoder.freeze_batch_norm_statistics()
    return model
