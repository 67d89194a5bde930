"""One-to-one matching: hand cases, and counts against scipy's flow and pyEdgeEval's assignment."""

import numpy as np
import pytest
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import maximum_flow

from client_app.metrics.edge import matching
from client_app.metrics.edge.matching import candidate_pairs, matched_pixels
from client_app.metrics.edge.thinning import thin


def count(predicted: np.ndarray, annotation: np.ndarray, distance: float) -> int:
    rows, columns = np.nonzero(predicted)
    pairs = candidate_pairs(rows, columns, annotation, distance)
    return int(matched_pixels(pairs, np.ones((1, rows.size), dtype=bool)).sum())


def flow_count(predicted: np.ndarray, annotation: np.ndarray, distance: float) -> int:
    """The largest number of one-to-one pairs, as a maximum flow over all pairs within the distance."""
    first, second = np.argwhere(predicted), np.argwhere(annotation)
    near = np.linalg.norm(first[:, None] - second[None], axis=2) <= distance
    i, j = np.nonzero(near)
    n, m = near.shape
    tail = np.concatenate([np.zeros(n), 1 + i, 1 + n + np.arange(m)]).astype(np.int32)
    head = np.concatenate([1 + np.arange(n), 1 + n + j, np.full(m, n + m + 1)]).astype(np.int32)
    graph = coo_matrix((np.ones(tail.size, dtype=np.int32), (tail, head)), shape=(n + m + 2, n + m + 2)).tocsr()
    return int(maximum_flow(graph, 0, n + m + 1).flow_value)


def test_distance_bound_includes_pixels_exactly_at_it() -> None:
    predicted, annotation = np.zeros((9, 9), dtype=bool), np.zeros((9, 9), dtype=bool)
    predicted[1, 1] = annotation[4, 5] = True
    assert count(predicted, annotation, 5.0) == 1
    assert count(predicted, annotation, 4.99) == 0


@pytest.mark.parametrize("distance", [1.0, 2.3, 4.0])
def test_count_is_the_maximum(distance: float) -> None:
    rng = np.random.default_rng(7)
    for density in (0.03, 0.15, 0.4):
        predicted, annotation = rng.random((24, 30)) < density, rng.random((24, 30)) < 0.15
        assert count(predicted, annotation, distance) == flow_count(predicted, annotation, distance)


def test_several_maps_at_once_equal_each_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(11)
    annotation = rng.random((30, 40)) < 0.1
    rows, columns = np.nonzero(rng.random((30, 40)) < 0.3)
    maps = rng.random((12, rows.size)) < np.linspace(0, 1, 12)[:, None]
    pairs = candidate_pairs(rows, columns, annotation, 3.0)
    together = matched_pixels(pairs, maps)
    monkeypatch.setattr(matching, "PAIRS_AT_ONCE", 500)
    np.testing.assert_array_equal(matched_pixels(pairs, maps), together)
    assert not (together & ~maps).any()
    for number, predicted in enumerate(maps):
        alone = matched_pixels(pairs, predicted[None])[0]
        np.testing.assert_array_equal(alone, together[number])


def test_layered_graph_on_which_depth_first_search_explodes_ends() -> None:
    stripes = np.zeros((60, 60), dtype=bool)
    stripes[:, ::2] = True
    predicted = stripes.T.copy()
    assert count(predicted, stripes, 2.3) == flow_count(predicted, stripes, 2.3)


def union_and_sum(predicted: np.ndarray, annotators: np.ndarray, fraction: float) -> tuple[int, int]:
    rows, columns = np.nonzero(predicted)
    union, total = np.zeros(rows.size, dtype=bool), 0
    for annotator in annotators:
        pairs = candidate_pairs(rows, columns, annotator, fraction * float(np.hypot(*predicted.shape)))
        matched = matched_pixels(pairs, np.ones((1, rows.size), dtype=bool))[0]
        union |= matched
        total += int(matched.sum())
    return int(union.sum()), total


def reference_union_and_sum(predicted: np.ndarray, annotators: np.ndarray, fraction: float) -> tuple[int, int]:
    reference = pytest.importorskip("pyEdgeEval._lib", reason="pyEdgeEval is the reference for matching")
    union, total = np.zeros(predicted.shape, dtype=bool), 0
    for annotator in annotators:
        first, second, _, _ = reference.correspond_pixels(predicted, annotator, max_dist=fraction)
        union |= first > 0
        total += int((second > 0).sum())
    return int(union.sum()), total


def test_counts_agree_with_pyedgeeval_on_synthetic_contours() -> None:
    rng = np.random.default_rng(4)
    y, x = np.mgrid[:80, :100]
    annotators = []
    for _ in range(3):
        radius = 25 + 3 * rng.random() + 2 * np.sin(5 * np.arctan2(y - 40, x - 50))
        annotators.append(thin(np.abs(np.hypot(y - 40, x - 50) - radius) < 0.8))
    predicted = thin(np.abs(np.hypot(y - 41, x - 50) - 26) < 1.2) | (rng.random((80, 100)) < 0.02)
    found = union_and_sum(predicted, np.stack(annotators), 0.02)
    expected = reference_union_and_sum(predicted, np.stack(annotators), 0.02)
    assert 0 <= found[1] - expected[1] <= 0.01 * expected[1]
    # Several sets of matched pixels are equally large here, and the two choose differently among them.
    assert abs(found[0] - expected[0]) <= 0.02 * expected[0]
