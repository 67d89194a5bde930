"""Gram matrix of the rows of a float32 matrix, in one streaming pass (field-notes section 2)."""

from collections.abc import Sequence

import numpy as np
import torch

from fmtl_strategies.maths.rows import (
    Float32Array,
    Float64Array,
    NonFiniteRowError,
    as_tensor,
    check_rows,
    check_vector,
)

# Larger blocks mean fewer parallel regions, which matters on a busy machine; smaller ones leave the cache sooner.
GRAM_COLUMNS = 1_048_576
SLICE_COLUMNS = 4_096
EXTRA_COLUMNS = 65_536
FLOAT64_COLUMNS = 65_536
# Below this mean square, float32 products come close to the smallest normal number (1.2e-38).
SMALLEST_SAFE_MEAN_SQUARE = 1e-32


def gram_matrix(
    rows_nd: Float32Array, extra_rows: Sequence[Float32Array] = (), known_nn: Float64Array | None = None
) -> Float64Array:
    """Inner products of all rows, in float64, reading the matrix once.

    Products are summed in float32 over slices of 4,096 columns and the slices in float64: relative
    error about 1e-6 where one float32 product over 28M columns is off by up to 1 %. Rows so small or so
    large that float32 products leave their range are computed again in float64.

    Args:
        rows_nd: (N, D) float32, contiguous rows.
        extra_rows: E further (D,) float32 vectors, such as the previous aggregate.
        known_nn: (N, N) float64, what this function returned for `rows_nd` alone; only products with extra rows are
            computed then, and the result has the same bits.

    Returns:
        (N+E, N+E) float64, symmetric; extra rows come last.

    Raises:
        NonFiniteRowError: a row holds NaN or infinite values.
        ValueError: wrong dtype or shape.
    """
    check_rows(rows_nd, "rows")
    for extra_d in extra_rows:
        check_vector(extra_d, rows_nd.shape[1], "extra row")
    if known_nn is not None and known_nn.shape != (len(rows_nd), len(rows_nd)):
        raise ValueError(f"a Gram matrix of {len(rows_nd)} rows cannot have shape {known_nn.shape}")
    gram = _float32_gram(rows_nd, extra_rows, known_nn)
    if not _is_safe(gram, rows_nd, extra_rows):
        gram = _float64_gram(rows_nd, extra_rows)
    bad = tuple(int(row) for row in np.flatnonzero(~np.isfinite(np.diag(gram))))
    if bad:
        raise NonFiniteRowError(bad, "Gram matrix")
    return (gram + gram.T) / 2


def paired_products(first_nd: Float32Array, second_md: Float32Array, pairs: Sequence[tuple[int, int]]) -> Float64Array:
    """Inner products of single rows of one matrix with single rows of another, and the squares of both.

    Precision is that of `gram_matrix`; blocks too small or too large for float32 products are computed in float64.

    Args:
        first_nd: (N, D) float32.
        second_md: (M, D) float32.
        pairs: P pairs of a row of the first and a row of the second matrix.

    Returns:
        (P, 3) float64: product, square of the first row, square of the second. Not finite where a row is not.
    """
    first_rows, second_rows = [one for one, _ in pairs], [other for _, other in pairs]
    found = np.zeros((len(pairs), 3))
    for start in range(0, first_nd.shape[1], EXTRA_COLUMNS):
        columns = slice(start, start + EXTRA_COLUMNS)
        first = _picked(first_nd[:, columns], first_rows)
        second = _picked(second_md[:, columns], second_rows)
        products = np.stack([_row_products(*both) for both in ((first, second), (first, first), (second, second))], 1)
        if not _are_safe(products, first, second):
            wide, other = first.astype(np.float64), second.astype(np.float64)
            with np.errstate(invalid="ignore"):
                products = np.stack([(wide * other).sum(1), (wide * wide).sum(1), (other * other).sum(1)], 1)
        found += products
    return found


def _picked(rows_nd: Float32Array, numbers: list[int]) -> Float32Array:
    """Return these rows: a view where they are all of them, else a copy."""
    return rows_nd if numbers == list(range(len(rows_nd))) else rows_nd[numbers]


def _row_products(first_pd: Float32Array, second_pd: Float32Array) -> Float64Array:
    """Return <first_p, second_p>, (P,): float32 over slices, float64 over their sum."""
    count, size = first_pd.shape
    slices, rest = divmod(size, SLICE_COLUMNS)
    total = np.zeros(count)
    with np.errstate(over="ignore", invalid="ignore"):
        for start, number, width in ((0, slices, SLICE_COLUMNS), (size - rest, 1, rest)):
            columns = slice(start, start + number * width)
            first = first_pd[:, columns].reshape(count, number, 1, width)
            second = second_pd[:, columns].reshape(count, number, width, 1)
            total += np.matmul(first, second).sum(axis=(1, 2, 3), dtype=np.float64)
    return total


