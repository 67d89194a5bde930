"""A client's data splits and transforms, as its scenario entry asks for them."""

import os
from functools import lru_cache
from pathlib import Path

import torch
from fmtl_datasets.registry import open_split
from fmtl_datasets.scenarios.scenario import ClientEntry
from fmtl_datasets.transforms.transforms import evaluation_transform, to_batch, training_transform

from client_app.model.encoder import require_other_size
from client_app.training.batches import LocalData

_CACHED_CLIENTS = 16
_MOST_THREADS = 8


@lru_cache(maxsize=_CACHED_CLIENTS)
def local_data(entry: ClientEntry, cache: Path | None = None) -> LocalData:
    """Open a client's splits; one process opens the same entry once, for a simulation's workers serve many rounds.

    Args:
        entry: the client.
        cache: folder for labels that are derived from the data set's files; None to derive them at every access.

    Raises:
        ValueError: the entry's data cannot be used; a subclass says what is missing.
        FileNotFoundError: a file of the data set is missing.
    """
    train, scored = open_split(entry, "train", cache).samples, open_split(entry, "validation", cache)
    if scored.size != entry.image_size:
        require_other_size(entry.encoder, entry.image_size, scored.size)
    if len(train) == 0:
        raise ValueError(f"client {entry.name} has no training images; give it a larger share of {entry.dataset}")
    return LocalData(
        train=train,
        validation=scored.samples,
        augment=training_transform(entry.augment, entry.image_size, entry.normalisation),
        prepare=evaluation_transform(scored.size, entry.normalisation),
        collate=to_batch,
        num_classes=train.num_classes,
        threads=_threads(entry.device),
    )


def _threads(device: str) -> int:
    """Return how many samples to prepare beside a GPU; a CPU that trains has no cores to spare."""
    if device == "cpu" or not torch.cuda.is_available():
        return 0
    return min(len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1, _MOST_THREADS)
