"""Calls and answers between two processes of one machine: a JSON header with lengths, then the arrays' bytes."""

from __future__ import annotations

import json
import socket
import struct
from collections.abc import Mapping
from typing import Any, cast

from flwr.app import Array, ArrayRecord, ConfigRecord, RecordDict

_LENGTH = struct.Struct(">Q")
_LONGEST_HEADER = 64 * 2**20


class FrameError(RuntimeError):
    """The other process ended in the middle of a message, or sent something else."""


def send(connection: socket.socket, header: Mapping[str, Any], content: RecordDict | None = None) -> None:
    """Send a header and a message body.

    Args:
        connection: to the other process.
        header: values that JSON can hold.
        content: config records with text values, and array records.
    """
    blobs: list[bytes] = []
    arrays: list[tuple[str, str, str, list[int], str, int]] = []
    configs: dict[str, dict[str, object]] = {}
    if content is not None:
        configs = {name: dict(record) for name, record in content.config_records.items()}
        for name, record in content.array_records.items():
            for key, array in record.items():
                arrays.append((name, key, array.dtype, list(array.shape), array.stype, len(array.data)))
                blobs.append(array.data)
    records = list(content) if content is not None else []
    text = json.dumps({**header, "records": records, "configs": configs, "arrays": arrays}).encode()
    connection.sendall(_LENGTH.pack(len(text)) + text)
    for blob in blobs:
        connection.sendall(blob)


def receive(connection: socket.socket) -> tuple[dict[str, Any], RecordDict]:
    """Receive what `send` sent.

    Raises:
        FrameError: the connection ended too early, or what came is no such message.
    """
    (length,) = _LENGTH.unpack(_exactly(connection, _LENGTH.size))
    if length > _LONGEST_HEADER:
        raise FrameError(f"a header of {length} bytes is too long")
    try:
        header = cast(dict[str, Any], json.loads(_exactly(connection, length)))
        names, configs, arrays = header.pop("records"), header.pop("configs"), header.pop("arrays")
    except (ValueError, KeyError, AttributeError) as error:
        raise FrameError(f"the header cannot be read: {error}") from error
    found: dict[str, dict[str, Array]] = {}
    for name, key, dtype, shape, stype, size in arrays:
        data = _exactly(connection, size)
        found.setdefault(name, {})[key] = Array(dtype=dtype, shape=tuple(shape), stype=stype, data=data)
    content = RecordDict()
    for name in names:
        content[name] = ConfigRecord(configs[name]) if name in configs else ArrayRecord(found.get(name, {}))
    return header, content


def _exactly(connection: socket.socket, size: int) -> bytes:
    data = bytearray(size)
    view = memoryview(data)
    while view:
        count = connection.recv_into(view)
        if count == 0:
            raise FrameError("the other process ended in the middle of a message")
        view = view[count:]
    return bytes(data)
