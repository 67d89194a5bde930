"""Bodies of messages and the bytes of their arrays go apart and come together again."""

from __future__ import annotations

import numpy as np
from flwr.app import Array, ArrayRecord, ConfigRecord, RecordDict

from fmtl.engine.ray_worker import put_back, take_out
from fmtl_strategies.contract.wire import RowEncoder, decode_flat, encode_flat


def test_what_is_taken_out_and_put_back_is_the_same_and_the_original_stays_whole() -> None:
    body = RecordDict({"text": ConfigRecord({"json": "{}"})})
    body["parameters"] = ArrayRecord({"encoder": Array(np.arange(5, dtype=np.float32)), "empty": Array(np.zeros(0))})
    light, taken = take_out(body)
    assert [array.data for array in light["parameters"].values()] == [b"", b""]
    restored = put_back(light, taken)
    assert restored.config_records["text"] == body.config_records["text"]
    for name, array in body["parameters"].items():
        other = restored["parameters"][name]
        assert (other.dtype, other.shape, other.stype, other.data) == (
            array.dtype,
            array.shape,
            array.stype,
            array.data,
        )


def test_arrays_are_read_from_a_view_of_the_object_store_as_from_bytes() -> None:
    flat = np.linspace(-1, 1, 1000, dtype=np.float32)
    for number_format in ("float32", "bfloat16"):
        array = encode_flat(flat, number_format)
        expected = decode_flat(array, flat.size, number_format)
        array.data = np.frombuffer(array.data, np.uint8).data
        np.testing.assert_array_equal(decode_flat(array, flat.size, number_format), expected)


def test_encoded_vector_is_what_flower_makes_of_it() -> None:
    flat = np.linspace(-1, 1, 1000, dtype=np.float32)
    assert encode_flat(flat, "float32").data == Array(flat).data


def test_rows_with_the_same_bits_share_an_array_and_others_do_not() -> None:
    encoder = RowEncoder()
    row = np.linspace(-1, 1, 200_000, dtype=np.float32)
    other = row.copy()
    other[-1] = np.nextafter(other[-1], 2, dtype=np.float32)
    zero, negative_zero = np.zeros(3, np.float32), np.full(3, -0.0, np.float32)
    first = encoder.encode(row)
    assert encoder.encode(row.copy()) is first
    assert encoder.encode(other) is not first
    assert encoder.encode(zero) is not encoder.encode(negative_zero)
