"""Files that only their owner may read, from the moment they exist."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from fmtl.network.errors import NetworkSetupError


def write_private(path: Path, content: bytes) -> None:
    """Write a file with mode 600, whole or not at all; its content is never readable for others in between."""
    beside = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    with _full_disk_named(path):
        handle = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            os.replace(beside, path)
        finally:
            beside.unlink(missing_ok=True)


def write_public(path: Path, content: bytes) -> None:
    """Write a file that everybody may read, whole or not at all."""
    beside = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    with _full_disk_named(path):
        try:
            beside.write_bytes(content)
            beside.chmod(0o644)
            os.replace(beside, path)
        finally:
            beside.unlink(missing_ok=True)


@contextmanager
def _full_disk_named(path: Path) -> Iterator[None]:
    """Say which file has no space, which an operating system's error for a full disk does not."""
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise NetworkSetupError(
            f"{path} was not written: the disk holding it is full. Free some space, and give the command again."
        ) from error


def require_private(path: Path) -> None:
    """Refuse a key that other users of the machine can read.

    Raises:
        NetworkSetupError: it is missing, is no file, or its mode lets others in.
    """
    if not path.is_file():
        raise NetworkSetupError(f"the private key {path} does not exist or is no file.")
    if os.name == "posix" and stat.S_IMODE(path.stat().st_mode) & 0o077:
        raise NetworkSetupError(f"the private key {path} can be read by others; do `chmod 600 {path}`.")
