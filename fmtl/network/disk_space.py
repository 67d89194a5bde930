"""Space on a disk: looked at before anything starts there, and again and again while a coordinator runs."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

from fmtl.network.errors import NetworkSetupError

SPACE_NEEDED = 256 * 2**20
"""Bytes that have to be free where anything is started."""

LEAST_BYTES = 128 * 2**20
"""A disk with less is nearly full."""


def require_space(folder: Path) -> None:
    """Refuse to start where the disk is nearly full.

    Args:
        folder: existing or not yet existing folder that will be written to.
    """
    free = free_bytes(folder)
    if free < SPACE_NEEDED:
        raise NetworkSetupError(
            f"only {_mebibytes(free)} are free on the disk of {folder}; free some space first: at least "
            f"{_mebibytes(SPACE_NEEDED)} are needed."
        )


class DiskWatch:
    """Looks at the disk of a coordinator that runs, and says once when it is nearly full, once when it is not any more.

    Args:
        folder: the coordinator's.
        show: prints one line.
    """

    def __init__(self, folder: Path, show: Callable[[str], None]) -> None:
        self._folder = folder
        self._show = show
        self._short = False

    def look(self) -> None:
        """Say what has changed; to be called again and again."""
        free = free_bytes(self._folder)
        if not self._short and free < LEAST_BYTES:
            self._short = True
            self._show(
                f"Error: only {_mebibytes(free)} are free on the disk of {self._folder}. A full disk loses replies and "
                f"fails runs. Free space, then `fmtl server resume`."
            )
        elif self._short and free >= SPACE_NEEDED:
            self._short = False
            self._show(f"The disk of {self._folder} has space again: {_mebibytes(free)}.")


def free_bytes(folder: Path) -> int:
    """Return what is free on the disk of a folder, which need not exist yet."""
    existing = next(place for place in (folder, *folder.parents) if place.exists())
    return shutil.disk_usage(existing).free


def _mebibytes(size: int) -> str:
    return f"{size // 2**20} MiB"
