"""One-to-one matching of predicted with annotated boundary pixels within a distance.

The benchmark solves a sparse minimum-cost assignment in which an unmatched pixel costs 100 times the largest distance.
At that price its solution has the largest possible number of matches, except that its random, sparse outlier edges can
lose a few. Only that number counts for one annotator, so it is found here by maximum-cardinality matching: nearest
pairs first, then augmenting paths until none is left. Augmenting never frees a matched pixel, so with several
annotators, where it counts which pixels are matched, these are the near ones, as minimum cost would have them.

scipy's maximum_bipartite_matching is not used because its depth-first phase takes exponential time on such layered
graphs (scipy issue 26147): contours of one image in four did not return within a minute.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.sparse import csr_matrix
from scipy.sparse.csgraph import breadth_first_order

BoolArray = npt.NDArray[np.bool_]
IndexArray = npt.NDArray[np.intp]


@dataclass(frozen=True)
class CandidatePairs:
    """Which predicted pixels (rows) may be matched to which annotated pixels (columns), nearest pairs first.

    Attributes:
        rows: (E,) predicted pixel of each pair, as an index into the lists given to `candidate_pairs`.
        columns: (E,) annotated pixel of each pair.
        row_count: number of predicted pixels N.
        column_count: number of annotated pixels G.
    """

    rows: IndexArray
    columns: IndexArray
    row_count: int
    column_count: int

    def of(self, predicted: BoolArray) -> "CandidatePairs":
        """Return the pairs of the (N,) predicted pixels only; numbering stays."""
        kept = np.flatnonzero(predicted[self.rows])
        return CandidatePairs(self.rows[kept], self.columns[kept], self.row_count, self.column_count)


def disc_offsets(radius: float) -> tuple[IndexArray, IndexArray]:
    """Return row and column offsets of all pixels at distance <= radius (pixels), nearest first."""
    reach = int(np.floor(radius))
    dy, dx = np.mgrid[-reach : reach + 1, -reach : reach + 1].reshape(2, -1)
    squared = dy * dy + dx * dx
    order = np.argsort(squared, kind="stable")
    order = order[squared[order] <= radius * radius]
    return dy[order], dx[order]


def candidate_pairs(
    rows: IndexArray, columns: IndexArray, annotation: BoolArray, max_distance: float
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
    numbers = np.full((annotation.shape[0] + 2 * reach, annotation.shape[1] + 2 * reach), -1, dtype=np.intp)
    annotated_rows, annotated_columns = np.nonzero(annotation)
    numbers[annotated_rows + reach, annotated_columns + reach] = np.arange(annotated_rows.size)
    near = numbers[(rows + reach) + dy[:, None], (columns + reach) + dx[:, None]]
    offset, row = np.nonzero(near >= 0)
    return CandidatePairs(row, near[offset, row], rows.size, annotated_rows.size)


def _nearest_first(pairs: CandidatePairs) -> tuple[IndexArray, IndexArray]:
    """Match greedily in the order of the pairs.

    Returns:
        The column of each row (N,) and the row of each column (G,); -1 where unmatched.
    """
    column_of = np.full(pairs.row_count, -1, dtype=np.intp)
    row_of = np.full(pairs.column_count, -1, dtype=np.intp)
    first_of_row, first_of_column = np.empty_like(column_of), np.empty_like(row_of)
    rows, columns = pairs.rows, pairs.columns
    while rows.size:
        # Pairs that come first both for their row and for their column are in the greedy matching, so all are taken.
        number = np.arange(rows.size)
        first_of_row[rows[::-1]] = number[::-1]
        first_of_column[columns[::-1]] = number[::-1]
        taken = (first_of_row[rows] == number) & (first_of_column[columns] == number)
        column_of[rows[taken]] = columns[taken]
        row_of[columns[taken]] = rows[taken]
        open_ = (column_of[rows] < 0) & (row_of[columns] < 0)
        rows, columns = rows[open_], columns[open_]
    return column_of, row_of


class _Alternation:
    """Searches augmenting paths of one matching; changes the two given arrays in place."""

    def __init__(self, pairs: CandidatePairs, column_of: IndexArray, row_of: IndexArray) -> None:
        order = np.argsort(pairs.rows, kind="stable")
        self._columns = pairs.columns[order]
        self._ends = np.cumsum(np.bincount(pairs.rows, minlength=pairs.row_count))
        self._has_pair = np.diff(self._ends, prepend=0) > 0
        self._weights = np.ones(self._columns.size + pairs.row_count)
        self.column_of, self.row_of = column_of, row_of

    def _search(self) -> tuple[IndexArray, IndexArray]:
        """Walk breadth first from all unmatched rows along unmatched, matched, ... pairs.

        Returns:
            The free columns reached, and the predecessor of every node. Nodes: rows 0 .. N-1, then columns N .. N+G-1
            (only free ones are entered; a matched column is stepped over to its row), then the source N+G.
        """
        row_count, column_count = self.column_of.size, self.row_of.size
        source = row_count + column_count
        mate = self.row_of[self._columns]
        starts = np.flatnonzero((self.column_of < 0) & self._has_pair)
        targets = np.concatenate([np.where(mate >= 0, mate, row_count + self._columns), starts])
        pair_count = self._columns.size
        indptr = np.concatenate([[0], self._ends, np.full(column_count, pair_count), [targets.size]])
        graph = csr_matrix((self._weights[: targets.size], targets, indptr), shape=(source + 1, source + 1))
        reached, predecessor = breadth_first_order(graph, source, return_predecessors=True)
        reached = reached.astype(np.intp)
        return reached[(reached >= row_count) & (reached < source)] - row_count, predecessor

    def augment(self) -> bool:
        """Flip one path per search tree that found a free column; return whether there was any.

        Every node has one predecessor, so paths of different trees share no pixel and all can be flipped together.
        """
        row_count = self.column_of.size
        source = row_count + self.row_of.size
        ends, predecessor = self._search()
        if ends.size == 0:
            return False
        roots = predecessor[row_count + ends]
        above = predecessor[roots]
        while (above != source).any():
            roots = np.where(above != source, above, roots)
            above = predecessor[roots]
        ends = ends[np.unique(roots, return_index=True)[1]]
        rows, columns = predecessor[row_count + ends].astype(np.intp), ends
        while rows.size:
            released = self.column_of[rows]
            self.column_of[rows], self.row_of[columns] = columns, rows
            going = released >= 0
            rows, columns = predecessor[rows[going]].astype(np.intp), released[going]
        return True


def matched_pixels(pairs: CandidatePairs, predicted: BoolArray) -> IndexArray:
    """Match as many predicted pixels as possible, each with one annotated pixel of its own.

    Args:
        pairs: from `candidate_pairs`.
        predicted: (N,) which of the pixels given to `candidate_pairs` this threshold predicts.

    Returns:
        (M,) indices of the matched predicted pixels; M is also the number of matched annotated pixels. M is the
        maximum: the last search proves that no augmenting path is left (Berge 1957).
    """
    present = pairs.of(predicted)
    column_of, row_of = _nearest_first(present)
    if present.rows.size:
        alternation = _Alternation(present, column_of, row_of)
        while alternation.augment():
            pass
    return np.flatnonzero(column_of >= 0)
