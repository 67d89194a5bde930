"""What a reproduction does, counted without running it: images, and bytes on the wire."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

import torch
from fmtl_datasets.registry import open_dataset, share_indices
from fmtl_datasets.scenarios.scenario import ClientEntry, ScenarioError
from fmtl_datasets.shared.source import DataFileError, DataLayoutError, Source

from client_app.model.multi_task_model import build_model
from client_app.round.local_model import client_tasks
from client_app.training.loop import phases_of
from client_app.training.vectors import buffer_layouts, group_layouts
from fmtl.errors import SettingError
from fmtl.reproduce.needs import open_data
from fmtl.reproduce.plan import Reproduction
from fmtl.reproduce.published_table import Table
from fmtl.sweeps.plan import Job
from fmtl_strategies.building_blocks.wrapping import WrappingStrategy
from fmtl_strategies.contract.groups import kind_of
from fmtl_strategies.contract.layout import GroupLayout
from fmtl_strategies.contract.profile import PROTOCOL_VERSION, ClientProfile, TaskProfile
from fmtl_strategies.contract.rule import LocalRule
from fmtl_strategies.registry import make_strategy
from fmtl_strategies.round.base import PersonalizedStrategy
from server_app.config import RunConfig, parse_run_config

_FLOAT = 4

Client = tuple[ClientEntry, ClientProfile]
"""A client of a scenario, and what it would say of itself."""


@dataclass(frozen=True)
class RunCounts:
    """One run.

    Attributes:
        images_trained: images read for training.
        images_scored: images read for scores.
        bytes_up: from all clients, without message frames.
        bytes_down: to all clients, without message frames.
    """

    images_trained: int
    images_scored: int
    bytes_up: int
    bytes_down: int


def clients_of(work: Reproduction) -> dict[str, tuple[Client, ...]]:
    """Describe the clients of every scenario; models are built without memory for their values.

    Numbers of images are those of the data on disk, and of the table's file where that is not there.

    Raises:
        SettingError: neither says how many images a data set has.
    """
    return {
        scenario: tuple((entry, _profile(work.table, entry)) for entry in sweep.scenario.clients)
        for scenario, sweep in work.sweeps.items()
    }


def count(job: Job, clients: Sequence[Client]) -> RunCounts:
    """Count what one run does, from its settings, its strategy's rule and its clients' models."""
    config, parameters = parse_run_config(job.values)
    strategy = make_strategy(config.strategy, config, parameters)
    evaluations = (config.local.total_rounds - 1) // config.rounds.evaluate_every + 1
    trained = up = down = 0
    for entry, profile in clients:
        rule = strategy.local_rule(profile, 1)
        models = 1 if rule.personal is None else 2
        passes = sum(phase.passes for phase in phases_of(rule)) * models
        steps = config.local.total_rounds * entry.local_epochs * passes
        steps *= max(1, profile.train_examples // entry.batch_size)
        trained += steps * min(entry.batch_size, profile.train_examples)
        client_up, client_down = _wire(strategy, config, profile, rule)
        up += client_up
        down += client_down
    scored = evaluations * sum(profile.validation_examples for _, profile in clients)
    return RunCounts(trained, scored, up, down)


def _profile(table: Table, entry: ClientEntry) -> ClientProfile:
    train, validation, classes = _images(table, entry)
    return ClientProfile(
        protocol=PROTOCOL_VERSION,
        client=entry.name,
        dataset=entry.dataset,
        encoder=entry.encoder,
        tasks=tuple(
            TaskProfile(name=name, metric=task.metric_name, higher_is_better=task.higher_is_better)
            for name, task in client_tasks(entry).items()
        ),
        train_examples=train,
        validation_examples=validation,
        local_epochs=entry.local_epochs,
        groups=_layouts(entry.model_copy(update={"name": "any", "share": None}), tuple(sorted(classes.items()))),
        weights_report="",
        versions={},
    )


@lru_cache(maxsize=32)
def _layouts(entry: ClientEntry, classes: tuple[tuple[str, int], ...]) -> dict[str, GroupLayout]:
    """The layout of every group of a client's model, which is built without memory for its values."""
    with torch.device("meta"):
        modules = {name: task.modules(dict(classes)) for name, task in client_tasks(entry).items()}
        model = build_model(entry.encoder, modules, entry.image_size, decoder_width=entry.decoder_width)
    return group_layouts(model) | buffer_layouts(model)


def _images(table: Table, entry: ClientEntry) -> tuple[int, int, Mapping[str, int]]:
    """Training images, validation images, class counts."""
    if entry.dataset == "procedural":
        images = open_dataset(entry, "train")
        return len(images), entry.validation_images or 0, images.num_classes
    if source := _source(entry):
        train = len(source.ids(entry.train_list or source.lists[0]))
        scored = entry.validation_list or (source.lists[1] if len(source.lists) > 1 else None)
        return (*_shares(entry, train, len(source.ids(scored)) if scored else 0), source.num_classes)
    facts = table.data.get(entry.dataset)
    if facts is None:
        raise SettingError(
            f"{table.path}: {entry.dataset} is not there, and the table has no [data.{entry.dataset}] that says how "
            f"many images it has."
        )
    return (*_shares(entry, facts.train, facts.validation), facts.classes)


def _source(entry: ClientEntry) -> Source | None:
    try:
        return open_data(entry)
    except (ScenarioError, DataLayoutError, DataFileError):
        return None


def _shares(entry: ClientEntry, train: int, validation: int) -> tuple[int, int]:
    """A client's training and validation images, from those of the lists."""
    own = len(share_indices(entry, train))
    if entry.own_validation is not None:
        held_out = max(1, round(own * entry.own_validation))
        own -= held_out
        validation = held_out if entry.validation_list is None else validation
    return min(own, entry.train_images or own), min(validation, entry.validation_images or validation)


def _wire(
    strategy: PersonalizedStrategy, config: RunConfig, profile: ClientProfile, rule: LocalRule
) -> tuple[int, int]:
    """Bytes that a client sends and gets over the run; it gets its models once more to be scored at the end."""
    sizes = {group: profile.groups[group].size for group in strategy.shared_groups(profile)}
    bytes_per_value = _FLOAT if config.rounds.upload_format == "float32" else 2
    up = float(sum(sizes.values()) * bytes_per_value)
    if rule.sparsify is not None:
        masked = sum(size for group, size in sizes.items() if kind_of(group) != "buffers")
        kept = rule.sparsify.fraction * masked * bytes_per_value + masked / 8
        up = up - masked * bytes_per_value + min(kept, masked * bytes_per_value)
    down = sum(sizes.values()) * _FLOAT * (config.local.total_rounds + 1)
    inner = strategy.wrapped if isinstance(strategy, WrappingStrategy) else strategy
    if type(inner).anchors is not PersonalizedStrategy.anchors:
        down += sizes.get("encoder", 0) * _FLOAT * (config.local.total_rounds - 1)
    return round(up) * config.local.total_rounds, down
