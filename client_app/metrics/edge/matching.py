"""One-to-one matching of predicted with annotated boundary pixels within a distance, for many thresholds at once.

The benchmark solves a sparse minimum-cost assignment in which an unmatched pixel costs 100 times the largest
distance. At that price its solution has the largest possible number of matches, except that its random, sparse
outlier edges lose a few, differently at every call (675 to 679 of 679 were seen on one input). Only that number
counts for one annotator, so it is found here by maximum-cardinality matching: nearest pairs first, then augmenting
paths until none is left. Augmenting never frees a matched pixel, so with several annotators, where it counts which
pixels are matched, these are the near ones, as minimum cost would have them.

scipy's maximum_bipartite_matching is not used because its depth-first phase takes exponential time on such layered
graphs (scipy issue 26147); on contours it was seen not to return within a minute.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

BoolArray = npt.NDArray[np.bool_]
IndexArray = npt.NDArray[np.int32]

PAIRS_AT_ONCE = 200_000
"""Thresholds are searched together up to this many pairs: enough to hide call costs, few enough for the cache."""


@dataclass(frozen=True)
class CandidatePairs:
    """Which predicted pixels (rows) may be matched to which annotated pixels (columns).

    Attributes:
        pixels: (R,) the predicted pixel of each row, as an index into the lists given to `candidate_pairs`; pixels
            without an annotated pixel in reach have no row.
        rows: (E,) row of each pair, nearest pairs first.
        columns: (E,) column of each pair, that is, the annotated pixel.
        by_row: (E,) order that sorts the pairs by row, and within a row nearest first.
        column_count: number of annotated pixels.
    """

    pixels: IndexArray
    rows: IndexArray
    columns: IndexArray
    by_row: IndexArray
    column_count: int


def disc_offsets(radius: float) -> tuple[IndexArray, IndexArray]:
    """Return row and column offsets of all pixels at distance <= radius (pixels), nearest first."""
    reach = int(np.floor(radius))
    dy, dx = np.mgrid[-reach : reach + 1, -reach : reach + 1].astype(np.int32).reshape(2, -1)
    squared = dy * dy + dx * dx
    order = np.argsort(squared, kind="stable")
    order = order[squared[order] <= radius * radius]
    return dy[order], dx[order]


def candidate_pairs(
    rows: npt.NDArray[np.intp], columns: npt.NDArray[np.intp], annotation: BoolArray, max_distance: float
) -> CandidatePairs:
    """Find all pairs within the distance, once for all thresholds of an image.

    Args:
        rows: (N,) image rows of the pixels that any threshold predicts.
        columns: (N,) image columns of these pixels.
        annotation: (H, W) bool boundary map of one annotator.
        max_distance: in pixels; pairs at exactly this distance count.
    """
    dy, dx = disc_offsets(max_distance)
    reach = int(np.floor(max_distance))
    numbers = np.full((annotation.shape[0] + 2 * reach, annotation.shape[1] + 2 * reach), -1, dtype=np.int32)
    annotated = np.nonzero(annotation)
    numbers[annotated[0] + reach, annotated[1] + reach] = np.arange(annotated[0].size, dtype=np.int32)
    near = numbers[(rows + reach) + dy[:, None], (columns + reach) + dx[:, None]]
    pixels = np.flatnonzero((near >= 0).any(axis=0)).astype(np.int32)
    near = near[:, pixels]
    offset, row = np.nonzero(near >= 0)
    by_row = np.argsort(row, kind="stable").astype(np.int32)
    return CandidatePairs(pixels, row.astype(np.int32), near[offset, row], by_row, annotated[0].size)


def _nearest_first(rows: IndexArray, columns: IndexArray, column_of: IndexArray, row_of: IndexArray) -> None:
    """Match greedily in the order of the pairs, writing into `column_of` and `row_of` (both -1 before)."""
    first_of_row, first_of_column = np.empty_like(column_of), np.empty_like(row_of)
    while rows.size:
        # Pairs that come first both for their row and for their column are in the greedy matching, so all are taken.
        number = np.arange(rows.size, dtype=np.int32)
        first_of_row[rows[::-1]] = number[::-1]
        first_of_column[columns[::-1]] = number[::-1]
        taken = (first_of_row[rows] == number) & (first_of_column[columns] == number)
        column_of[rows[taken]] = columns[taken]
        row_of[columns[taken]] = rows[taken]
        is_open = (column_of[rows] < 0) & (row_of[columns] < 0)
        rows, columns = rows[is_open], columns[is_open]


def _search(
    ends: IndexArray, columns: IndexArray, matching: tuple[IndexArray, IndexArray], starts: IndexArray
) -> tuple[IndexArray, IndexArray]:
    """Walk breadth first from unmatched rows along unmatched, matched, unmatched ... pairs.

    `ends` (R,): where the pairs of each row end in `columns` (E,), which are sorted by row; `matching`: column of each
    row and row of each column, -1 where unmatched. Returns the free columns reached, and the predecessor of every
    node: rows 0 .. R-1, free columns R .. R+G-1 (a matched column is stepped over to its row), and R+G, the source from
    which all starts are reached.
    """
    # scipy takes seconds to load, and only clients that score edges need it.
    from scipy.sparse import csr_matrix
    from scipy.sparse.csgraph import breadth_first_order

    row_count, column_count = matching[0].size, matching[1].size
    source = row_count + column_count
    mate = matching[1][columns]
    targets = np.concatenate([np.where(mate >= 0, mate, columns + np.int32(row_count)), starts])
    indptr = np.full(source + 2, columns.size, dtype=np.int32)
    indptr[0], indptr[1 : row_count + 1], indptr[-1] = 0, ends, targets.size
    graph = csr_matrix((np.ones(targets.size), targets, indptr), shape=(source + 1, source + 1))
    reached, predecessor = breadth_first_order(graph, source, return_predecessors=True)
    return reached[(reached >= row_count) & (reached < source)] - np.int32(row_count), predecessor


def _roots(nodes: IndexArray, predecessor: IndexArray, source: int) -> IndexArray:
    """Return the start of the search tree that each node is in."""
    above = predecessor[nodes]
    while (below_root := above != source).any():
        nodes = np.where(below_root, above, nodes)
        above = predecessor[nodes]
    return nodes


def _augment(ends: IndexArray, columns: IndexArray, column_of: IndexArray, row_of: IndexArray) -> None:
    """Flip augmenting paths until none is left; then the matching is the largest possible (Berge 1957).

    Every node of a search has one predecessor, so paths from different starts share no pixel: one path per start can
    be flipped after each search.
    """
    row_count = column_of.size
    source = row_count + row_of.size
    has_pair = np.diff(ends, prepend=np.int32(0)) > 0
    while True:
        starts = np.flatnonzero((column_of < 0) & has_pair).astype(np.int32)
        free, predecessor = _search(ends, columns, (column_of, row_of), starts)
        if free.size == 0:
            return
        roots = _roots(predecessor[free + row_count], predecessor, source)
        new_columns = free[np.unique(roots, return_index=True)[1]]
        rows = predecessor[new_columns + row_count]
        while rows.size:
            released = column_of[rows]
            column_of[rows], row_of[new_columns] = new_columns, rows
            going_on = released >= 0
            rows, new_columns = predecessor[rows[going_on]], released[going_on]


def _batches(pairs_per_map: npt.NDArray[np.int64]) -> Iterator[slice]:
    """Yield slices of consecutive maps that together hold at most PAIRS_AT_ONCE pairs (or one map)."""
    start = 0
    while start < pairs_per_map.size:
        total = np.cumsum(pairs_per_map[start:])
        stop = start + max(1, int(np.searchsorted(total, PAIRS_AT_ONCE, side="right")))
        yield slice(start, stop)
        start = stop


def _match_batch(pairs: CandidatePairs, predicted: BoolArray) -> BoolArray:
    """Match a batch of maps as one graph whose parts are not connected; (T, R) bool in, (T, R) bool out."""
    maps, row_count = predicted.shape
    column_of = np.full(maps * row_count, -1, dtype=np.int32)
    row_of = np.full(maps * pairs.column_count, -1, dtype=np.int32)
    number, pair = np.nonzero(predicted[:, pairs.rows])
    _nearest_first(
        (number * row_count + pairs.rows[pair]).astype(np.int32),
        (number * pairs.column_count + pairs.columns[pair]).astype(np.int32),
        column_of,
        row_of,
    )
    rows_in_order = pairs.rows[pairs.by_row]
    number, pair = np.nonzero(predicted[:, rows_in_order])
    columns = (number * pairs.column_count + pairs.columns[pairs.by_row][pair]).astype(np.int32)
    pairs_of_row = np.where(predicted, np.bincount(rows_in_order, minlength=row_count), 0)
    _augment(np.cumsum(pairs_of_row).astype(np.int32), columns, column_of, row_of)
    return (column_of >= 0).reshape(maps, row_count)


def matched_pixels(pairs: CandidatePairs, predicted: BoolArray) -> BoolArray:
    """Match, in each map, as many predicted pixels as possible, each with one annotated pixel of its own.

    Args:
        pairs: from `candidate_pairs`.
        predicted: (T, N) which of the pixels given to `candidate_pairs` each of T maps predicts.

    Returns:
        (T, N) bool, the matched predicted pixels; their number is also the number of matched annotated pixels.
    """
    matched = np.zeros(predicted.shape, dtype=np.bool_)
    if pairs.rows.size == 0:
        return matched
    with_pairs = predicted[:, pairs.pixels]
    pairs_per_map = with_pairs.astype(np.int64) @ np.bincount(pairs.rows, minlength=pairs.pixels.size)
    for batch in _batches(pairs_per_map):
        matched[batch, pairs.pixels] = _match_batch(pairs, with_pairs[batch])
    return matched
