"""Decoder attention from Gram matrices against a direct restatement."""

import math

import numpy as np
import pytest
from errors import naming

from fmtl_strategies.maths.attention import (
    Partners,
    array_products,
    attention_coefficients,
    attention_entropy,
    softmax_rows,
)
from fmtl_strategies.maths.segments import Segments

SEGMENTS = Segments.of([("linears.0.bias", 4), ("linears.0.weight", 32), ("fuse.weight", 9)])
UPDATES = np.random.default_rng(0).standard_normal((3, 45), dtype=np.float32)


def plain_softmax(logits: np.ndarray) -> np.ndarray:
    return np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)


def test_segments_group_weight_and_bias_into_layers() -> None:
    assert SEGMENTS.layers == ("linears.0", "fuse")
    assert SEGMENTS.layer_of_array == (0, 0, 1)
    assert SEGMENTS.columns == (slice(0, 4), slice(4, 36), slice(36, 45))


def test_attention_per_layer_joins_weight_and_bias() -> None:
    coefficients = attention_coefficients(
        array_products(UPDATES, SEGMENTS).grams, SEGMENTS, span="layer", scale="inv-sqrt-d"
    )
    part = UPDATES[:, :36].astype(np.float64)
    np.testing.assert_allclose(coefficients[0], plain_softmax(part @ part.T / 6.0), rtol=1e-5)
    assert coefficients[0] is coefficients[1]


def test_cosine_attention_does_not_depend_on_update_size_and_sharpens_with_temperature() -> None:
    grams, small = array_products(UPDATES, SEGMENTS).grams, array_products(UPDATES * np.float32(1e-3), SEGMENTS).grams
    soft = attention_coefficients(grams, SEGMENTS, span="array", scale="cosine")
    again = attention_coefficients(small, SEGMENTS, span="array", scale="cosine")
    sharp = attention_coefficients(grams, SEGMENTS, span="array", scale="cosine", temperature=50.0)
    np.testing.assert_allclose(soft[1], again[1], rtol=1e-5)
    assert attention_entropy(sharp[1]) < attention_entropy(soft[1]) < 1


@pytest.mark.parametrize("cosine", [0.0, 0.5])
def test_half_of_the_attention_stays_with_the_row_at_the_temperature_the_documents_name(cosine: float) -> None:
    gram = np.full((9, 9), cosine)
    np.fill_diagonal(gram, 1.0)
    segments = Segments.of([("linear.weight", 100)])
    temperature = math.log(8) / (1 - cosine)
    assert 2.0 < temperature < 4.2
    found = attention_coefficients([gram], segments, span="array", scale="cosine", temperature=temperature)[0]
    np.testing.assert_allclose(np.diag(found), 0.5, rtol=1e-12)


def test_softmax_survives_large_logits() -> None:
    assert softmax_rows(np.array([[1e6, 0.0], [0.0, -1e6]])).tolist() == [[1.0, 0.0], [1.0, 0.0]]


def test_entropy_is_one_for_uniform_and_zero_for_single_attention() -> None:
    assert math.isclose(attention_entropy(np.full((4, 4), 0.25)), 1.0)
    assert attention_entropy(np.eye(4)) == 0.0
    assert attention_entropy(np.ones((1, 1))) == 1.0


@pytest.mark.parametrize("scale", [1.0, 1e-3, 1e-25, 1e25])
@pytest.mark.parametrize("pairs", [[(0, 0), (1, 1), (2, 2)], [(2, 0), (0, 3)], []])
def test_products_with_partners_are_those_of_float64_at_every_size(scale: float, pairs: list[tuple[int, int]]) -> None:
    segments = Segments.of([("a.bias", 7), ("a.weight", 300_000), ("b.weight", 4_096), ("empty", 0)])
    generator = np.random.default_rng(5)
    updates, partners = (
        (scale * generator.standard_normal((count, segments.size))).astype(np.float32) for count in (3, 4)
    )
    found = array_products(updates, segments, Partners(partners, pairs))
    for columns, gram, products in zip(segments.columns, found.grams, found.pairs, strict=True):
        one, other = updates[:, columns].astype(np.float64), partners[:, columns].astype(np.float64)
        squares = max(float((one * one).sum()), 1e-300)
        np.testing.assert_allclose(gram / squares, one @ one.T / squares, rtol=0, atol=1e-6)
        expected = np.array([[one[i] @ other[j], one[i] @ one[i], other[j] @ other[j]] for i, j in pairs])
        np.testing.assert_allclose(products / squares, expected.reshape(-1, 3) / squares, rtol=0, atol=1e-6)


def test_partners_of_another_layout_raise() -> None:
    with pytest.raises(ValueError, match=naming("44", "45")):
        array_products(UPDATES, SEGMENTS, Partners(UPDATES[:, :44], [(0, 0)]))
