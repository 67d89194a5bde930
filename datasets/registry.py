"""From a client's entry in a scenario to its data."""

from __future__ import annotations

import logging
from typing import Literal

import numpy as np

from datasets.memory import InMemory, Resized, SampleDataset
from datasets.nyud import Nyud, read_list
from datasets.partition import Indices, disjoint_part, fraction_part
from datasets.procedural import ProceduralScenes
from datasets.scenario import ClientEntry, ScenarioError, Share

Split = Literal["train", "validation"]

FIRST_VALIDATION_SCENE = 2**30
"""Procedural scenes from this index on are for validation; training never reaches it."""

KEEP_BYTES = 1 << 30
"""A split that needs more memory than this when decoded is decoded anew at every access."""

logger = logging.getLogger(__name__)


def open_dataset(entry: ClientEntry, split: Split) -> SampleDataset:
    """The training or validation images of a client, with the labels of its tasks.

    Training and validation never share an image, nor do the training images of two clients that divide one pool.
    With ``fit: resize`` every sample has the entry's image size; with ``fit: pad`` it has its native size and the
    transforms bring it to the image size.

    Args:
        entry: the client; its ``share`` must be filled in, as a loaded scenario does (none means everything).
        split: ``train`` or ``validation``.

    Returns:
        The data set.

    Raises:
        ScenarioError: more images asked for than there are.
        FileNotFoundError: files are missing.
        ValueError: unknown split.
    """
    if split not in ("train", "validation"):
        raise ValueError(f"split = {split!r} is not known; expected train or validation.")
    return _procedural(entry, split) if entry.dataset == "procedural" else _nyud(entry, split)


def procedural_indices(entry: ClientEntry, split: Split) -> range:
    """Scene numbers of a client: every ``of``-th, beginning with its part, so the supply of a client never ends.

    The numbers do not depend on the domain: scene i of both domains comes from the same draws.
    """
    share = entry.share or Share(part=0, of=1)
    count = entry.train_images if split == "train" else entry.validation_images
    if share.part is None or share.of is None or count is None:
        raise ScenarioError(f"client {entry.name}: dataset procedural needs a share by part and numbers of images.")
    first = share.part + (0 if split == "train" else FIRST_VALIDATION_SCENE)
    if split == "train" and first + count * share.of > FIRST_VALIDATION_SCENE:
        raise ScenarioError(
            f"client {entry.name}: train-images = {count} in {share.of} parts is more than the "
            f"{FIRST_VALIDATION_SCENE} training scenes; ask for fewer."
        )
    return range(first, first + count * share.of, share.of)


def _procedural(entry: ClientEntry, split: Split) -> SampleDataset:
    scenes: SampleDataset = ProceduralScenes(
        entry.tasks,
        domain=entry.domain or "indoor",
        indices=procedural_indices(entry, split),
        seed=entry.data_seed,
        size=entry.image_size,
    )
    return scenes


def _nyud(entry: ClientEntry, split: Split) -> SampleDataset:
    root = entry.data_path()
    image_list = "train" if split == "train" else entry.validation_list or "val"
    available = len(read_list(root, image_list))
    indices = _train_indices(entry, available) if split == "train" else _validation_indices(entry, available)
    images = Nyud(root, entry.tasks, image_list=image_list, indices=indices)
    logger.info("client %s: NYUD-v2 variant %s, %d %s images", entry.name, images.variant.name, len(images), split)
    dataset: SampleDataset = Resized(images, entry.image_size) if entry.fit == "resize" else images
    if len(images) * _bytes_per_image(entry) <= KEEP_BYTES:
        return InMemory(dataset)
    logger.info("client %s: too many %s images to keep in memory; decoding at every access", entry.name, split)
    return dataset


def _train_indices(entry: ClientEntry, available: int) -> Indices:
    share = entry.share or Share(part=0, of=1)
    if share.start is not None and share.fraction is not None:
        indices = fraction_part(available, share.start, share.fraction, entry.data_seed)
    else:
        indices = disjoint_part(available, share.part or 0, share.of or 1, entry.data_seed)
    return _first(indices, entry.train_images, entry.name, "train-images")


def _validation_indices(entry: ClientEntry, available: int) -> Indices:
    """The whole list in its order, or the first few of a shuffle (the list is sorted by scene)."""
    if entry.validation_images is None:
        return np.arange(available, dtype=np.int64)
    return _first(
        disjoint_part(available, 0, 1, entry.data_seed), entry.validation_images, entry.name, "validation-images"
    )


def _first(indices: Indices, count: int | None, client: str, key: str) -> Indices:
    if count is not None and count > len(indices):
        raise ScenarioError(
            f"client {client}: {key} = {count}, but its data has only {len(indices)} images; "
            f"ask for at most that many, or leave {key} out."
        )
    return indices[:count]


def _bytes_per_image(entry: ClientEntry) -> int:
    height, width = entry.image_size
    bytes_per_pixel = {"normals": 6, "depth": 4}
    return height * width * (3 + sum(bytes_per_pixel.get(task, 1) for task in entry.tasks))
