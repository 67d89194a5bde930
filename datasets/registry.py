"""From a client's entry in a scenario to its data."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Literal

import numpy as np
from fmtl_datasets.catalogue import DATA_SETS
from fmtl_datasets.scenarios.partition import Indices, disjoint_part, fraction_part
from fmtl_datasets.scenarios.scenario import ClientEntry, ScenarioError, Share
from fmtl_datasets.shared.conventions import LABEL_KINDS
from fmtl_datasets.shared.image_sizes import Size, image_sizes, require_trainable, scored_size
from fmtl_datasets.shared.memory import InMemory
from fmtl_datasets.shared.source import SampleDataset, Source, SourceSettings
from fmtl_datasets.sources.procedural import ProceduralScenes
from fmtl_datasets.transforms.resizing import Resized

Split = Literal["train", "validation"]

SOURCES = {name: known.source for name, known in DATA_SETS.items() if known.source is not None}
"""Data sets on disk: the module whose function ``open_source`` reads a folder of that kind."""

FIRST_VALIDATION_SCENE = 2**30
"""Procedural scenes from this index on are for validation; training never reaches it."""

KEEP_BYTES = 1 << 30
"""A split that needs more memory than this when decoded is decoded anew at every access."""

OBJECTS_PER_IMAGE = 8
"""What a mask for each object is counted as when the memory of a split is estimated (COCO has 7.3 objects an image)."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class OpenSplit:
    """One split of a client.

    Attributes:
        samples: images and labels.
        size: height and width that the transforms bring them to. For validation images of a client with ``fit: pad``
            it may be larger than the entry's image size.
    """

    samples: SampleDataset
    size: Size


def open_source(dataset: str, settings: SourceSettings) -> Source:
    """Open a data set on disk by the name that scenarios use.

    Raises:
        ValueError: no such data set.
        DataLayoutError: the folder does not hold it.
    """
    if dataset not in SOURCES:
        raise ValueError(f"dataset = {dataset!r} is not one that is read from disk; known: {', '.join(SOURCES)}.")
    source: Source = import_module(SOURCES[dataset]).open_source(settings)
    return source


def open_dataset(entry: ClientEntry, split: Split, cache: Path | None = None) -> SampleDataset:
    """The training or validation images of a client, with the labels of its tasks.

    Training and validation never share an image, nor do the training images of two clients that divide one pool.
    With ``fit: resize`` every sample has the entry's image size, with ``inside`` at most that; with ``pad`` it has its
    native size. :func:`open_split` also says which size the transforms are to bring it to.

    Args:
        entry: the client; its ``share`` must be filled in, as a loaded scenario does (none means everything).
        split: ``train`` or ``validation``.
        cache: folder for labels that are derived from the data set's files; None to derive them at every access.

    Returns:
        The data set.

    Raises:
        ScenarioError: more images asked for than there are, an unknown list, tasks the data does not give, or images
            that are too large for ``fit: pad``.
        FileNotFoundError: files are missing.
        ValueError: unknown split.
    """
    return open_split(entry, split, cache).samples


def open_split(entry: ClientEntry, split: Split, cache: Path | None = None) -> OpenSplit:
    """The images of :func:`open_dataset`, with the size that the transforms are to bring them to."""
    if split not in ("train", "validation"):
        raise ValueError(f"split = {split!r} is not known; expected train or validation.")
    if entry.dataset == "procedural":
        return OpenSplit(_procedural(entry, split), entry.image_size)
    return _on_disk(entry, split, cache)


def class_names(entry: ClientEntry) -> Mapping[str, tuple[str, ...]]:
    """Names of a client's classes by task, for those tasks whose classes have names."""
    if entry.dataset == "procedural":
        return ProceduralScenes.class_names
    return open_source(entry.dataset, _settings(entry, None)).class_names


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


def _on_disk(entry: ClientEntry, split: Split, cache: Path | None) -> OpenSplit:
    source = open_source(entry.dataset, SourceSettings(entry.data_path(), cache, entry.parts_flags, entry.stuff_labels))
    missing = [task for task in entry.tasks if task not in source.tasks]
    if missing:
        raise ScenarioError(
            f"client {entry.name}: {source.summary} in {entry.data_path()} has no {', '.join(missing)}; "
            f"it offers {', '.join(source.tasks)}."
        )
    image_list, indices = selected_indices(entry, source, split)
    images = source.open(entry.tasks, image_list, indices)
    size = _padded_size(entry, source, split, (image_list, indices))
    logger.info("client %s: %s, %d %s images of list %s", entry.name, source.summary, len(images), split, image_list)
    dataset = images if entry.fit == "pad" else Resized(images, entry.image_size, entry.fit)
    if len(images) * _bytes_per_image(entry, size) <= KEEP_BYTES:
        return OpenSplit(InMemory(dataset), size)
    logger.info("client %s: too many %s images to keep in memory; decoding at every access", entry.name, split)
    return OpenSplit(dataset, size)


def require_fitting(entry: ClientEntry, source: Source) -> None:
    """Refuse a client whose images are too large for ``fit: pad``, before it opens them; reads only their heads.

    Raises:
        ScenarioError: an image is too large, or what :func:`selected_indices` refuses.
        DataFileError: a file is no image.
    """
    splits: tuple[Split, ...] = ("validation",) if entry.augment == "reference" else ("train", "validation")
    for split in splits if entry.fit == "pad" else ():
        _padded_size(entry, source, split, selected_indices(entry, source, split))


