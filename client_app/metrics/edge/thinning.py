"""Morphological thinning to convergence, all thresholds of an image at once.

Thinning decides about a pixel from its eight neighbours with and, or, not. So the binary maps of up to 64 thresholds
are held as the bits of one word per pixel, and every decision is taken for all of them by a few bitwise operations on
the pixels that any threshold predicts. Per map the result is that of the table look-up of MATLAB's bwmorph 'thin'.
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

Words = npt.NDArray[np.uint64]
WORD_BITS = 64
# East first, then counter-clockwise (rows grow downwards), as the literature numbers the neighbours x1 .. x8.
_NEIGHBOURS = ((0, 1), (-1, 1), (-1, 0), (-1, -1), (0, -1), (1, -1), (1, 0), (1, 1))


def pack_levels(levels: npt.NDArray[np.integer], count: int) -> Words:
    """Return the maps "levels > k" for k = 0 .. count-1 as bits, (ceil(count / 64), N) uint64, from levels (N,).

    Bit k % 64 of word k // 64 belongs to threshold k.
    """
    words = []
    for start in range(0, count, WORD_BITS):
        bits = np.clip(levels - start, 0, min(WORD_BITS, count - start)).astype(np.uint64)
        full = bits == WORD_BITS
        # A shift by the whole word is undefined, so the full word is set apart.
        partial = (np.uint64(1) << np.where(full, np.uint64(0), bits)) - np.uint64(1)
        words.append(np.where(full, np.uint64(2**WORD_BITS - 1), partial))
    return np.stack(words)


def unpack_map(words: Words, threshold: int) -> npt.NDArray[np.bool_]:
    """Return the (N,) binary map of one threshold out of packed (W, N) words."""
    word, bit = divmod(threshold, WORD_BITS)
    return np.asarray((words[word] >> np.uint64(bit)) & np.uint64(1), dtype=np.bool_)


def distinct_maps(words: Words, count: int) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.intp]]:
    """Return each distinct map of packed (W, N) words once, (D, N) bool, and (count,) which of them each threshold has.

    Neighbouring thresholds often give the same one; only equal neighbours are merged.
    """
    maps = np.stack([unpack_map(words, threshold) for threshold in range(count)])
    is_new = np.concatenate([[True], (maps[1:] != maps[:-1]).any(axis=1)])
    return maps[is_new], np.cumsum(is_new) - 1


def neighbour_indices(
    rows: npt.NDArray[np.intp], columns: npt.NDArray[np.intp], shape: tuple[int, int]
) -> npt.NDArray[np.intp]:
    """Return, for each listed pixel of an image (H, W), the list positions of its eight neighbours, (8, N).

    N stands for a neighbour that is not listed or lies outside.
    """
    count = rows.size
    position = np.full((shape[0] + 2, shape[1] + 2), count, dtype=np.intp)
    position[rows + 1, columns + 1] = np.arange(count)
    return np.stack([position[rows + 1 + dy, columns + 1 + dx] for dy, dx in _NEIGHBOURS])


def _at_least_two(a: Words, b: Words, c: Words, d: Words) -> Words:
    """Return the bits set in at least two of four words."""
    return np.asarray((a & b) | (c & d) | ((a | b) & (c | d)), dtype=np.uint64)


def _deletable(x: Sequence[Words], second: bool) -> Words:
    """Return the bits that this sub-iteration deletes, given the eight neighbours x[0] .. x[7] (x1 .. x8)."""
    crossings = [~x[i] & (x[i + 1] | x[(i + 2) % 8]) for i in (0, 2, 4, 6)]
    one_crossing = (crossings[0] ^ crossings[1] ^ crossings[2] ^ crossings[3]) & ~_at_least_two(*crossings)
    pairs_1 = [x[i] | x[i + 1] for i in (0, 2, 4, 6)]
    pairs_2 = [x[i + 1] | x[(i + 2) % 8] for i in (0, 2, 4, 6)]
    all_1 = pairs_1[0] & pairs_1[1] & pairs_1[2] & pairs_1[3]
    all_2 = pairs_2[0] & pairs_2[1] & pairs_2[2] & pairs_2[3]
    two_or_three = _at_least_two(*pairs_1) & _at_least_two(*pairs_2) & ~(all_1 & all_2)
    direction = ~((x[5] | x[6] | ~x[3]) & x[4]) if second else ~((x[1] | x[2] | ~x[7]) & x[0])
    return np.asarray(one_crossing & two_or_three & direction, dtype=np.uint64)


def thin_packed(words: Words, neighbours: npt.NDArray[np.intp]) -> Words:
    """Thin every packed map until a whole iteration changes none of them.

    Args:
        words: (W, N) uint64 from `pack_levels`.
        neighbours: (8, N) from `neighbour_indices`.

    Returns:
        (W, N) uint64. Source: Guo and Hall 1989, two sub-iterations, conditions G1, G2, G3 and G3' as in the
        documentation of bwmorph. Some Python ports stop when a first sub-iteration changes nothing, and so leave
        pixels that the second would take; here, as in MATLAB, only a whole idle iteration ends.
    """
    padded = np.concatenate([words, np.zeros((words.shape[0], 1), dtype=np.uint64)], axis=1)
    changed = True
    while changed:
        changed = False
        for second in (False, True):
            deleted = padded[:, :-1] & _deletable([padded[:, index] for index in neighbours], second)
            if deleted.any():
                padded[:, :-1] &= ~deleted
                changed = True
    return padded[:, :-1]


def thin(binary: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
    """Return lines one pixel wide with the connectivity of the map (H, W): bwmorph 'thin', Inf."""
    rows, columns = np.nonzero(binary)
    thinned = np.zeros(binary.shape, dtype=np.bool_)
    if rows.size:
        words = thin_packed(np.ones((1, rows.size), dtype=np.uint64), neighbour_indices(rows, columns, binary.shape))
        thinned[rows, columns] = words[0].astype(np.bool_)
    return thinned
