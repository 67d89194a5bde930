"""Thinning and non-maximum suppression against plain restatements and the compiled code of pyEdgeEval."""

import importlib.util
from pathlib import Path

import numpy as np
import pytest

from client_app.metrics.edge.nms import (
    edge_normal_angle,
    edge_strength,
    suppress_non_maxima,
    to_8_bit_scale,
    triangle_filter,
)
from client_app.metrics.edge.protocol import EdgeProtocol
from client_app.metrics.edge.thinning import distinct_maps, neighbour_indices, pack_levels, thin, thin_packed

NEIGHBOURS = ((0, 1), (-1, 1), (-1, 0), (-1, -1), (0, -1), (1, -1), (1, 0), (1, 1))


def plain_thin(binary: np.ndarray) -> np.ndarray:
    """The documented conditions of bwmorph 'thin', pixel by pixel."""
    current = np.pad(binary, 1)
    while True:
        before = current.copy()
        for second in (False, True):
            delete = []
            for row, column in zip(*np.nonzero(current), strict=True):
                x = [bool(current[row + dy, column + dx]) for dy, dx in NEIGHBOURS]
                crossings = sum(not x[i] and (x[i + 1] or x[(i + 2) % 8]) for i in (0, 2, 4, 6))
                n1 = sum(x[i] or x[i + 1] for i in (0, 2, 4, 6))
                n2 = sum(x[i + 1] or x[(i + 2) % 8] for i in (0, 2, 4, 6))
                corner, beside, opposite, edge = (5, 6, 3, 4) if second else (1, 2, 7, 0)
                blocked = (x[corner] or x[beside] or not x[opposite]) and x[edge]
                if crossings == 1 and 2 <= min(n1, n2) <= 3 and not blocked:
                    delete.append((row, column))
            for row, column in delete:
                current[row, column] = False
        if (current == before).all():
            return current[1:-1, 1:-1]


@pytest.mark.parametrize("density", [0.2, 0.5, 0.8, 1.0])
def test_thinning_equals_the_plain_conditions(density: float) -> None:
    binary = np.random.default_rng(3).random((23, 31)) < density
    np.testing.assert_array_equal(thin(binary), plain_thin(binary))


def test_thinning_all_thresholds_at_once_equals_thinning_each() -> None:
    rng = np.random.default_rng(5)
    levels = np.kron(rng.integers(0, 100, (7, 9)), np.ones((4, 4), dtype=np.int64))
    rows, columns = np.nonzero(levels)
    words = thin_packed(pack_levels(levels[rows, columns], 99), neighbour_indices(rows, columns, levels.shape))
    maps, threshold_map = distinct_maps(words, 99)
    for threshold in range(99):
        expected = thin(levels > threshold)[rows, columns]
        np.testing.assert_array_equal(maps[threshold_map[threshold]], expected)


def test_thinning_equals_the_tables_of_pyedgeeval_iterated_to_the_end() -> None:
    package = pytest.importorskip("pyEdgeEval", reason="pyEdgeEval is the reference for thinning")
    # Loaded by path: importing its package `preprocess` needs OpenCV, which thinning does not.
    spec = importlib.util.spec_from_file_location("thin", Path(package.__path__[0]) / "preprocess" / "thin" / "thin.py")
    assert spec is not None
    assert spec.loader is not None
    reference = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(reference)
    tables = (reference._thin_iter_1_lut(), reference._thin_iter_2_lut())
    rng = np.random.default_rng(0)
    for density in (0.1, 0.4, 0.7, 0.9):
        binary = rng.random((90, 110)) < density
        # Its own loop stops as soon as a first sub-iteration is idle, although the second may not be.
        current, before = binary, None
        while before is None or (current != before).any():
            before = current
            for table in tables:
                current = reference.apply_lut(current, table)
        np.testing.assert_array_equal(thin(binary), current)


def test_suppression_equals_the_compiled_reference() -> None:
    reference = pytest.importorskip("pyEdgeEval._lib", reason="pyEdgeEval is the reference for suppression")
    rng = np.random.default_rng(1)
    for shape in ((40, 60), (33, 9), (7, 50)):
        edge = triangle_filter(np.floor(255 * triangle_filter(rng.random(shape) ** 6, 2)) / 255, 1)
        angle = edge_normal_angle(edge)
        for radius in (1, 4):
            expected = reference.nms(edge, angle, radius, 5, 1.01)
            found = suppress_non_maxima(edge, angle, radius)
            np.testing.assert_allclose(found, expected, rtol=0, atol=1e-12)
            np.testing.assert_array_equal(found > 0, expected > 0)


@pytest.mark.parametrize("degrees", [0, 20, 70, 110, 155])
def test_suppression_keeps_the_crest_of_a_ridge(degrees: int) -> None:
    y, x = np.mgrid[-20:21, -20:21]
    distance = x * np.cos(np.radians(degrees)) + y * np.sin(np.radians(degrees))
    values = np.floor(255 * np.exp(-((distance / 3) ** 2)))
    kept = edge_strength(values, EdgeProtocol()) > 25
    inner = np.hypot(x, y) < 12
    assert kept[inner & (np.abs(distance) < 0.3)].all()
    assert not kept[inner & (np.abs(distance) > 1.1)].any()


def test_smoothing_knob_changes_the_map() -> None:
    values = np.zeros((21, 21))
    values[:, 10] = 255
    smooth = edge_strength(values, EdgeProtocol(smoothing=True))
    sharp = edge_strength(values, EdgeProtocol(smoothing=False))
    assert sharp[10, 10] == 255
    assert smooth[10, 10] == 128


def test_rounding_knob_decides_the_stored_value() -> None:
    probability = np.array([[0.5]])  # 127.5 on the 8-bit scale
    assert to_8_bit_scale(probability, "truncate") == 127
    assert to_8_bit_scale(probability, "round") == 128
    assert to_8_bit_scale(probability, "none") == 127.5
