"""Dividing a data set's training images between clients.

``reference_partition`` reproduces the client partition of FedHCA2 (methods 3.5), so that a run can use the same images
for the same client as the published tables. ``disjoint_part`` and ``fraction_part`` cut one seeded shuffle and need to
know nothing of the other clients: two sites that name the same seed get disjoint images without talking to each other.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Indices = npt.NDArray[np.int64]


@dataclass(frozen=True)
class DatasetBlock:
    """The clients of one data set in a reference scenario.

    Attributes:
        dataset: name of the data set.
        images: number of its training images.
        clients: number of clients that divide them.
    """

    dataset: str
    images: int
    clients: int


PASCAL_TRAIN_IMAGES = 4998
NYUD_TRAIN_IMAGES = 795

REFERENCE_SCENARIOS: dict[str, tuple[DatasetBlock, ...]] = {
    "pascal_st_nyud_mt_1c": (
        DatasetBlock("pascal", PASCAL_TRAIN_IMAGES, 5),
        DatasetBlock("nyud", NYUD_TRAIN_IMAGES, 1),
    ),
    "pascal_st_nyud_mt_2c": (
        DatasetBlock("pascal", PASCAL_TRAIN_IMAGES, 10),
        DatasetBlock("nyud", NYUD_TRAIN_IMAGES, 2),
    ),
    "pascal_st_nyud_mt_4c": (
        DatasetBlock("pascal", PASCAL_TRAIN_IMAGES, 20),
        DatasetBlock("nyud", NYUD_TRAIN_IMAGES, 4),
    ),
    "nyud_st_pascal_mt_1c": (
        DatasetBlock("nyud", NYUD_TRAIN_IMAGES, 4),
        DatasetBlock("pascal", PASCAL_TRAIN_IMAGES, 1),
    ),
}
"""The published scenarios: the block of single-task clients first, then the multi-task block."""


def reference_partition(blocks: Sequence[DatasetBlock], *, seed: int = 0) -> list[list[Indices]]:
    """FedHCA2's partition: one permutation per data set, cut into nearly equal parts.

    One legacy NumPy random state serves all data sets in the order of the blocks, as the authors' global seeding does;
    exchanging two blocks therefore changes both.

    Args:
        blocks: the data sets in scenario order.
        seed: seed of the random state; the published runs use 0.

    Returns:
        For each block, for each of its clients, indices into the data set's training list.

    Raises:
        ValueError: a block with fewer images than clients, or without clients.
    """
    state = np.random.RandomState(seed)
    return [_cut(state.permutation(block.images), block.clients, block.dataset) for block in blocks]


def _cut(order: npt.NDArray[np.int_], parts: int, what: str) -> list[Indices]:
    if parts < 1 or len(order) < parts:
        raise ValueError(f"{what}: {len(order)} images cannot be divided between {parts} clients.")
    return [part.astype(np.int64) for part in np.array_split(order, parts)]


def disjoint_part(n: int, part: int, of: int, seed: int, after: Sequence[int] = ()) -> Indices:
    """One of ``of`` nearly equal parts of a seeded shuffle of ``n`` images.

    Parts of the same ``n``, ``of`` and ``seed`` are disjoint and cover everything; sizes differ by one at most, the
    longer ones first. With one data set this is the reference partition.

    Args:
        n: number of images.
        part: which part, from 0.
        of: number of parts.
        seed: seed of the shuffle.
        after: lengths of the lists that the same random state shuffles before.

    Returns:
        Indices in shuffled order, so that the first k of them are a random choice.

    Raises:
        ValueError: no such part, or more parts than images.
    """
    if not 0 <= part < of:
        raise ValueError(f"part = {part} of {of} does not exist; parts count from 0 to {of - 1}.")
    return _cut(_shuffled(n, seed, after), of, "share")[part]


def fraction_part(n: int, start: float, fraction: float, seed: int, after: Sequence[int] = ()) -> Indices:
    """The images between two fractions of a seeded shuffle of ``n`` images.

    A border at fraction f lies at index round(f n), wherever it is seen from, so touching fractions are disjoint.

    Args:
        n: number of images.
        start: where the part begins, 0 <= start < 1.
        fraction: its length, start + fraction <= 1.
        seed: seed of the shuffle.
        after: lengths of the lists that the same random state shuffles before.

    Returns:
        Indices in shuffled order.

    Raises:
        ValueError: a part outside the list, or one that holds no image.
    """
    tolerance = 1e-9
    if not (0 <= start < 1 and 0 < fraction <= 1 and start + fraction <= 1 + tolerance):
        raise ValueError(f"share: start = {start} and fraction = {fraction} do not lie within the list (0 to 1).")
    first, last = (round(min(border, 1.0) * n) for border in (start, start + fraction))
    if last <= first:
        raise ValueError(f"share: a fraction of {fraction} of {n} images holds no image; give a larger fraction.")
    return _shuffled(n, seed, after)[first:last].astype(np.int64)


def _shuffled(n: int, seed: int, after: Sequence[int]) -> npt.NDArray[np.int_]:
    state = np.random.RandomState(seed)
    for length in after:
        state.permutation(length)
    return state.permutation(n)
