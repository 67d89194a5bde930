"""Decoder attention from Gram matrices against a direct restatement."""

import math

import numpy as np
import pytest

from fmtl_strategies.maths.attention import array_grams, attention_coefficients, attention_entropy, softmax_rows
from fmtl_strategies.maths.segments import Segments

SEGMENTS = Segments.of([("linears.0.bias", 4), ("linears.0.weight", 32), ("fuse.weight", 9)])
UPDATES = np.random.default_rng(0).standard_normal((3, 45), dtype=np.float32)


def plain_softmax(logits: np.ndarray) -> np.ndarray:
    return np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)


def test_segments_group_weight_and_bias_into_layers() -> None:
    assert SEGMENTS.layers == ("linears.0", "fuse")
    assert SEGMENTS.layer_of_array == (0, 0, 1)
    assert SEGMENTS.columns == (slice(0, 4), slice(4, 36), slice(36, 45))


def test_attention_per_array_equals_scaled_dot_product_attention() -> None:
    coefficients = attention_coefficients(
        array_grams(UPDATES, SEGMENTS), SEGMENTS, span="array", scale="inverse_sqrt_size"
    )
    for columns, found in zip(SEGMENTS.columns, coefficients, strict=True):
        part = UPDATES[:, columns].astype(np.float64)
        np.testing.assert_allclose(found, plain_softmax(part @ part.T / math.sqrt(part.shape[1])), rtol=1e-5)


def test_attention_per_layer_joins_weight_and_bias() -> None:
    coefficients = attention_coefficients(
        array_grams(UPDATES, SEGMENTS), SEGMENTS, span="layer", scale="inverse_sqrt_size"
    )
    part = UPDATES[:, :36].astype(np.float64)
    np.testing.assert_allclose(coefficients[0], plain_softmax(part @ part.T / 6.0), rtol=1e-5)
    assert coefficients[0] is coefficients[1]


def test_cosine_attention_does_not_depend_on_update_size_and_sharpens_with_temperature() -> None:
    grams, small = array_grams(UPDATES, SEGMENTS), array_grams(UPDATES * np.float32(1e-3), SEGMENTS)
    soft = attention_coefficients(grams, SEGMENTS, span="array", scale="cosine")
    again = attention_coefficients(small, SEGMENTS, span="array", scale="cosine")
    sharp = attention_coefficients(grams, SEGMENTS, span="array", scale="cosine", temperature=50.0)
    np.testing.assert_allclose(soft[1], again[1], rtol=1e-5)
    assert attention_entropy(sharp[1]) < attention_entropy(soft[1]) < 1


def test_softmax_survives_large_logits() -> None:
    assert softmax_rows(np.array([[1e6, 0.0], [0.0, -1e6]])).tolist() == [[1.0, 0.0], [1.0, 0.0]]


def test_entropy_is_one_for_uniform_and_zero_for_single_attention() -> None:
    assert math.isclose(attention_entropy(np.full((4, 4), 0.25)), 1.0)
    assert attention_entropy(np.eye(4)) == 0.0
    assert attention_entropy(np.ones((1, 1))) == 1.0


def test_unknown_scale_and_bad_temperature_raise() -> None:
    grams = array_grams(UPDATES, SEGMENTS)
    with pytest.raises(ValueError, match="attention scale"):
        attention_coefficients(grams, SEGMENTS, span="array", scale="linear")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="temperature"):
        attention_coefficients(grams, SEGMENTS, span="array", scale="raw", temperature=-1.0)
