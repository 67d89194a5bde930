"""One model for several rows: the mean of what they had, plus one combination of their updates, in a single pass.

Shapes: N rows, D columns, M rows that get the common model.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from fmtl_strategies.maths.rows import (
    Float32Array,
    Float64Array,
    check_coefficients,
    check_same_shape,
    check_vector,
)

# A block stays in the cache between its passes. Numpy instead of torch: on a busy machine torch's threads wait for each
# other after each of these short operations, which was measured to take 50 times as long.
COMMON_COLUMNS = 65_536


@dataclass(frozen=True)
class CommonModel:
    """sum_i weights_i parameters_i + sum_i coefficients_i update_i over the rows `members`.

    members: the M row numbers; they get the common model, the others stay.
    weights_m: (M,) float64 weights of the parameters, sum 1.
    coefficients_m: (M,) float64 coefficients of the updates.
    """

    members: Sequence[int]
    weights_m: Float64Array
    coefficients_m: Float64Array


def write_common_model(
    parameters_nd: Float32Array,
    updates_nd: Float32Array,
    model: CommonModel,
    update_d: Float32Array | None = None,
) -> None:
    """Write the common model to every row of `model.members`.

    Parameters on which all members agree are kept to the bit where the update is zero, whatever the weights.

    Args:
        parameters_nd: (N, D) float32, changed in place.
        updates_nd: (N, D) float32, only read.
        model: which rows, and how they are combined.
        update_d: (D,) float32, overwritten with the combination of the updates; None: it is not wanted.

    Raises:
        ValueError: shapes, dtypes, rows or coefficients that do not fit; nothing is changed then.
    """
    check_same_shape(parameters_nd, updates_nd)
    count, size = parameters_nd.shape
    members = list(model.members)
    if not members or len(set(members)) != len(members) or not all(0 <= row < count for row in members):
        raise ValueError(f"members must be different row numbers below {count}, at least one, got {members}")
    if update_d is not None:
        check_vector(update_d, size, "update")
    weights = check_coefficients(model.weights_m, (len(members),), "weights")
    if not np.isclose(weights.sum(), 1.0):
        raise ValueError(f"weights of the parameters must sum to 1, got {weights.sum()}")
    coefficients = check_coefficients(model.coefficients_m, (len(members),), "coefficients")
    rows: slice | list[int] = slice(None) if members == list(range(count)) else members
    combination = weights.astype(np.float32), coefficients.astype(np.float32)
    for start in range(0, size, COMMON_COLUMNS):
        block = slice(start, start + COMMON_COLUMNS)
        update = _write_block(parameters_nd, updates_nd, (rows, block), combination)
        if update_d is not None:
            update_d[block] = update


def _write_block(
    parameters_nd: Float32Array,
    updates_nd: Float32Array,
    place: tuple[slice | list[int], slice],
    combination: tuple[Float32Array, Float32Array],
) -> Float32Array:
    """Write the common model to one block of columns and return the combination of the updates there."""
    weights, coefficients = combination
    update: Float32Array = coefficients @ updates_nd[place]
    theirs = parameters_nd[place]
    first = theirs[0].copy()
    # Mean of the differences to the first row: exactly zero where all agree, small where they nearly do. They may be
    # taken in place, everything here is overwritten.
    theirs -= first
    parameters_nd[place] = first + weights @ theirs + update
    return update
