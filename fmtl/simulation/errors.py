"""Failures of a simulated run that a user can act on."""

from __future__ import annotations

import errno
import re
from pathlib import Path

from fmtl.errors import RunError as SimulationError
from fmtl.errors import RunInterruptedError
from fmtl.settings import SettingError

__all__ = ["RunInterruptedError", "SettingError", "SimulationError", "disk_full", "mentions_full_disk"]

_FULL_DISK = re.compile(r"No space left on device|Disk quota exceeded|OutOfDiskError", re.IGNORECASE)


def disk_full(error: OSError, place: Path | str) -> SimulationError | None:
    """A clear sentence where an operating system error means that a disk is full, else None.

    Args:
        error: what writing raised.
        place: the file or folder that was being written, named in the sentence where the error names none.
    """
    if error.errno not in (errno.ENOSPC, errno.EDQUOT):
        return None
    return SimulationError(f"No space is left on the disk of {error.filename or place}; free some and start again.")


def mentions_full_disk(text: str) -> bool:
    """Whether a log or a failure reason says that a disk was full."""
    return _FULL_DISK.search(text) is not None