def _are_safe(products_p3: Float64Array, first_pd: Float32Array, second_pd: Float32Array) -> bool:
    """Tell the same of products of pairs as `_is_safe` does of a Gram matrix."""
    if not np.isfinite(products_p3).all():
        return False
    smallest = SMALLEST_SAFE_MEAN_SQUARE * first_pd.shape[1]
    small = [(rows_pd, products_p3[:, 1 + i] < smallest) for i, rows_pd in enumerate((first_pd, second_pd))]
    return not any(rows_pd[few].any() for rows_pd, few in small if few.any())


def _float32_gram(
    rows_nd: Float32Array, extra_rows: Sequence[Float32Array], known_nn: Float64Array | None
) -> Float64Array:
    count, size = rows_nd.shape
    gram = np.zeros((count + len(extra_rows), count + len(extra_rows)))
    for start in range(0, size, GRAM_COLUMNS):
        block_nd = rows_nd[:, start : start + GRAM_COLUMNS]
        if known_nn is None:
            gram[:count, :count] += _block_gram(as_tensor(block_nd)).numpy()
        if extra_rows:
            # The block was just read, so these products find most of it in the cache.
            _add_extra_products(gram, block_nd, [extra_d[start : start + GRAM_COLUMNS] for extra_d in extra_rows])
    gram[count:, :count] = gram[:count, count:].T
    if known_nn is not None:
        gram[:count, :count] = known_nn
    return gram


def _add_extra_products(gram: Float64Array, block_nd: Float32Array, extras: list[Float32Array]) -> None:
    """Add the products of extra vectors with a block and with each other; numpy's matrix-vector product is faster
    here than torch's, which in turn is faster for the block itself.
    """
    count = block_nd.shape[0]
    with np.errstate(over="ignore", invalid="ignore"):
        for offset in range(0, block_nd.shape[1], EXTRA_COLUMNS):
            columns = slice(offset, offset + EXTRA_COLUMNS)
            for index, extra_d in enumerate(extras, start=count):
                gram[:count, index] += block_nd[:, columns] @ extra_d[columns]
                for other in range(count, index + 1):
                    gram[other, index] += np.dot(extras[other - count][columns], extra_d[columns])
                    gram[index, other] = gram[other, index]


def _block_gram(block: torch.Tensor) -> torch.Tensor:
    """Float64 Gram matrix of a float32 block: one batched product over its slices, then a sum of the slices."""
    whole = block.shape[1] // SLICE_COLUMNS
    gram = torch.zeros(block.shape[0], block.shape[0], dtype=torch.float64)
    if whole:
        slices = block[:, : whole * SLICE_COLUMNS].view(-1, whole, SLICE_COLUMNS).transpose(0, 1)
        gram += torch.bmm(slices, slices.transpose(1, 2)).sum(0, dtype=torch.float64)
    rest = block[:, whole * SLICE_COLUMNS :]
    if rest.shape[1]:
        gram += rest @ rest.T
    return gram


def _is_safe(gram: Float64Array, rows_nd: Float32Array, extra_rows: Sequence[Float32Array]) -> bool:
    """Tell whether float32 products neither overflowed nor underflowed; rows of zeros are safe."""
    if not np.isfinite(gram).all():
        return False
    small = np.flatnonzero(np.diag(gram) < SMALLEST_SAFE_MEAN_SQUARE * max(rows_nd.shape[1], 1))
    rows = [*rows_nd, *extra_rows]
    return not any(rows[index].any() for index in small)


def _float64_gram(rows_nd: Float32Array, extra_rows: Sequence[Float32Array]) -> Float64Array:
    total = rows_nd.shape[0] + len(extra_rows)
    gram = np.zeros((total, total))
    for start in range(0, rows_nd.shape[1], FLOAT64_COLUMNS):
        columns = slice(start, start + FLOAT64_COLUMNS)
        block = np.concatenate([rows_nd[:, columns], *(extra_d[None, columns] for extra_d in extra_rows)])
        block64 = block.astype(np.float64)
        with np.errstate(invalid="ignore"):
            gram += block64 @ block64.T
    return gram


def cosine_matrix(gram_nn: Float64Array) -> Float64Array:
    """Pairwise cosines from a Gram matrix; a row of zeros has cosine 0 with every row, itself included.

    Args:
        gram_nn: (N, N) float64 Gram matrix.

    Returns:
        (N, N) float64 in [-1, 1].
    """
    norms = np.sqrt(np.maximum(np.diag(gram_nn), 0.0))
    inverse = np.divide(1.0, norms, out=np.zeros_like(norms), where=norms > 0)
    # Two separate scalings: the product of two tiny norms could underflow.
    cosines: Float64Array = np.clip(gram_nn * inverse[:, None] * inverse[None, :], -1.0, 1.0)
    return cosines
