"""Flat vectors as Flower arrays: float32, or bfloat16 carried as uint16 bits.

Reading never trusts the sender: dtype, shape and byte count are compared with what is expected before any array
is made, and the header is compared, not parsed (design.md section 6, field-notes section 4).
"""

from __future__ import annotations

import io
from typing import Literal

import numpy as np
import numpy.typing as npt
import torch
from flwr.app import Array
from numpy.lib import format as npy_format

from fmtl_strategies.contract.layout import FloatArray

_BLOCK_BYTES = 1 << 18


def same_bits(one: npt.NDArray[np.generic], other: npt.NDArray[np.generic]) -> bool:
    """Return whether two contiguous arrays of the same size and dtype hold the same bits; stops at a difference."""
    first, second = one.reshape(-1).view(np.uint8), other.reshape(-1).view(np.uint8)
    starts = range(0, first.size, _BLOCK_BYTES)
    return all(np.array_equal(first[i : i + _BLOCK_BYTES], second[i : i + _BLOCK_BYTES]) for i in starts)


NumberFormat = Literal["float32", "bfloat16"]

_WIRE_DTYPE: dict[str, np.dtype[np.generic]] = {"float32": np.dtype("<f4"), "bfloat16": np.dtype("<u2")}
_SHOWN_HEADER_BYTES = 120


class WireError(ValueError):
    """An array that is not what the receiver expects; the text says which property and both values."""


def encode_flat(flat: FloatArray, number_format: NumberFormat) -> Array:
    """Return a flat (D,) float32 vector as a Flower array.

    Args:
        flat: (D,) float32.
        number_format: `float32` (exact, 4 bytes a value) or `bfloat16` (round to nearest even, 2 bytes a value).
    """
    bits = to_bits(flat, number_format)
    # `Array(ndarray)` copies the values three times; they are many.
    content = b"".join([_header(bits.size, bits.dtype), bits.data.cast("B")])
    return Array(bits.dtype.name, bits.shape, "numpy.ndarray", content)


class RowEncoder:
    """Encodes the rows of one round's messages as float32; rows with the same bits one after another share an array.

    Under every method with a common model all clients receive the same: it is copied once, and a carrier that knows
    arrays by their identity (`fmtl.engine.ray_grid`) moves it once.
    """

    def __init__(self) -> None:
        self._last: dict[int, tuple[FloatArray, Array]] = {}

    def encode(self, flat: FloatArray) -> Array:
        """Return `encode_flat(flat, "float32")`; `flat`, (D,) float32, must not change while this encoder is used."""
        last = self._last.get(flat.size)
        if last is not None and same_bits(last[0], flat):
            return last[1]
        array = encode_flat(flat, "float32")
        self._last[flat.size] = (flat, array)
        return array


def to_bits(flat: FloatArray, number_format: NumberFormat) -> npt.NDArray[np.generic]:
    """Return (D,) float32 values in the form they have on the wire: float32, or bfloat16 as uint16 bits."""
    if number_format == "float32":
        return np.ascontiguousarray(flat, dtype="<f4")
    bits: npt.NDArray[np.generic] = (
        torch.from_numpy(np.ascontiguousarray(flat)).to(torch.bfloat16).view(torch.uint16).numpy()
    )
    return bits


def from_bits(content: bytes, number_format: NumberFormat) -> FloatArray:
    """Return the float32 values whose wire form is `content`."""
    raw = np.frombuffer(content, dtype=_WIRE_DTYPE[number_format])
    if number_format == "float32":
        return raw.astype(np.float32)
    flat: FloatArray = np.left_shift(raw.astype(np.uint32), 16).view(np.float32)
    return flat


def decode_flat(array: Array, size: int, number_format: NumberFormat, out: FloatArray | None = None) -> FloatArray:
    """Check a received Flower array and return it as a flat float32 vector.

    Args:
        array: what arrived; nothing in it is trusted.
        size: expected number of values D.
        number_format: the format the message announced.
        out: optional (D,) float32 vector to write to.

    Returns:
        (D,) float32 values. Finiteness is not checked here.

    Raises:
        WireError: another container, dtype, shape or byte count than expected.
    """
    dtype = _WIRE_DTYPE[number_format]
    raw = _checked_values(array, size, dtype)
    flat = np.empty(size, dtype=np.float32) if out is None else out
    if number_format == "float32":
        flat[:] = raw
    else:
        flat.view(np.uint32)[:] = raw
        np.left_shift(flat.view(np.uint32), 16, out=flat.view(np.uint32))
    return flat


def check_container(array: Array, dtype: np.dtype[np.generic]) -> npt.NDArray[np.generic]:
    """Return the values of a received vector whose length is the sender's choice, without a copy.

    Raises:
        WireError: another container, dtype or number of dimensions, or a header that does not say what the bytes hold.
    """
    shape = tuple(array.shape)
    if len(shape) != 1 or not isinstance(shape[0], int) or not 0 <= shape[0] <= len(array.data):
        raise WireError(f"shape is {_short(shape)}, expected one length of at most {len(array.data)}")
    return _checked_values(array, shape[0], dtype)


def _checked_values(array: Array, size: int, dtype: np.dtype[np.generic]) -> npt.NDArray[np.generic]:
    if array.stype != "numpy.ndarray":
        raise WireError(f"container is {array.stype!r}, expected 'numpy.ndarray'")
    if array.dtype not in (dtype.name, dtype.str):
        raise WireError(f"dtype is {array.dtype!r}, expected {dtype.name!r}")
    if tuple(array.shape) != (size,):
        raise WireError(f"shape is {_short(tuple(array.shape))}, expected ({size},)")
    header = _header(size, dtype)
    start = bytes(array.data[: max(len(header), _SHOWN_HEADER_BYTES)])
    if not start.startswith(npy_format.MAGIC_PREFIX):
        raise WireError(f"bytes are not an array in npy format: they begin with {start[:16]!r}")
    if not start.startswith(header):
        said = start[len(npy_format.MAGIC_PREFIX) : _SHOWN_HEADER_BYTES].decode("latin-1").strip()
        raise WireError(f"header says {said!r}; expected {dtype.name}, shape ({size},)")
    if len(array.data) - len(header) != size * dtype.itemsize:
        raise WireError(f"holds {len(array.data) - len(header)} bytes of values, expected {size * dtype.itemsize}")
    return np.frombuffer(array.data, dtype=dtype, count=size, offset=len(header))


def _header(size: int, dtype: np.dtype[np.generic]) -> bytes:
    """The bytes numpy writes before a C-ordered vector. Comparing them needs no parser that a sender could upset."""
    stream = io.BytesIO()
    described = {"descr": dtype.str, "fortran_order": False, "shape": (size,)}
    npy_format.write_array_header_1_0(stream, described)
    return stream.getvalue()


def _short(value: object) -> str:
    text = str(value)
    return text if len(text) <= 120 else text[:117] + "..."
