"""Batches of a data split, in an order and with an augmentation that depend on nothing but the seeds."""

from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch

from client_app.training.seeds import numpy_generator, torch_generator

Sample = dict[str, Any]
Batch = dict[str, Any]
"""`image` and a label for each task: a tensor, or for an object task a list with one label for each image."""
_BATCHES_AHEAD = 2


class Samples(Protocol):
    """A data split: samples by index, before any transform."""

    def __len__(self) -> int:
        """Number of samples."""
        ...

    def __getitem__(self, index: int, /) -> Sample:
        """Return one sample."""
        ...


@dataclass(frozen=True)
class LocalData:
    """A client's two splits and how samples become batches.

    Attributes:
        train, validation: the splits.
        augment: training transform of one sample; draws from the generator only.
        prepare: evaluation transform of one sample.
        collate: list of transformed samples to one batch of tensors.
        num_classes: class counts of the data set by task.
        threads: samples prepared at the same time; 0 prepares them in the training loop.
    """

    train: Samples
    validation: Samples
    augment: Callable[[Sample, torch.Generator], Sample]
    prepare: Callable[[Sample], Sample]
    collate: Callable[[list[Sample]], Batch]
    num_classes: Mapping[str, int]
    threads: int = 0


def epoch_order(count: int, batch_size: int, generator: np.random.Generator) -> list[list[int]]:
    """Return the sample indices of every batch of one epoch over `count` samples.

    An incomplete last batch is left out (methods.md section 5); a split smaller than one batch is one batch.
    """
    order = generator.permutation(count).tolist()
    size = min(batch_size, count)
    return [order[start : start + size] for start in range(0, count - size + 1, size)]


def training_batches(data: LocalData, batch_size: int, seed: Sequence[int | str]) -> Iterator[Batch]:
    """Yield the batches of one training epoch.

    Args:
        data: the client's data.
        batch_size: samples in a batch.
        seed: parts of the epoch's seed: run seed, client, round, epoch.
    """
    order = epoch_order(len(data.train), batch_size, numpy_generator(*seed, "order"))

    def load(index: int) -> Sample:
        return data.augment(data.train[index], torch_generator(*seed, "augment", index))

    yield from _collated(order, load, data)


def evaluation_batches(data: LocalData, batch_size: int) -> Iterator[Batch]:
    """Yield the validation split in its own order, the last batch as large as what is left."""
    count = len(data.validation)
    order = [list(range(start, min(start + batch_size, count))) for start in range(0, count, batch_size)]

    def load(index: int) -> Sample:
        return data.prepare(data.validation[index])

    yield from _collated(order, load, data)


def to_device(batch: Mapping[str, Any], device: torch.device) -> Batch:
    """Move a batch to a device; to a GPU tensors go through pinned memory, images in channels-last layout."""
    if device.type == "cpu":
        return dict(batch)
    moved = {name: _moved(value, device) for name, value in batch.items()}
    moved["image"] = moved["image"].contiguous(memory_format=torch.channels_last)
    return moved


def _moved(value: Any, device: torch.device) -> Any:
    if isinstance(value, list):
        return [label.to(device) for label in value]
    return value.pin_memory().to(device, non_blocking=True)


def _collated(order: list[list[int]], load: Callable[[int], Sample], data: LocalData) -> Iterator[Batch]:
    if data.threads == 0:
        for indices in order:
            yield data.collate([load(index) for index in indices])
        return
    with ThreadPoolExecutor(data.threads) as pool:
        waiting: deque[list[Future[Sample]]] = deque()
        try:
            for indices in order:
                waiting.append([pool.submit(load, index) for index in indices])
                if len(waiting) > _BATCHES_AHEAD:
                    yield data.collate([sample.result() for sample in waiting.popleft()])
            while waiting:
                yield data.collate([sample.result() for sample in waiting.popleft()])
        finally:
            pool.shutdown(wait=False, cancel_futures=True)
