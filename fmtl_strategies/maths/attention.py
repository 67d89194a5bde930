"""Cross-attention between decoder updates (FedHCA2 Eq. 12-13), from their per-array Gram matrices."""

import math
from collections.abc import Sequence
from typing import Literal, NamedTuple

import numpy as np

from fmtl_strategies.maths.gram import cosine_matrix, gram_matrix, paired_products
from fmtl_strategies.maths.rows import BLOCK_COLUMNS, Float32Array, Float64Array
from fmtl_strategies.maths.segments import Segments

Scale = Literal["inv-sqrt-d", "cosine", "raw"]
Span = Literal["array", "layer"]


class Partners(NamedTuple):
    """Rows that decoder updates are multiplied with, one by one, beside the Gram matrices.

    rows_md: (M, D) float32. pairs: P pairs of a row of the updates and a row of `rows_md`.
    """

    rows_md: Float32Array
    pairs: Sequence[tuple[int, int]]


class ArrayProducts(NamedTuple):
    """Inner products for every array.

    grams: one (K, K) float64 Gram matrix of the updates per array.
    pairs: one (P, 3) float64 matrix per array, of the update's product with its partner, its square, the partner's.
    """

    grams: list[Float64Array]
    pairs: list[Float64Array]


def array_products(updates_kd: Float32Array, segments: Segments, partners: Partners | None = None) -> ArrayProducts:
    """Gram matrices of the decoder updates and their products with partners, in one pass over the updates.

    Args:
        updates_kd: (K, D) float32 updates of K decoders with one layout.
        segments: arrays and layers of the D columns.
        partners: rows to multiply single updates with; None: there are no pairs.

    Returns:
        Products for every array.

    Raises:
        NonFiniteRowError: an update holds NaN or infinite values.
        ValueError: D does not match the segments.
    """
    for rows_nd in (updates_kd,) if partners is None else (updates_kd, partners.rows_md):
        if rows_nd.shape[1] != segments.size:
            raise ValueError(f"decoder rows have {rows_nd.shape[1]} columns, the segments describe {segments.size}")
    count, pair_count = len(updates_kd), 0 if partners is None else len(partners.pairs)
    found = ArrayProducts([], [])
    for columns in segments.columns:
        gram, products = np.zeros((count, count)), np.zeros((pair_count, 3))
        for start in range(columns.start, columns.stop, BLOCK_COLUMNS):
            block = slice(start, min(start + BLOCK_COLUMNS, columns.stop))
            gram += gram_matrix(updates_kd[:, block])
            if partners is not None:
                # The block was just read, so these products find it in the cache.
                products += paired_products(updates_kd[:, block], partners.rows_md[:, block], partners.pairs)
        found.grams.append(gram)
        found.pairs.append(products)
    return found


def attention_coefficients(
    grams: Sequence[Float64Array], segments: Segments, *, span: Span, scale: Scale, temperature: float = 1.0
) -> list[Float64Array]:
    """Row-stochastic mixing coefficients softmax(logits) for every array.

    Logits are temperature times the inner products <update_i, update_j>, scaled: "inv-sqrt-d" divides by
    sqrt(number of elements), as published; measured on real updates it is nearly uniform. "cosine" divides by both
    lengths, "raw" by nothing.

    Under "cosine", where all other rows have cosine r with row i, row i keeps a share of
    1 / (1 + (K - 1) exp(-temperature (1 - r))) to itself: one half at temperature = log(K - 1) / (1 - r).

    Args:
        grams: one (K, K) matrix per array, from `array_products`.
        segments: arrays and layers.
        span: "array" attends per array (the authors' code), "layer" per layer (the paper's text).
        scale: see above.
        temperature: multiplies all logits; 1 leaves them as they are. Finite and >= 0.

    Returns:
        One (K, K) float64 matrix per array; arrays of one layer share it when span is "layer".
    """
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
    if scale == "inv-sqrt-d":
        return gram / math.sqrt(max(size, 1))
    return cosine_matrix(gram) if scale == "cosine" else gram
