"""Cross-attention between decoder updates (FedHCA2 Eq. 12-13), from their per-array Gram matrices."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

import numpy as np

from fmtl_strategies.maths.gram import cosine_matrix, gram_matrix
from fmtl_strategies.maths.rows import Float32Array, Float64Array
from fmtl_strategies.maths.segments import Segments

Scale = Literal["inverse_sqrt_size", "cosine", "raw"]
Span = Literal["array", "layer"]


def array_grams(updates_kd: Float32Array, segments: Segments) -> list[Float64Array]:
    """Gram matrix of the decoder updates for every array.

    Args:
        updates_kd: (K, D) float32 updates of K decoders with one layout.
        segments: arrays and layers of the D columns.

    Returns:
        One (K, K) float64 matrix per array.

    Raises:
        NonFiniteRowError: a row holds NaN or infinite values.
        ValueError: D does not match the segments.
    """
    if updates_kd.shape[1] != segments.size:
        raise ValueError(f"decoder updates have {updates_kd.shape[1]} columns, the segments describe {segments.size}")
    return [gram_matrix(updates_kd[:, columns]) for columns in segments.columns]


def attention_coefficients(
    grams: Sequence[Float64Array], segments: Segments, *, span: Span, scale: Scale, temperature: float = 1.0
) -> list[Float64Array]:
    """Row-stochastic mixing coefficients softmax(logits) for every array.

    Logits are the inner products <update_i, update_j>, scaled:
    "inverse_sqrt_size" divides by sqrt(number of elements), as published; measured on real updates it is
    nearly uniform. "cosine" uses temperature * cosine. "raw" uses temperature * inner product.

    Args:
        grams: one (K, K) matrix per array, from `array_grams`.
        segments: arrays and layers.
        span: "array" attends per array (the authors' code), "layer" per layer (the paper's text).
        scale: see above.
        temperature: multiplies all logits; 1 leaves them as they are. Finite and >= 0.

    Returns:
        One (K, K) float64 matrix per array; arrays of one layer share it when span is "layer".

    Raises:
        ValueError: unknown span or scale, bad temperature.
    """
    if span not in ("array", "layer"):
        raise ValueError(f"span must be 'array' or 'layer', got {span!r}")
    if not (math.isfinite(temperature) and temperature >= 0):
        raise ValueError(f"attention temperature must be a finite number >= 0, got {temperature!r}")
    if span == "array":
        pairs = zip(grams, segments.sizes, strict=True)
        return [softmax_rows(temperature * _logits(gram, size, scale)) for gram, size in pairs]
    by_layer = []
    for layer in range(len(segments.layers)):
        members = [index for index, owner in enumerate(segments.layer_of_array) if owner == layer]
        total = np.sum([grams[index] for index in members], axis=0)
        size = sum(segments.sizes[index] for index in members)
        by_layer.append(softmax_rows(temperature * _logits(total, size, scale)))
    return [by_layer[layer] for layer in segments.layer_of_array]


def softmax_rows(logits_kk: Float64Array) -> Float64Array:
    """Softmax of every row, with the row maximum taken off first so that large logits cannot overflow."""
    exponentials = np.exp(logits_kk - logits_kk.max(axis=1, keepdims=True))
    coefficients: Float64Array = exponentials / exponentials.sum(axis=1, keepdims=True)
    return coefficients


def attention_entropy(coefficients_kk: Float64Array) -> float:
    """Mean entropy of the rows divided by log K: 1 is uniform attention, 0 is attention to one decoder.

    One decoder alone (K = 1) has entropy 1 by this measure: its only choice is also the uniform one.
    """
    count = coefficients_kk.shape[0]
    if count == 1:
        return 1.0
    logarithms = np.log(coefficients_kk, out=np.zeros_like(coefficients_kk), where=coefficients_kk > 0)
    return float(-(coefficients_kk * logarithms).sum(axis=1).mean() / math.log(count))


def _logits(gram: Float64Array, size: int, scale: Scale) -> Float64Array:
    if scale == "inverse_sqrt_size":
        return gram / math.sqrt(max(size, 1))
    if scale == "cosine":
        return cosine_matrix(gram)
    if scale == "raw":
        return gram
    raise ValueError(f"attention scale must be 'inverse_sqrt_size', 'cosine' or 'raw', got {scale!r}")
