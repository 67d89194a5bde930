"""Describing the model that a client has just scored."""

from collections.abc import Mapping
from hashlib import sha256

from fmtl_datasets.registry import class_names

from client_app.round.local_model import client_tasks
from client_app.round.local_round import LocalRound
from client_app.saved_model.description import ModelDescription, SavedTask
from fmtl_strategies.contract.messages import Score


def describe(
    scored: LocalRound, after_round: int, scores: Mapping[str, Score], strategy: str, versions: Mapping[str, str]
) -> ModelDescription:
    """Describe the model that a client has just scored.

    Args:
        scored: the round whose model it is; the client has at least one validation image.
        after_round: the round whose result it is.
        scores: of every task.
        strategy: name of the run's strategy.
        versions: of packages.
    """
    entry, data = scored.entry, scored.data
    names = class_names(entry)
    size = data.prepare(data.validation[0])["image"].shape[-2:]
    tasks = {
        name: SavedTask(
            metric=task.metric_name,
            higher_is_better=task.higher_is_better,
            score=scores[name].value,
            missing_because=scores[name].missing_because,
            classes=names.get(name, ()),
        )
        for name, task in client_tasks(entry).items()
    }
    return ModelDescription(
        client=entry.name,
        strategy=strategy,
        experiment=scored.instruction.experiment,
        round=after_round,
        tasks=tasks,
        num_classes=dict(data.num_classes),
        encoder=entry.encoder,
        image_size=entry.image_size,
        scored_size=(int(size[0]), int(size[1])),
        decoder_width=entry.decoder_width,
        smallest_anchor=entry.smallest_anchor,
        normalisation=entry.normalisation,
        weights=str(entry.encoder_weights),
        entry_sha256=sha256(entry.model_dump_json().encode()).hexdigest(),
        versions=dict(versions),
    )
