"""Files and folders that appear whole or not at all, files of JSON lines that grow, locks, and full disks."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file


class DiskFullError(OSError):
    """No space is left where something has to be written."""


class InUseError(ValueError):
    """Another process is working where only one may; the message says on what, and what to do."""


@contextmanager
def explain_disk_full(place: Path, then: str = "resume the run") -> Iterator[None]:
    """Turn 'no space left' into one sentence that says where and what to do.

    Args:
        place: what is being written.
        then: what to do once there is space.
    """
    try:
        yield
    except (OSError, SafetensorError) as error:
        code = getattr(error, "errno", None)
        if code in (errno.ENOSPC, errno.EDQUOT) or "No space left" in str(error) or "os error 28" in str(error):
            raise DiskFullError(f"the disk holding {place} is full; free some space and {then}") from error
        raise


@contextmanager
def single_instance(lock: Path, message: str) -> Iterator[None]:
    """Hold a lock file for this process; the lock ends with the process, however that ends.

    Args:
        lock: path of the file; the folder that it lies in is made, and the file is removed at the end.
        message: for the user, where another process holds it.

    Raises:
        InUseError: another process holds it.
    """
    with explain_disk_full(lock):
        lock.parent.mkdir(parents=True, exist_ok=True)
    while True:
        with explain_disk_full(lock):
            file = lock.open("w")
        with file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise InUseError(message) from error
            if not _is_open_at(file.fileno(), lock):
                continue  # whoever held it removed the file between our opening and locking it
            try:
                yield
            finally:
                lock.unlink(missing_ok=True)
            return


@contextmanager
def atomic_folder(target: Path) -> Iterator[Path]:
    """Give a temporary folder to write to; on success it replaces `target`, on failure it disappears.

    Both renames are atomic: after kill -9 a reader sees the old folder, none, or the complete new one, never a part.
    What a killed process left beside the target is removed by the next one.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    for left_over in target.parent.glob(f".{target.name}.*.tmp"):
        shutil.rmtree(left_over, ignore_errors=True)
    beside = target.parent / f".{target.name}.{os.getpid()}.tmp"
    replaced = target.parent / f".{target.name}.old.tmp"
    try:
        with explain_disk_full(target):
            beside.mkdir()
            yield beside
            for path in beside.iterdir():
                _flush(path)
            _flush(beside)
            if target.exists():
                os.replace(target, replaced)
            os.replace(beside, target)
            _flush(target.parent)
    finally:
        shutil.rmtree(beside, ignore_errors=True)
        shutil.rmtree(replaced, ignore_errors=True)


@contextmanager
def atomic_file(target: Path, then: str = "resume the run") -> Iterator[Path]:
    """Give the path of a file to write; on success it replaces `target`, on failure it disappears.

    Args:
        target: the file; readers see its old or its complete new content.
        then: as for `explain_disk_full`.
    """
    beside = target.with_name(f".{target.name}.{os.getpid()}.tmp")
    try:
        with explain_disk_full(target, then):
            yield beside
            _flush(beside)
            os.replace(beside, target)
    finally:
        beside.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Write a text file so that readers see the old or the complete new content."""
    with atomic_file(path) as beside:
        beside.write_text(text, encoding="utf-8")


def write_json(path: Path, value: object) -> None:
    """Write JSON (two spaces, NaN refused) as `write_text` does."""
    write_text(path, json.dumps(value, indent=2, sort_keys=True, allow_nan=False) + "\n")


def append_json_line(path: Path, value: object, *, flush: bool = False) -> int:
    """Append a line of JSON (sorted keys, NaN refused) and return the file's length in bytes.

    Args:
        path: the file, made where there is none.
        value: what JSON can hold.
        flush: whether the line has to be on the disk on return.
    """
    with explain_disk_full(path), path.open("a", encoding="utf-8") as stream:
        stream.write(json.dumps(value, sort_keys=True, allow_nan=False) + "\n")
        stream.flush()
        if flush:
            os.fsync(stream.fileno())
        return stream.tell()


class JsonLines:
    """Reads a file of JSON lines that grows; a line is read once, also where the file is cut back and grows anew.

    Args:
        path: the file; it need not exist yet.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._position = 0
        self._seen: set[bytes] = set()

    def new(self) -> list[dict[str, Any]]:
        """Return the lines since the last call; one that is still being written comes with the next."""
        if not self._path.is_file():
            return []
        with self._path.open("rb") as file:
            if file.seek(0, os.SEEK_END) < self._position:
                self._position = 0
            file.seek(self._position)
            content = file.read()
        whole = content[: content.rfind(b"\n") + 1]
        self._position += len(whole)
        lines = [line for line in whole.splitlines() if line not in self._seen]
        self._seen.update(lines)
        return [json.loads(line) for line in lines]


def save_arrays(path: Path, arrays: Mapping[str, npt.NDArray[np.generic]]) -> None:
    """Write arrays by name to a safetensors file (safetensors keeps no order; names carry it)."""
    with explain_disk_full(path):
        save_file({name: np.asarray(array, order="C") for name, array in arrays.items()}, path)


def load_arrays(path: Path) -> dict[str, npt.NDArray[np.generic]]:
    """Read all arrays of a safetensors file."""
    return dict(load_file(path))


def _is_open_at(descriptor: int, path: Path) -> bool:
    """Whether an open file is still the one at that path."""
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except FileNotFoundError:
        return False


def _flush(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
