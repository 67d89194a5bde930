"""One common model from parameters and updates: values, bits, members, wrong input."""

import numpy as np
import pytest

from fmtl_strategies.maths.common_model import COMMON_COLUMNS, CommonModel, write_common_model


def matrices(count: int, size: int) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(0)
    parameters, updates = generator.standard_normal((2, count, size)).astype(np.float32)
    return parameters, 0.01 * updates


@pytest.mark.parametrize("size", [1, 7, COMMON_COLUMNS + 3])
def test_all_rows_get_weighted_parameters_plus_combined_updates(size: int) -> None:
    parameters, updates = matrices(4, size)
    weights, coefficients = np.array([0.1, 0.2, 0.3, 0.4]), np.array([1.0, -2.0, 0.5, 0.0])
    combined = coefficients @ updates.astype(np.float64)
    expected = weights @ parameters.astype(np.float64) + combined
    update_d = np.empty(size, np.float32)
    write_common_model(parameters, updates, CommonModel(range(4), weights, coefficients), update_d)
    np.testing.assert_allclose(parameters, np.broadcast_to(expected, parameters.shape), rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(parameters, np.broadcast_to(parameters[0], parameters.shape))
    np.testing.assert_allclose(update_d, combined, rtol=1e-5, atol=1e-7)


def test_only_members_are_read_and_written() -> None:
    parameters, updates = matrices(4, 9)
    before = parameters.copy()
    updates[[0, 2]] = np.nan
    write_common_model(parameters, updates, CommonModel([3, 1], np.array([0.5, 0.5]), np.array([1.0, 2.0])))
    np.testing.assert_array_equal(parameters[[0, 2]], before[[0, 2]])
    expected = (before[1] + before[3]) / 2 + updates[3] + 2 * updates[1]
    np.testing.assert_allclose(parameters[[1, 3]], np.stack([expected, expected]), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("count", [1, 3, 6, 7, 24])
def test_parameters_that_agree_keep_their_bits_where_updates_are_zero(count: int) -> None:
    row = np.random.default_rng(1).standard_normal(1000).astype(np.float32)
    parameters = np.tile(row, (count, 1))
    uniform = np.full(count, 1 / count)
    write_common_model(parameters, np.zeros_like(parameters), CommonModel(range(count), uniform, uniform))
    np.testing.assert_array_equal(parameters, np.tile(row, (count, 1)))


@pytest.mark.parametrize(
    ("model", "text"),
    [
        (CommonModel([], np.ones(0), np.ones(0)), "members"),
        (CommonModel([0, 0], np.full(2, 0.5), np.ones(2)), "members"),
        (CommonModel([0, 2], np.full(2, 0.5), np.ones(2)), "members"),
        (CommonModel([0, 1], np.ones(2), np.ones(2)), "sum"),
        (CommonModel([0, 1], np.full(2, 0.5), np.array([1.0, np.inf])), "NaN"),
        (CommonModel([0, 1], np.full(2, 0.5), np.ones(3)), "shape"),
    ],
)
def test_wrong_input_is_an_error_and_changes_nothing(model: CommonModel, text: str) -> None:
    parameters, updates = matrices(2, 5)
    before = parameters.copy()
    with pytest.raises(ValueError, match=text):
        write_common_model(parameters, updates, model)
    np.testing.assert_array_equal(parameters, before)
