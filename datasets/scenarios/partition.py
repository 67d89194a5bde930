"""Dividing a data set's training images between clients.

``disjoint_part`` and ``fraction_part`` cut one seeded shuffle and need to know nothing of the other clients: two sites
that name the same seed get disjoint images without talking to each other.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

Indices = npt.NDArray[np.int64]


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
    if n < of:
        raise ValueError(f"share: {n} images cannot be divided between {of} clients.")
    return np.array_split(_shuffled(n, seed, after), of)[part].astype(np.int64)


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
