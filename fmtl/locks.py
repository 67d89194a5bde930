"""The lock of a folder that one process at a time works on."""

from __future__ import annotations

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from fmtl.errors import RunError, SettingError


@contextmanager
def exclusive(folder: Path) -> Iterator[None]:
    """Hold a folder, made where it does not exist, for this process; the lock ends with the process, however it ends.

    Raises:
        RunError: another process works on it.
        SettingError: nothing can be written there.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        file = (folder / ".lock").open("w")
    except OSError as error:
        raise SettingError(
            f"--out {folder}: it cannot be written to ({error.strerror}); choose another one."
        ) from error
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise RunError(f"Another process is working on {folder}; wait for it, or choose another --out.") from error
        yield
