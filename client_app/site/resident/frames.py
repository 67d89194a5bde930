"""Calls and answers between two processes of one machine: a JSON header, then the arrays' bytes; no pickle."""

import json
from collections.abc import Mapping
from multiprocessing.connection import Connection
from typing import Any, cast

from flwr.app import Array, ArrayRecord, ConfigRecord, RecordDict

_LONGEST_HEADER = 64 * 2**20


class FrameError(RuntimeError):
    """The other process ended in the middle of a message, or sent something else."""


def send(connection: Connection, header: Mapping[str, Any], content: RecordDict | None = None) -> None:
    """Send a header and a message body.

    Args:
        connection: to the other process.
        header: values that JSON can hold.
        content: config records with text values, and array records.
    """
    records = RecordDict() if content is None else content
    configs = {name: dict(record) for name, record in records.config_records.items()}
    arrays = [(name, key, array) for name, record in records.array_records.items() for key, array in record.items()]
    forms = [(name, key, array.dtype, list(array.shape), array.stype, len(array.data)) for name, key, array in arrays]
    text = json.dumps({**header, "records": list(records), "configs": configs, "arrays": forms})
    connection.send_bytes(text.encode())
    for _, _, array in arrays:
        connection.send_bytes(array.data)


def receive(connection: Connection) -> tuple[dict[str, Any], RecordDict]:
    """Receive what `send` sent.

    Raises:
        FrameError: the connection ended too early, or what came is no such message.
    """
    try:
        header = cast(dict[str, Any], json.loads(connection.recv_bytes(_LONGEST_HEADER)))
        names, configs, arrays = header.pop("records"), header.pop("configs"), header.pop("arrays")
        found: dict[str, dict[str, Array]] = {}
        for name, key, dtype, shape, stype, size in arrays:
            data = connection.recv_bytes(size)
            found.setdefault(name, {})[key] = Array(dtype=dtype, shape=tuple(shape), stype=stype, data=data)
    except (EOFError, OSError) as error:
        raise FrameError(f"the other process ended in the middle of a message ({error})") from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise FrameError(f"the header cannot be read: {error}") from error
    content = RecordDict()
    for name in names:
        content[name] = ConfigRecord(configs[name]) if name in configs else ArrayRecord(found.get(name, {}))
    return header, content
