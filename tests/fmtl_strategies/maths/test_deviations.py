import numpy as np
import pytest

from fmtl_strategies.maths.deviations import BLOCK_COLUMNS, deviation_gram, squared_distances


def restated(parameters: np.ndarray, updates: np.ndarray) -> np.ndarray:
    trained = parameters.astype(np.float64) + updates.astype(np.float64)
    deviations = trained - trained.mean(axis=0)
    return deviations @ deviations.T


@pytest.mark.parametrize(("count", "size"), [(1, 5), (2, 7), (4, 100), (6, BLOCK_COLUMNS + 3)])
def test_gram_of_deviations_agrees_with_float64(count: int, size: int) -> None:
    generator = np.random.default_rng(count)
    parameters = generator.standard_normal((count, size)).astype(np.float32)
    updates = generator.standard_normal((count, size)).astype(np.float32)
    expected = restated(parameters, updates)
    np.testing.assert_allclose(deviation_gram(parameters, updates), expected, atol=2e-6 * max(1.0, expected.max()))


def test_small_differences_of_large_weights_are_not_lost() -> None:
    generator = np.random.default_rng(0)
    common = 10 * generator.standard_normal(300_000).astype(np.float32)
    parameters = np.tile(common, (3, 1))
    updates = (1e-3 * generator.standard_normal((3, 300_000))).astype(np.float32)
    trained = (parameters + updates).astype(np.float64)
    expected = ((trained[:, None] - trained[None]) ** 2).sum(axis=2)
    np.testing.assert_allclose(squared_distances(deviation_gram(parameters, updates)), expected, rtol=1e-4)


def test_equal_rows_have_no_deviation() -> None:
    row = np.random.default_rng(0).standard_normal(1000).astype(np.float32)
    gram = deviation_gram(np.tile(row, (3, 1)), np.zeros((3, 1000), np.float32))
    np.testing.assert_array_equal(gram, np.zeros((3, 3)))
