"""Gram and combination kernels against plain float64 restatements."""

import numpy as np
import pytest
from errors import naming

from fmtl_strategies.maths.combine import (
    add_combination,
    apply_aggregate,
    group_mean_coefficients,
    mix_rows,
)
from fmtl_strategies.maths.gram import GRAM_COLUMNS, cosine_matrix, gram_matrix
from fmtl_strategies.maths.rows import BLOCK_COLUMNS, Float32Array, NonFiniteRowError

# Not multiples of the block or the slice, so that every remainder path runs.
SIZES = [1, 100, 16_384, 40_001, BLOCK_COLUMNS + 20_011, GRAM_COLUMNS + 16_400]


def random_rows(count: int, size: int, seed: int = 0) -> Float32Array:
    return np.random.default_rng(seed).standard_normal((count, size), dtype=np.float32)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("count", [1, 5])
def test_gram_equals_float64_products_with_and_without_extra_rows(count: int, size: int) -> None:
    rows, extra = random_rows(count, size), random_rows(2, size, seed=1)
    everything = np.concatenate([rows, extra]).astype(np.float64)
    expected = everything @ everything.T
    tolerance = 3e-6 * np.diag(expected).max()
    np.testing.assert_allclose(gram_matrix(rows), expected[:count, :count], atol=tolerance)
    gram = gram_matrix(rows, (extra[0], extra[1]))
    np.testing.assert_allclose(gram, expected, atol=tolerance)
    assert (gram == gram.T).all()


@pytest.mark.parametrize("scale", [1e-30, 1e-20, 1e-3, 1e25])
def test_gram_keeps_its_accuracy_at_any_scale_of_the_updates(scale: float) -> None:
    rows = random_rows(3, 20_000) * np.float32(scale)
    expected = rows.astype(np.float64) @ rows.astype(np.float64).T
    np.testing.assert_allclose(gram_matrix(rows), expected, atol=3e-6 * expected.max())


def test_gram_of_a_zero_row_is_zero_and_its_cosines_are_zero() -> None:
    rows = random_rows(3, 500)
    rows[1] = 0
    cosines = cosine_matrix(gram_matrix(rows))
    assert not cosines[1].any()
    np.testing.assert_allclose(np.diag(cosines), [1, 0, 1])


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_gram_names_rows_with_values_that_are_not_finite(bad: float) -> None:
    rows = random_rows(4, 50_000)
    rows[2, 49_999] = bad
    with pytest.raises(NonFiniteRowError, match="2") as caught:
        gram_matrix(rows)
    assert caught.value.rows == (2,)


def test_gram_reads_strided_and_read_only_rows() -> None:
    wide = random_rows(3, 60_000)
    wide.flags.writeable = False
    part = wide[:, 1_000:41_000]
    np.testing.assert_allclose(gram_matrix(part), gram_matrix(np.ascontiguousarray(part)), rtol=1e-6, atol=1e-2)


@pytest.mark.parametrize("rows", [np.zeros((2, 3)), np.zeros(3, np.float32), np.zeros((3, 2), np.float32).T])
def test_gram_refuses_other_dtypes_shapes_and_memory_orders(rows: np.ndarray) -> None:
    with pytest.raises(ValueError, match="must"):
        gram_matrix(rows)


@pytest.mark.parametrize("size", SIZES)
def test_add_combination_equals_float64_product(size: int) -> None:
    parameters, updates = random_rows(4, size), random_rows(4, size, seed=1)
    coefficients = np.random.default_rng(2).standard_normal((4, 4))
    expected = parameters + coefficients @ updates.astype(np.float64)
    add_combination(parameters, updates, coefficients)
    np.testing.assert_allclose(parameters, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("grouped", [False, True])
def test_apply_aggregate_writes_aggregate_and_adds_local_part_and_step(size: int, grouped: bool) -> None:
    parameters, updates = random_rows(3, size), random_rows(3, size, seed=1)
    aggregate, steps = np.array([0.2, 0.5, -0.3]), np.array([0.0, 0.1, 1.0])
    local = group_mean_coefficients(["a", "b", "a"]) if grouped else None
    wide = updates.astype(np.float64)
    own = wide if not grouped else np.stack([(wide[0] + wide[2]) / 2, wide[1], (wide[0] + wide[2]) / 2])
    expected_aggregate = aggregate @ wide
    expected = parameters + own + steps[:, None] * expected_aggregate
    out = np.full(size, np.nan, dtype=np.float32)
    apply_aggregate(parameters, updates, out, aggregate_n=aggregate, step_n=steps, local_nn=local)
    np.testing.assert_allclose(out, expected_aggregate, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(parameters, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("size", SIZES)
def test_mix_rows_equals_float64_products(size: int) -> None:
    rows = random_rows(4, size)
    mixing = np.random.default_rng(3).random((4, 4))
    expected = mixing @ rows.astype(np.float64)
    mix_rows(rows, mixing)
    np.testing.assert_allclose(rows, expected, rtol=1e-5, atol=1e-5)


def test_bad_coefficients_change_nothing() -> None:
    parameters, updates = random_rows(2, 10), random_rows(2, 10, seed=1)
    before = parameters.copy()
    with pytest.raises(ValueError, match=naming("NaN")):
        add_combination(parameters, updates, np.array([[1.0, np.nan], [0.0, 1.0]]))
    with pytest.raises(ValueError, match="shape"):
        mix_rows(parameters, np.eye(3))
    with pytest.raises(ValueError, match="agree"):
        add_combination(parameters, updates[:, :5], np.eye(2))
    assert (parameters == before).all()
