"""Boundaries between the regions of a label map: its Laplacian is not 0, thinned to lines one pixel wide."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import ndimage

Array = npt.NDArray[Any]
Binary = npt.NDArray[np.bool_]

# East first, then counter-clockwise (rows grow downwards), as the literature numbers the neighbours x1 .. x8.
NEIGHBOURS = ((0, 1), (-1, 1), (-1, 0), (-1, -1), (0, -1), (1, -1), (1, 0), (1, 1))


def boundaries(regions: Array) -> Binary:
    """Where a label map changes.

    Args:
        regions: (H, W) integers, one number per region.

    Returns:
        (H, W) bool, thinned. Before thinning a pixel is a boundary where the sum of its four neighbours differs from
        four times its own number (3 x 3 Laplacian, the image mirrored at its outermost pixels). That is the published
        rule: it depends on the numbers, and misses the rare pixel whose neighbours cancel out.
    """
    laplacian = ndimage.laplace(regions.astype(np.int64), mode="mirror")
    return thin(laplacian != 0)


def thin(binary: Binary) -> Binary:
    """Thin lines until nothing changes.

    Args:
        binary: (H, W) bool.

    Returns:
        (H, W) bool, connected as the input is. Source: Guo and Hall 1989, two sub-iterations, conditions G1, G2, G3
        and G3' as the documentation of MATLAB's bwmorph states them.
    """
    padded = np.pad(binary, 1).astype(np.uint8)
    flat = padded.ravel()
    offsets = [rows * padded.shape[1] + columns for rows, columns in NEIGHBOURS]
    pixels = np.flatnonzero(flat)
    changed = True
    while changed:
        changed = False
        for is_deletable in _DELETABLE:
            codes = np.zeros(pixels.size, dtype=np.uint8)
            for bit, offset in enumerate(offsets):
                codes |= flat[pixels + offset] << bit
            deleted = is_deletable[codes]
            flat[pixels[deleted]] = 0
            pixels = pixels[~deleted]
            changed = changed or bool(deleted.any())
    return padded[1:-1, 1:-1].astype(np.bool_)


def _deletable_codes() -> tuple[Binary, Binary]:
    """For each of the 256 neighbourhoods, whether the first and the second sub-iteration delete its centre."""
    x = [(np.arange(256) >> bit) & 1 == 1 for bit in range(8)]
    crossings = sum((~x[i] & (x[i + 1] | x[(i + 2) % 8])).astype(int) for i in (0, 2, 4, 6))
    pairs_1 = sum((x[i] | x[i + 1]).astype(int) for i in (0, 2, 4, 6))
    pairs_2 = sum((x[i + 1] | x[(i + 2) % 8]).astype(int) for i in (0, 2, 4, 6))
    pairs = np.minimum(pairs_1, pairs_2)
    on_a_side = (crossings == 1) & (pairs >= 2) & (pairs <= 3)
    first = on_a_side & ~((x[1] | x[2] | ~x[7]) & x[0])
    second = on_a_side & ~((x[5] | x[6] | ~x[3]) & x[4])
    return first, second


_DELETABLE = _deletable_codes()
