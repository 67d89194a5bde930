"""Comparing arrays bit by bit: 0 and -0 differ, NaN equals itself."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

_BLOCK_BYTES = 1 << 18


def same_bits(one: npt.NDArray[np.generic], other: npt.NDArray[np.generic]) -> bool:
    """Return whether two contiguous arrays of the same size and dtype hold the same bits; stops at a difference."""
    first, second = one.reshape(-1).view(np.uint8), other.reshape(-1).view(np.uint8)
    starts = range(0, first.size, _BLOCK_BYTES)
    return all(np.array_equal(first[i : i + _BLOCK_BYTES], second[i : i + _BLOCK_BYTES]) for i in starts)
