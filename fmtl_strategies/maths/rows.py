"""Checks shared by the kernels, and the bridge from numpy matrices to torch kernels without a copy."""

import warnings

import numpy as np
import numpy.typing as npt
import torch

Float32Array = npt.NDArray[np.float32]
Float64Array = npt.NDArray[np.float64]

BLOCK_COLUMNS = 262_144


class NonFiniteRowError(ValueError):
    """Some rows hold NaN or infinite values; `rows` lists their indices."""

    def __init__(self, rows: tuple[int, ...], what: str) -> None:
        super().__init__(
            f"{what}: row(s) {', '.join(map(str, rows))} hold NaN or infinite values; "
            "leave these rows out before aggregating, one of them would spoil every result"
        )
        self.rows = rows


def check_rows(rows_nd: Float32Array, name: str) -> None:
    """Raise ValueError unless `rows_nd` is a float32 (N, D) matrix, N >= 1, whose rows are contiguous in memory."""
    if rows_nd.dtype != np.float32 or rows_nd.ndim != 2 or rows_nd.shape[0] == 0:
        raise ValueError(f"{name} must be a float32 (N, D) matrix with N >= 1, got {rows_nd.dtype} {rows_nd.shape}")
    if rows_nd.shape[1] > 1 and rows_nd.strides[1] != rows_nd.itemsize:
        raise ValueError(f"{name} must have contiguous rows; pass it through numpy.ascontiguousarray first")


def check_same_shape(first_nd: Float32Array, second_nd: Float32Array) -> None:
    """Raise ValueError unless both are valid row matrices of one shape."""
    check_rows(first_nd, "parameters")
    check_rows(second_nd, "updates")
    if first_nd.shape != second_nd.shape:
        raise ValueError(f"parameters have shape {first_nd.shape}, updates {second_nd.shape}; they must agree")


def check_vector(vector_d: Float32Array, size: int, name: str) -> None:
    """Raise ValueError unless `vector_d` is a contiguous float32 vector of `size` elements."""
    if vector_d.dtype != np.float32 or vector_d.shape != (size,) or not vector_d.flags.c_contiguous:
        raise ValueError(f"{name} must be a contiguous float32 ({size},) vector, got {vector_d.dtype} {vector_d.shape}")


def check_coefficients(coefficients: Float64Array, shape: tuple[int, ...], name: str) -> Float64Array:
    """Return coefficients as float64 after checking shape and finiteness.

    Raises:
        ValueError: another shape, or a coefficient that is NaN or infinite.
    """
    checked = np.asarray(coefficients, dtype=np.float64)
    if checked.shape != shape:
        raise ValueError(f"{name} must have shape {shape}, got {checked.shape}")
    if not np.isfinite(checked).all():
        raise ValueError(f"{name} hold NaN or infinite values")
    return checked


def check_gram(gram_nn: Float64Array) -> Float64Array:
    """Return a Gram matrix as float64; raise ValueError unless it is square, not empty and finite."""
    if gram_nn.ndim != 2 or not len(gram_nn):
        raise ValueError(f"the Gram matrix must be square with at least one row, got shape {gram_nn.shape}")
    return check_coefficients(gram_nn, (len(gram_nn), len(gram_nn)), "the Gram matrix: products")


def as_tensor(array: Float32Array) -> torch.Tensor:
    """View a numpy array as a torch tensor; both share memory."""
    if array.flags.writeable:
        return torch.from_numpy(array)
    with warnings.catch_warnings():
        # The kernels only read from arrays that were handed over read-only, which torch cannot know.
        warnings.filterwarnings("ignore", message="The given NumPy array is not writable")
        return torch.from_numpy(array)
