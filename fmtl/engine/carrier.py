"""Bodies of messages without the bytes of their arrays, so that these can go another way and be read without a copy."""

from __future__ import annotations

from collections.abc import Sequence

from flwr.app import Array, ArrayRecord, RecordDict

Bytes = bytes | memoryview


def take_out(content: RecordDict) -> tuple[RecordDict, list[Bytes]]:
    """Return a body whose arrays are empty, and the bytes that belong in them, in order."""
    light = RecordDict()
    taken: list[Bytes] = []
    for name, record in content.items():
        if isinstance(record, ArrayRecord):
            taken += [array.data for array in record.values()]
            light[name] = ArrayRecord({key: Array(a.dtype, tuple(a.shape), a.stype, b"") for key, a in record.items()})
        else:
            light[name] = record
    return light, taken


def put_back(light: RecordDict, taken: Sequence[Bytes]) -> RecordDict:
    """Undo `take_out`, in place."""
    arrays = [array for record in light.array_records.values() for array in record.values()]
    for array, data in zip(arrays, taken, strict=True):
        array.data = data  # type: ignore[assignment]  # Flower's own code reads any buffer
    return light
