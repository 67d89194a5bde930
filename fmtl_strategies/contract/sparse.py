"""Updates of which only the largest values are sent: which are kept, how they are scaled, how they travel (FedDEA).

Shapes: D values of a group, K values kept.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
from flwr.app import Array

from fmtl_strategies.contract.layout import FloatArray, GroupLayout
from fmtl_strategies.contract.rule import Sparsify
from fmtl_strategies.contract.wire import NumberFormat, WireError, check_container, from_bits, to_bits

_LENGTH_BYTES = 4
_NORM_BLOCK = 262_144
_LARGEST = float(np.finfo(np.float32).max)


def kept_count(size: int, fraction: float) -> int:
    """Return how many of `size` values are kept: ceil(fraction * size), at least 1 of at least 1."""
    # Rounded first: 0.07 * 100 is 7.000000000000001 in floating point, and 7 values are meant.
    return min(size, max(1, math.ceil(round(fraction * size, 6))))


def sparsify(
    updates: Mapping[str, FloatArray], layouts: Mapping[str, GroupLayout], rule: Sparsify
) -> dict[str, FloatArray]:
    """Keep the values of largest magnitude, set the others to zero, and rescale what is kept.

    Args:
        updates: flat (D,) float32 update by group; left as they are.
        layouts: layout of every group.
        rule: which share is kept, over what, and how it is scaled.

    Returns:
        Updates of the same sizes. Values with equal magnitude at the threshold are kept by position, the groups in
        order of name, so that exactly the due number is kept.

    Raises:
        ValueError: NaN or infinite values, which have no order, or a share whose inverse is too large for float32.

    Source: FedDEA (arXiv 2505.24185; methods.md 1.12): M_i, the top fraction by |Delta_i| over the flattened vector,
    and the factor 1 / rho. `layer` and `energy` are ours.
    """
    groups = sorted(updates)
    for group in groups:
        if not np.isfinite(updates[group]).all():
            raise ValueError(f"update of {group} holds NaN or infinite values; it cannot be ranked")
    if not groups:
        return {}
    if rule.scope == "layer":
        kept = {group: _largest_of_arrays(updates[group], layouts[group], rule) for group in groups}
    else:
        flat = np.concatenate([updates[group] for group in groups])
        flat = _scaled(flat, _largest(flat, kept_count(flat.size, rule.fraction)), rule)
        ends = np.cumsum([updates[group].size for group in groups])
        kept = dict(zip(groups, np.split(flat, ends[:-1]), strict=True))
    return {group: np.ascontiguousarray(kept[group]) for group in updates}


def largest_count(layouts: Mapping[str, GroupLayout], rule: Sparsify) -> int:
    """Return how many values of an update may be other than zero: what a receiver admits at most."""
    if rule.scope == "layer":
        return sum(kept_count(spec.size, rule.fraction) for layout in layouts.values() for spec in layout.arrays)
    return kept_count(sum(layout.size for layout in layouts.values()), rule.fraction)


def encode_sparse(flat: FloatArray, number_format: NumberFormat) -> Array:
    """Return the values of a flat (D,) float32 vector that are not zero as a Flower array of bytes.

    Layout: 4 bytes, the length of the packed bitmap; the bitmap of D bits, Huffman-coded; the values.
    """
    values = flat[np.flatnonzero(flat)]
    packer = zlib.compressobj(level=1, strategy=zlib.Z_HUFFMAN_ONLY)
    bitmap = packer.compress(np.packbits(flat != 0).tobytes()) + packer.flush()
    content = len(bitmap).to_bytes(_LENGTH_BYTES, "little") + bitmap + to_bits(values, number_format).tobytes()
    return Array(np.frombuffer(content, dtype=np.uint8))


def decode_sparse(
    array: Array, size: int, number_format: NumberFormat, out: FloatArray, *, most_values: int | None = None
) -> int:
    """Check what `encode_sparse` made and write it to a flat vector.

    Args:
        array: what arrived; nothing in it is trusted.
        size: expected number of values D, zeros included.
        number_format: the format the message announced.
        out: (D,) float32, overwritten.
        most_values: how many values may be other than zero; None for all.

    Returns:
        How many values arrived.

    Raises:
        WireError: another container, a bitmap of another length, more values than allowed, or bytes too many or too
            few. Nothing is allocated beyond a bitmap of D bits.
    """
    content = check_container(array, np.dtype(np.uint8))
    if content.size < _LENGTH_BYTES:
        raise WireError(f"sparse update holds {content.size} bytes, too few for its length")
    length = int.from_bytes(content[:_LENGTH_BYTES].tobytes(), "little")
    if length > content.size - _LENGTH_BYTES:
        raise WireError(f"sparse update says its bitmap has {length} bytes, but holds {content.size} in all")
    present = _unpacked(content[_LENGTH_BYTES : _LENGTH_BYTES + length].tobytes(), size)
    count = int(np.count_nonzero(present))
    if most_values is not None and count > most_values:
        raise WireError(f"sparse update holds {count} values, at most {most_values} were asked for")
    raw = content[_LENGTH_BYTES + length :]
    width = 4 if number_format == "float32" else 2
    if raw.size != count * width:
        raise WireError(f"sparse update holds {raw.size} bytes of values, its bitmap calls for {count * width}")
    out[:] = 0
    out[present] = from_bits(raw.tobytes(), number_format)
    return count


def _unpacked(packed: bytes, size: int) -> npt.NDArray[np.bool_]:
    due = (size + 7) // 8
    unpacker = zlib.decompressobj()
    try:
        bits = unpacker.decompress(packed, due + 1)
    except zlib.error as error:
        raise WireError(f"bitmap of a sparse update cannot be unpacked: {error}") from error
    if len(bits) != due or not unpacker.eof or unpacker.unused_data:
        raise WireError(f"bitmap of a sparse update is not {due} bytes long, as {size} values call for")
    every = np.unpackbits(np.frombuffer(bits, np.uint8)).view(np.bool_)
    if every[size:].any():
        raise WireError(f"bitmap of a sparse update marks values beyond the {size} there are")
    return every[:size]


def _largest(flat: FloatArray, count: int) -> npt.NDArray[np.bool_]:
    """Return a mask (D,) of exactly `count` values of largest magnitude."""
    if count >= flat.size:
        return np.ones(flat.size, np.bool_)
    magnitude = np.abs(flat)
    threshold = np.partition(magnitude, flat.size - count)[flat.size - count]
    mask: npt.NDArray[np.bool_] = magnitude > threshold
    ties = np.flatnonzero(magnitude == threshold)
    mask[ties[: count - int(np.count_nonzero(mask))]] = True
    return mask


def _largest_of_arrays(flat: FloatArray, layout: GroupLayout, rule: Sparsify) -> FloatArray:
    kept = np.empty_like(flat)
    for spec, columns in layout.segments():
        mask = _largest(flat[columns], kept_count(spec.size, rule.fraction))
        kept[columns] = _scaled(flat[columns], mask, rule)
    return kept


def _norm(flat: FloatArray) -> float:
    """Return the Euclidean norm, summed in float64 without a float64 copy of the whole vector."""
    blocks = (flat[start : start + _NORM_BLOCK].astype(np.float64) for start in range(0, flat.size, _NORM_BLOCK))
    return math.sqrt(sum(float(block @ block) for block in blocks))


def _scaled(flat: FloatArray, mask: npt.NDArray[np.bool_], rule: Sparsify) -> FloatArray:
    kept = np.where(mask, flat, np.float32(0))
    if rule.rescale == "inverse":
        factor = 1.0 / rule.fraction
        if factor > _LARGEST:
            raise ValueError(f"1 / rho is too large for float32 where rho = {rule.fraction!r}; keep a larger share")
    elif rule.rescale == "energy":
        before, after = _norm(flat), _norm(kept)
        factor = before / after if after > 0 else 1.0
    else:
        return kept
    scaled: FloatArray = kept * np.float32(factor)
    return scaled
