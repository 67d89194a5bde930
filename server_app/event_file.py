"""Scalars in the file format of TensorBoard, written without it.

A file is a row of records: length (uint64), its masked CRC-32C, content, the content's masked CRC-32C. A content is a
protocol-buffer `Event`.
Source: tensorboard/compat/proto/event.proto and summary.proto; TensorFlow's documentation of TFRecord.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable
from dataclasses import dataclass

_POLYNOMIAL = 0x82F63B78
_MASK_DELTA = 0xA282EAD8
_UINT32 = 0xFFFFFFFF
_VARINT, _FIXED64, _LENGTH_DELIMITED, _FIXED32 = 0, 1, 2, 5
_SESSION_START = 1


@dataclass(frozen=True)
class Scalar:
    """One point of one curve.

    Attributes:
        tag: name of the curve; the part before the first '/' groups curves.
        step: round.
        value: the number.
    """

    tag: str
    step: int
    value: float


def beginning(wall_time: float) -> bytes:
    """Return what a file begins with: its version, and that earlier points of the same run no longer count.

    Args:
        wall_time: seconds since the epoch.
    """
    version = _field(3, _LENGTH_DELIMITED, b"brain.Event:2")
    session = _field(7, _LENGTH_DELIMITED, _field(1, _VARINT, _varint(_SESSION_START)))
    return _record(_time(wall_time) + version) + _record(_time(wall_time) + session)


def points(scalars: Iterable[Scalar], wall_time: float) -> bytes:
    """Return the records of some points.

    Args:
        scalars: the points.
        wall_time: when they were made, seconds since the epoch.
    """
    by_step: dict[int, bytes] = {}
    for scalar in scalars:
        value = _field(1, _LENGTH_DELIMITED, scalar.tag.encode()) + _field(2, _FIXED32, struct.pack("<f", scalar.value))
        by_step[scalar.step] = by_step.get(scalar.step, b"") + _field(1, _LENGTH_DELIMITED, value)
    return b"".join(
        _record(_time(wall_time) + _field(2, _VARINT, _varint(step)) + _field(5, _LENGTH_DELIMITED, summary))
        for step, summary in by_step.items()
    )


def _time(wall_time: float) -> bytes:
    return _field(1, _FIXED64, struct.pack("<d", wall_time))


def _field(number: int, wire_type: int, content: bytes) -> bytes:
    length = _varint(len(content)) if wire_type == _LENGTH_DELIMITED else b""
    return _varint(number << 3 | wire_type) + length + content


def _varint(number: int) -> bytes:
    """Return a number that is not negative in groups of seven bits, the lowest first."""
    groups = bytearray()
    while number > 0x7F:
        groups.append(number & 0x7F | 0x80)
        number >>= 7
    groups.append(number)
    return bytes(groups)


def _record(content: bytes) -> bytes:
    length = struct.pack("<Q", len(content))
    return length + _masked_checksum(length) + content + _masked_checksum(content)


def _masked_checksum(content: bytes) -> bytes:
    checksum = _UINT32
    for byte in content:
        checksum = _TABLE[(checksum ^ byte) & 0xFF] ^ (checksum >> 8)
    checksum ^= _UINT32
    return struct.pack("<I", ((checksum >> 15 | checksum << 17) + _MASK_DELTA) & _UINT32)


def _table() -> tuple[int, ...]:
    entries = []
    for entry in range(256):
        for _ in range(8):
            entry = entry >> 1 ^ (_POLYNOMIAL if entry & 1 else 0)
        entries.append(entry)
    return tuple(entries)


_TABLE = _table()