def _padded_size(entry: ClientEntry, source: Source, split: Split, chosen: tuple[str, Indices]) -> Size:
    """The size that the images of a split are padded to, once they are known to be small enough."""
    if entry.fit != "pad" or (split == "train" and entry.augment == "reference"):
        return entry.image_size
    sizes = image_sizes(source, *chosen)
    if split == "train":
        require_trainable(entry, sizes)
        return entry.image_size
    size = scored_size(entry, sizes)
    if size != entry.image_size:
        logger.info("client %s: images larger than image-size; all are scored at %d x %d", entry.name, *size)
    return size


def _settings(entry: ClientEntry, cache: Path | None) -> SourceSettings:
    return SourceSettings(entry.data_path(), cache, entry.parts_flags, entry.stuff_labels)


def selected_indices(entry: ClientEntry, source: Source, split: Split) -> tuple[str, Indices]:
    """The name of the image list and the positions in it that a client trains or is scored on.

    Raises:
        ScenarioError: an unknown list, lists with images in common, or more images asked for than there are.
        ValueError: the list is too short for the share.
    """
    if split == "validation" and (entry.own_validation is None or entry.validation_list is not None):
        return _validation_indices(entry, source)
    training, own, held_out = _own_images(entry, source)
    if split == "validation":
        return training, _first(held_out, entry.validation_images, entry.name, "validation-images")
    # The published code drops images without a label after it has cut the shares, so shares stay as published.
    usable = source.usable(training, own, entry.tasks)
    return training, _first(usable, entry.train_images, entry.name, "train-images")


def reserved_indices(entry: ClientEntry, source: Source) -> tuple[str, Indices]:
    """The training list of a client, and the positions in it of its share: what it trains on, or could train on.

    Images without a label for its tasks and those beyond ``train-images`` are among them, images held out are not.
    """
    training, own, _ = _own_images(entry, source)
    return training, own


def _own_images(entry: ClientEntry, source: Source) -> tuple[str, Indices, Indices]:
    """The training list, the positions that are the client's to train on, and those that it holds out."""
    training = _training_list(entry, source)
    own = share_indices(entry, len(source.ids(training)))
    held_out = 0 if entry.own_validation is None else max(1, round(len(own) * entry.own_validation))
    return training, own[: len(own) - held_out], own[len(own) - held_out :]


def share_indices(entry: ClientEntry, available: int) -> Indices:
    """Positions, in a training list of so many images, of those that belong to a client, in shuffled order.

    Raises:
        ValueError: the list is too short for the share.
    """
    share = entry.share or Share(part=0, of=1)
    if share.start is not None and share.fraction is not None:
        return fraction_part(available, share.start, share.fraction, entry.data_seed, share.after)
    return disjoint_part(available, share.part or 0, share.of or 1, entry.data_seed, share.after)


def _training_list(entry: ClientEntry, source: Source) -> str:
    return _list(entry, source, "train-list", entry.train_list or source.lists[0])


def _validation_indices(entry: ClientEntry, source: Source) -> tuple[str, Indices]:
    """The whole list in its order, or the first few of a shuffle (lists are often sorted by scene)."""
    training = _training_list(entry, source)
    default = source.lists[1] if len(source.lists) > 1 else ""
    if not (entry.validation_list or default):
        raise ScenarioError(
            f"client {entry.name}: {source.summary} has no list of validation images. Add one, or set own-validation "
            f"(for example 0.1) to hold out a part of the client's own images."
        )
    image_list = _list(entry, source, "validation-list", entry.validation_list or default)
    _require_apart(entry, source, training, image_list)
    available = len(source.ids(image_list))
    if entry.validation_images is None:
        return image_list, np.arange(available, dtype=np.int64)
    shuffled = disjoint_part(available, 0, 1, entry.data_seed)
    return image_list, _first(shuffled, entry.validation_images, entry.name, "validation-images")


def _require_apart(entry: ClientEntry, source: Source, training: str, validation: str) -> None:
    """Refuse lists with images in common, those of other clients' shares too: federated models have seen them all."""
    trained = set(source.ids(training))
    common = [image_id for image_id in source.ids(validation) if image_id in trained]
    if common:
        raise ScenarioError(
            f"client {entry.name}: {len(common)} images of the validation list {validation!r}, {common[0]!r} the "
            f"first, are in the training list {training!r} too, so that scores would be too good. Choose lists "
            f"without common images (train-list, validation-list), or own-validation without a validation-list."
        )


def _list(entry: ClientEntry, source: Source, key: str, name: str) -> str:
    if name not in source.lists:
        raise ScenarioError(
            f"client {entry.name}: {key} = {name!r} is not a list of {source.summary} in {entry.data_path()}; "
            f"it has {', '.join(source.lists)}."
        )
    return name


def _first(indices: Indices, count: int | None, client: str, key: str) -> Indices:
    if count is not None and count > len(indices):
        raise ScenarioError(
            f"client {client}: {key} = {count}, but its data has only {len(indices)} images; "
            f"ask for at most that many, or leave {key} out."
        )
    return indices[:count]


def _bytes_per_image(entry: ClientEntry, size: Size) -> int:
    height, width = size
    per_pixel = {"classes": 1, "binary": 1, "vectors": 6, "metres": 4, "segments": 4, "objects": OBJECTS_PER_IMAGE}
    # An edge label may come with the drawings of its annotators, a bit for each in four bytes; keypoints have no map.
    special = {"edge": 5, "keypoints": 0}
    labels = sum(special.get(task, per_pixel[LABEL_KINDS[task]]) for task in entry.tasks)
    return height * width * (3 + labels)
