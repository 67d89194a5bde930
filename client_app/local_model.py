"""A client's tasks and its model at the start of a run, as its scenario entry asks for them."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Literal

from flwr.common.logger import log

from client_app.metrics.edge.protocol import EdgeProtocol
from client_app.model import ModelConfig, MultiTaskModel, build_model, set_encoder_batch_norm_eval
from client_app.model.weights import load_encoder_weights
from client_app.tasks import Task, get_task
from client_app.tasks.edge import EdgeDetection
from client_app.training.vectors import group_layouts
from datasets.scenario import ClientEntry
from fmtl_strategies.contract.layout import GroupLayout

_CACHED_LAYOUTS = 64


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
    return tasks


def prepare_model(
    entry: ClientEntry, num_classes: Mapping[str, int], seed: int, *, pretrained: bool = True
) -> PreparedModel:
    """Build a client's model as it is at the start of a run.

    Args:
        entry: the client.
        num_classes: class counts of its data set by task.
        seed: seed of the run.
        pretrained: load the encoder's weights; False where kept parameters replace them anyway.

    Raises:
        ValueError: the entry's encoder, sizes or weights cannot be used; a subclass says why.
    """
    channels = {name: task.output_channels(num_classes) for name, task in client_tasks(entry).items()}
    config = ModelConfig(
        encoder=entry.encoder,
        tasks=entry.tasks,
        out_channels=channels,
        image_size=entry.image_size,
        decoder_width=entry.decoder_width,
        seed=seed,
    )
    model = build_model(config)
    report = load_encoder_weights(model.encoder, entry.encoder, _weights_source(entry) if pretrained else "none")
    if report.matched:
        log(logging.INFO, "%s: %s", entry.name, report.summary())
    if entry.batch_norm == "eval":
        set_encoder_batch_norm_eval(model)
    return PreparedModel(model, report.summary())


def _weights_source(entry: ClientEntry) -> Literal["none", "hub"] | Path:
    if entry.encoder_weights == "hub":
        return "hub"
    return entry.weights_path() or "none"


@lru_cache(maxsize=_CACHED_LAYOUTS)
def model_layouts(entry: ClientEntry, num_classes: tuple[tuple[str, int], ...]) -> dict[str, GroupLayout]:
    """Return the layout of every group of a client's model.

    Args:
        entry: the client.
        num_classes: class counts of its data set as (task, count) pairs.
    """
    return group_layouts(prepare_model(entry, dict(num_classes), seed=0, pretrained=False).model)
