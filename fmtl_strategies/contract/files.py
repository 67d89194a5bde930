"""Files and folders that appear whole or not at all: written beside their place, flushed, renamed."""

from __future__ import annotations

import errno
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file


class DiskFullError(OSError):
    """No space is left where the run wants to write."""


@contextmanager
def clear_disk_errors(place: Path) -> Iterator[None]:
    """Turn 'no space left' into one sentence that says where and what to do."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT) or "No space left" in str(error):
            raise DiskFullError(f"the disk holding {place} is full; free some space and resume the run") from error
        raise


@contextmanager
def whole_folder(target: Path) -> Iterator[Path]:
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
        with clear_disk_errors(target):
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


def write_text(path: Path, text: str) -> None:
    """Write a text file so that readers see the old or the complete new content."""
    beside = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with clear_disk_errors(path):
            beside.write_text(text, encoding="utf-8")
            _flush(beside)
            os.replace(beside, path)
    finally:
        beside.unlink(missing_ok=True)


def write_json(path: Path, value: object) -> None:
    """Write JSON (two spaces, NaN refused) as `write_text` does."""
    write_text(path, json.dumps(value, indent=2, sort_keys=True, allow_nan=False) + "\n")


def save_arrays(path: Path, arrays: Mapping[str, npt.NDArray[np.generic]]) -> None:
    """Write arrays by name to a safetensors file (safetensors keeps no order; names carry it)."""
    with clear_disk_errors(path):
        try:
            save_file({name: np.asarray(array, order="C") for name, array in arrays.items()}, path)
        except SafetensorError as error:
            if "No space left" in str(error) or "os error 28" in str(error):
                raise DiskFullError(f"the disk holding {path} is full; free some space and resume the run") from error
            raise


def load_arrays(path: Path) -> dict[str, npt.NDArray[np.generic]]:
    """Read all arrays of a safetensors file."""
    return dict(load_file(path))


def _flush(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
