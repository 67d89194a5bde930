"""Number formats on the wire, and arrays that lie about themselves."""

import numpy as np
import pytest
import torch
from errors import naming
from flwr.app import Array

from fmtl_strategies.contract.wire import WireError, decode_flat, encode_flat

VALUES = np.random.default_rng(0).standard_normal(1000).astype(np.float32)


def test_float32_is_exact() -> None:
    np.testing.assert_array_equal(decode_flat(encode_flat(VALUES, "float32"), 1000, "float32"), VALUES)


def test_bfloat16_equals_torch_rounding_and_halves_the_bytes() -> None:
    array = encode_flat(VALUES, "bfloat16")
    expected = torch.from_numpy(VALUES).to(torch.bfloat16).to(torch.float32).numpy()
    np.testing.assert_array_equal(decode_flat(array, 1000, "bfloat16"), expected)
    assert len(array.data) < len(encode_flat(VALUES, "float32").data) * 0.55


def test_bfloat16_keeps_nan_and_infinity_so_that_admission_sees_them() -> None:
    odd = np.array([np.nan, np.inf, -np.inf, 0.0], np.float32)
    back = decode_flat(encode_flat(odd, "bfloat16"), 4, "bfloat16")
    assert np.isnan(back[0])
    assert back[1] == np.inf
    assert back[2] == -np.inf


def _cut_off() -> Array:
    array = encode_flat(VALUES[:4], "float32")
    return Array(array.dtype, array.shape, array.stype, array.data[:-2])


# What else a sender can get wrong goes through admission: tests/fmtl_strategies/round/test_bad_replies.py.
@pytest.mark.parametrize(
    ("array", "said"),
    [
        (Array("float32", (4,), "numpy.ndarray", b""), "npy"),
        (Array("float32", (4,), "torch.tensor", b""), "container"),
        (_cut_off(), "14 bytes"),
    ],
)
def test_array_that_is_not_what_it_should_be_is_refused(array: Array, said: str) -> None:
    with pytest.raises(WireError, match=naming(said)):
        decode_flat(array, 4, "float32")
