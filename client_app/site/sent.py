"""A site's own record of everything its client has sent: one JSON line for every answer, written before it leaves."""

import fcntl
import json
import logging
import os
import time
from pathlib import Path
from typing import Any

from flwr.app import RecordDict

from fmtl_strategies.flower_compat import log

SENT_VARIABLE = "FMTL_SENT"
"""Environment variable: the file of the record. Unset: none is kept."""


def note_answer(kind: str, run_id: int, content: RecordDict) -> None:
    """Write down an answer: its whole text, and name, type, shape and bytes of each array.

    Args:
        kind: what was asked.
        run_id: Flower's number of the run.
        content: the answer's body, as it is about to be sent.

    Raises:
        OSError: it cannot be written; the answer should then not be sent.
    """
    if not os.environ.get(SENT_VARIABLE):
        return
    texts = {name: dict(record) for name, record in content.config_records.items()}
    arrays = [
        {"record": name, "group": key, "dtype": array.dtype, "shape": list(array.shape), "bytes": len(array.data)}
        for name, record in content.array_records.items()
        for key, array in record.items()
    ]
    others = sorted(set(content) - set(content.config_records) - set(content.array_records))
    _write({"kind": kind, "run": str(run_id), "texts": texts, "arrays": arrays, "others": others})


def note_error(kind: str, run_id: int, error: BaseException) -> None:
    """Write down an error, whose type and text are sent instead of an answer.

    Where that fails (the disk is full), the error is sent all the same: the coordinator has to hear why.
    """
    if not os.environ.get(SENT_VARIABLE):
        return
    try:
        _write({"kind": kind, "run": str(run_id), "error": f"{type(error).__name__}: {error}"})
    except OSError as reason:
        log(logging.WARNING, "an error that was sent could not be written down: %s", reason)


def _write(line: dict[str, Any]) -> None:
    place = Path(os.environ[SENT_VARIABLE])
    data = json.dumps({"time": round(time.time(), 3), **line}).encode() + b"\n"
    descriptor = os.open(place, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600)
    try:
        # Lines of two messages at the same moment must not mix, nor may one take the other's for its own rest.
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        _append(descriptor, data, place)
    finally:
        os.close(descriptor)


def _append(descriptor: int, data: bytes, place: Path) -> None:
    """Write a line, whole or not at all, and on a line of its own."""
    size = os.fstat(descriptor).st_size
    if size and os.pread(descriptor, 1, size - 1) != b"\n":
        # The machine went off, or the process was killed, in the middle of the line before.
        data = b"\n" + data
    try:
        while data:
            data = data[os.write(descriptor, data) :]
    except OSError as error:
        # A disk with little space takes a part of the line first.
        os.ftruncate(descriptor, size)
        raise OSError(
            error.errno,
            f"nothing was sent, because it could not be written down in {place} ({error.strerror}); free some space",
        ) from error
