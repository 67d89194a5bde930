"""FedHCA2's client partition (methods 3.5), against which the published scenarios are checked."""

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
    """
    state = np.random.RandomState(seed)
    return [np.array_split(state.permutation(block.images), block.clients) for block in blocks]
