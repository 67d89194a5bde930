"""Linear combinations of the rows of large float32 matrices, in place and block by block (field-notes section 2).

No function here allocates more than one block of 262,144 columns per row beside its arguments.
"""

from collections.abc import Iterator

import numpy as np
import torch

from fmtl_strategies.maths.rows import (
    BLOCK_COLUMNS,
    Float32Array,
    Float64Array,
    as_tensor,
    check_coefficients,
    check_rows,
    check_same_shape,
    check_vector,
)


def add_combination(parameters_nd: Float32Array, updates_nd: Float32Array, coefficients_nn: Float64Array) -> None:
    """Add C @ updates to the parameters, in place.

    Args:
        parameters_nd: (N, D) float32, changed in place.
        updates_nd: (N, D) float32, only read.
        coefficients_nn: (N, N) float64.

    Raises:
        ValueError: shapes, dtypes or coefficients that do not fit; nothing is changed then.
    """
    check_same_shape(parameters_nd, updates_nd)
    count = parameters_nd.shape[0]
    coefficients = _to_float32(check_coefficients(coefficients_nn, (count, count), "coefficients"))
    parameters, updates = as_tensor(parameters_nd), as_tensor(updates_nd)
    for block in _blocks(parameters_nd.shape[1]):
        parameters[:, block].addmm_(coefficients, updates[:, block])


def apply_aggregate(
    parameters_nd: Float32Array,
    updates_nd: Float32Array,
    out_d: Float32Array,
    *,
    aggregate_n: Float64Array,
    step_n: Float64Array,
    local_nn: Float64Array | None = None,
) -> None:
    """Write the aggregate to `out_d` and add local part plus step times aggregate to every row, in one pass.

    Computes out = aggregate_n @ updates and parameters_i += (local @ updates)_i + step_i * out.

    Args:
        parameters_nd: (N, D) float32, changed in place.
        updates_nd: (N, D) float32, only read.
        out_d: (D,) float32, overwritten with the aggregate; the only vector of length D that is needed.
        aggregate_n: (N,) coefficients of the aggregate on the updates.
        step_n: (N,) how much of the aggregate each row receives.
        local_nn: (N, N) coefficients of the local part; None means each row's own update.

    Raises:
        ValueError: shapes, dtypes or coefficients that do not fit; nothing is changed then.
    """
    check_same_shape(parameters_nd, updates_nd)
    count, size = parameters_nd.shape
    check_vector(out_d, size, "out")
    aggregate_n = check_coefficients(aggregate_n, (count,), "aggregate coefficients")
    step_n = check_coefficients(step_n, (count,), "steps")
    local_nn = np.eye(count) if local_nn is None else check_coefficients(local_nn, (count, count), "local coefficients")
    aggregate, total = _to_float32(aggregate_n), _to_float32(local_nn + np.outer(step_n, aggregate_n))
    parameters, updates, out = as_tensor(parameters_nd), as_tensor(updates_nd), as_tensor(out_d)
    for block in _blocks(size):
        torch.mv(updates[:, block].T, aggregate, out=out[block])
        parameters[:, block].addmm_(total, updates[:, block])


def mix_rows(parameters_nd: Float32Array, mixing_nn: Float64Array) -> None:
    """Replace the rows by W @ rows, in place; with 1/N everywhere this is FedAvg's mean for everybody.

    Args:
        parameters_nd: (N, D) float32, changed in place.
        mixing_nn: (N, N) float64.

    Raises:
        ValueError: shapes, dtypes or coefficients that do not fit; nothing is changed then.
    """
    check_rows(parameters_nd, "parameters")
    count = parameters_nd.shape[0]
    mixing = _to_float32(check_coefficients(mixing_nn, (count, count), "mixing coefficients"))
    parameters = as_tensor(parameters_nd)
    for block in _blocks(parameters_nd.shape[1]):
        parameters[:, block] = mixing @ parameters[:, block]


def group_mean_coefficients(labels: list[str]) -> Float64Array:
    """Mixing coefficients that replace every row by the mean of the rows with its label.

    Args:
        labels: one label per row; equal labels form a group, wherever they stand.

    Returns:
        (N, N) float64, rows sum to 1. Different labels everywhere give the identity.
    """
    names = np.asarray(labels)
    same = (names[:, None] == names[None, :]).astype(np.float64)
    coefficients: Float64Array = same / same.sum(axis=1, keepdims=True)
    return coefficients


def _blocks(size: int) -> Iterator[slice]:
    for first in range(0, size, BLOCK_COLUMNS):
        yield slice(first, min(first + BLOCK_COLUMNS, size))


def _to_float32(coefficients: Float64Array) -> torch.Tensor:
    return torch.from_numpy(coefficients.astype(np.float32))
