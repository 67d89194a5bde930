"""Files that only their owner may read, from the moment they exist."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from fmtl.network.errors import NetworkSetupError
from fmtl_strategies.contract.files import atomic_file

_AGAIN = "give the command again"


def write_private(path: Path, content: bytes) -> None:
    """Write a file with mode 600, whole or not at all; its content is never readable for others in between."""
    with (
        atomic_file(path, _AGAIN) as beside,
        os.fdopen(os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file,
    ):
        file.write(content)


def write_public(path: Path, content: bytes) -> None:
    """Write a file that everybody may read, whole or not at all."""
    with atomic_file(path, _AGAIN) as beside:
        beside.write_bytes(content)
        beside.chmod(0o644)


def require_private(path: Path) -> None:
    """Refuse a key that other users of the machine can read.

    Raises:
        NetworkSetupError: it is missing, is no file, or its mode lets others in.
    """
    if not path.is_file():
        raise NetworkSetupError(f"the private key {path} does not exist or is no file.")
    if os.name == "posix" and stat.S_IMODE(path.stat().st_mode) & 0o077:
        raise NetworkSetupError(f"the private key {path} can be read by others; do `chmod 600 {path}`.")
