"""Which values of an update are kept, how they are scaled, and what a receiver believes of what arrives."""

from __future__ import annotations

import math
import zlib
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from errors import naming
from flwr.app import Array
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from fmtl_strategies.contract.layout import ArraySpec, GroupLayout
from fmtl_strategies.contract.rule import Sparsify
from fmtl_strategies.contract.sparse import decode_sparse, encode_sparse, kept_count, largest_count, sparsify
from fmtl_strategies.contract.wire import NumberFormat, WireError

FRACTIONS = st.sampled_from([0.01, 0.07, 0.1, 0.2, 0.3, 1 / 3, 0.5, 1.0])
FEW_VALUES = st.sampled_from([0.0, -0.5, 0.5, 1.0, -1.0, 3.0])


def layout(*sizes: int) -> GroupLayout:
    return GroupLayout(arrays=tuple(ArraySpec(name=f"w{i}", shape=(size,)) for i, size in enumerate(sizes)))


def gaussian(size: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(size).astype(np.float32)


@given(values=arrays(np.float32, st.integers(1, 60), elements=FEW_VALUES.map(np.float32)), fraction=FRACTIONS)
def test_exactly_the_due_number_of_largest_values_is_kept_also_with_ties(values: np.ndarray, fraction: float) -> None:
    magnitudes = np.arange(1, values.size + 1, dtype=np.float32)
    for flat in (values + np.float32(7), magnitudes):
        kept = sparsify({"encoder": flat}, {"encoder": layout(flat.size)}, Sparsify(fraction=fraction))["encoder"]
        due = kept_count(flat.size, fraction)
        assert np.count_nonzero(kept) == due
        np.testing.assert_array_equal(np.sort(np.abs(kept))[-due:], np.sort(np.abs(flat))[-due:])
        np.testing.assert_array_equal(kept[kept != 0], flat[kept != 0])


def test_of_no_groups_nothing_is_kept() -> None:
    assert sparsify({}, {}, Sparsify(fraction=0.3)) == {}


def test_ties_are_kept_by_position_and_groups_by_name() -> None:
    updates = {"heads.b": np.ones(3, np.float32), "encoder": np.ones(3, np.float32)}
    kept = sparsify(updates, {group: layout(3) for group in updates}, Sparsify(fraction=0.6))
    assert kept["encoder"].tolist() == [1, 1, 1]
    assert kept["heads.b"].tolist() == [1, 0, 0]
    assert updates["heads.b"].tolist() == [1, 1, 1]


@pytest.mark.parametrize(("size", "fraction", "due"), [(100, 0.07, 7), (11, 1 / 11, 1), (49, 1 / 49, 1), (3, 1e-9, 1)])
def test_the_number_kept_is_not_spoilt_by_floating_point(size: int, fraction: float, due: int) -> None:
    assert kept_count(size, fraction) == due


def test_the_threshold_is_common_to_all_groups_or_one_of_every_array() -> None:
    updates = {"encoder": np.array([9, 8, 7, 6], np.float32), "heads.a": np.array([1, 2, 3, 4, 5, 0.5], np.float32)}
    layouts = {"encoder": layout(4), "heads.a": layout(2, 4)}
    together = sparsify(updates, layouts, Sparsify(fraction=0.4))
    assert together["encoder"].tolist() == [9, 8, 7, 6]
    assert not together["heads.a"].any()
    apart = sparsify(updates, layouts, Sparsify(fraction=0.5, scope="layer"))
    assert apart["encoder"].tolist() == [9, 8, 0, 0]
    assert apart["heads.a"].tolist() == [0, 2, 0, 4, 5, 0]
    assert largest_count(layouts, Sparsify(fraction=0.4)) == 4
    assert largest_count(layouts, Sparsify(fraction=0.5, scope="layer")) == 5


@pytest.mark.parametrize("scope", ["global", "layer"])
def test_energy_keeps_the_norm_and_none_keeps_the_values(scope: Any) -> None:
    updates, layouts = {"encoder": gaussian(5000)}, {"encoder": layout(2000, 3000)}
    energy = sparsify(updates, layouts, Sparsify(fraction=0.2, scope=scope, rescale="energy"))["encoder"]
    plain = sparsify(updates, layouts, Sparsify(fraction=0.2, scope=scope))["encoder"]
    assert np.linalg.norm(energy) == pytest.approx(np.linalg.norm(updates["encoder"]), rel=1e-5)
    np.testing.assert_array_equal(plain != 0, energy != 0)
    np.testing.assert_array_equal(plain[plain != 0], updates["encoder"][plain != 0])


@pytest.mark.parametrize(("fraction", "factor"), [(0.2, 4.0), (0.3, 2.9)])
def test_one_over_rho_makes_a_gaussian_update_several_times_as_long(fraction: float, factor: float) -> None:
    flat = gaussian(200_000)
    kept = sparsify({"encoder": flat}, {"encoder": layout(flat.size)}, Sparsify(fraction=fraction, rescale="inverse"))
    assert np.linalg.norm(kept["encoder"]) / np.linalg.norm(flat) == pytest.approx(factor, rel=0.02)


def test_share_whose_inverse_does_not_fit_into_float32_is_named() -> None:
    with pytest.raises(ValueError, match=naming("rho", "1e-40")):
        sparsify({"encoder": gaussian(10)}, {"encoder": layout(10)}, Sparsify(fraction=1e-40, rescale="inverse"))


@pytest.mark.parametrize("rescale", ["inverse", "energy", "none"])
def test_zeros_stay_zeros(rescale: Any) -> None:
    zeros = {"encoder": np.zeros(10, np.float32)}
    kept = sparsify(zeros, {"encoder": layout(10)}, Sparsify(fraction=0.3, rescale=rescale))
    assert not kept["encoder"].any()


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_values_without_an_order_are_refused_with_their_group(value: float) -> None:
    flat = gaussian(10)
    flat[3] = value
    with pytest.raises(ValueError, match=naming("heads.a", "NaN")):
        sparsify({"heads.a": flat}, {"heads.a": layout(10)}, Sparsify(fraction=0.3))


@given(
    flat=arrays(np.float32, st.integers(1, 70), elements=st.floats(-(2.0**100), 2.0**100, width=32)),
    number_format=st.sampled_from(["float32", "bfloat16"]),
)
def test_what_is_sent_arrives(flat: np.ndarray, number_format: NumberFormat) -> None:
    out = np.full(flat.size, np.nan, np.float32)
    count = decode_sparse(encode_sparse(flat, number_format), flat.size, number_format, out)
    assert count == np.count_nonzero(flat)
    if number_format == "float32":
        np.testing.assert_array_equal(out, flat)
    else:
        np.testing.assert_allclose(out, flat, rtol=2**-8, atol=1e-38)


def packed(flags: np.ndarray | bytes) -> bytes:
    return zlib.compress(flags if isinstance(flags, bytes) else np.packbits(flags).tobytes())


def content(bitmap: bytes, values: np.ndarray | bytes, length: int | None = None) -> Array:
    raw = values if isinstance(values, bytes) else values.astype("<f4").tobytes()
    said = len(bitmap) if length is None else length
    return Array(np.frombuffer(said.to_bytes(4, "little") + bitmap + raw, np.uint8))


def flags(*positions: int, size: int = 24) -> np.ndarray:
    found = np.zeros(size, np.uint8)
    found[list(positions)] = 1
    return found


TWO = np.array([1.0, 2.0], np.float32)
HOSTILE: dict[str, tuple[Callable[[], Array], str]] = {
    "bitmap too long": (lambda: content(packed(flags(1, 2, size=32)), TWO), "not 3 bytes long, as 20 values"),
    "bitmap too short": (lambda: content(packed(flags(1, 2, size=16)), TWO), "not 3 bytes long"),
    "bitmap that unpacks to a gibibyte": (lambda: content(BOMB, TWO), "not 3 bytes long"),
    "bitmap with bytes after its end": (lambda: content(packed(flags(1, 2)) + b"more", TWO), "not 3 bytes long"),
    "bitmap cut off": (lambda: content(packed(flags(1, 2))[:-3], TWO), "not 3 bytes long"),
    "bitmap that is garbage": (lambda: content(b"garbage!", TWO), "cannot be unpacked"),
    "values beyond the vector": (lambda: content(packed(flags(1, 22)), TWO), "beyond the 20 there are"),
    "more values than asked for": (lambda: content(packed(flags(*range(9))), np.ones(9)), "holds 9 values, at most 6"),
    "fewer values than marked": (lambda: content(packed(flags(1, 2, 3)), TWO), "8 bytes of values, its bitmap calls"),
    "more values than marked": (lambda: content(packed(flags(1)), TWO), "8 bytes of values, its bitmap calls for 4"),
    "a length beyond the end": (lambda: content(packed(flags(1, 2)), TWO, 2**32 - 1), "says its bitmap has 4294967295"),
    "three bytes": (lambda: Array(np.zeros(3, np.uint8)), "holds 3 bytes, too few"),
    "nothing": (lambda: Array(np.zeros(0, np.uint8)), "holds 0 bytes"),
    "float32 instead of bytes": (lambda: Array(np.ones(20, np.float32)), "dtype is 'float32'"),
    "int8 instead of bytes": (lambda: Array(np.ones(20, np.int8)), "dtype is 'int8'"),
    "a matrix": (lambda: Array(np.ones((4, 5), np.uint8)), "expected one length"),
    "a shape beyond its bytes": (lambda: Array("uint8", (10**11,), "numpy.ndarray", b"\x93NUMPY"), "100000000000"),
    "another container": (lambda: Array("uint8", (4,), "pickle", b"\x93NUMPY"), "container is 'pickle'"),
}
BOMB = zlib.compress(bytes(2**26), 9)


@pytest.mark.parametrize("kind", sorted(HOSTILE))
def test_hostile_bytes_are_refused_with_a_reason_and_nothing_is_written(kind: str) -> None:
    make, reason = HOSTILE[kind]
    out = np.full(20, 5, np.float32)
    with pytest.raises(WireError) as caught:
        decode_sparse(make(), 20, "float32", out, most_values=6)
    assert reason in str(caught.value)
    assert (out == 5).all()


def test_a_bitmap_that_would_unpack_to_much_costs_no_memory() -> None:
    import tracemalloc

    array, out = content(BOMB, TWO), np.empty(20, np.float32)
    tracemalloc.start()
    with pytest.raises(WireError, match=naming("3 bytes")):
        decode_sparse(array, 20, "float32", out)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 4 * len(BOMB) + 100_000


def test_thirty_percent_of_a_swin_t_in_bfloat16_stay_below_20_megabytes() -> None:
    size = 500_000
    kept = sparsify({"encoder": gaussian(size)}, {"encoder": layout(size)}, Sparsify(fraction=0.3))["encoder"]
    bytes_per_value = len(encode_sparse(kept, "bfloat16").data) / size
    assert 27.72e6 * bytes_per_value < 20e6
    bits_of_a_flag = -(0.3 * math.log2(0.3) + 0.7 * math.log2(0.7))
    assert bytes_per_value == pytest.approx(0.3 * 2 + bits_of_a_flag / 8, rel=0.01)
