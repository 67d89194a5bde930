"""Files of keys and certificates: written whole, private from the moment they exist, read with one sentence on what
is wrong."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from cryptography.exceptions import UnsupportedAlgorithm

from fmtl.network.errors import NetworkSetupError
from fmtl_strategies.contract.files import atomic_file

Loaded = TypeVar("Loaded")
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
    """Refuse a private key that is missing, is no file, or that other users of the machine can read."""
    if not path.is_file():
        raise NetworkSetupError(f"the private key {path} does not exist or is no file.")
    if os.name == "posix" and stat.S_IMODE(path.stat().st_mode) & 0o077:
        raise NetworkSetupError(f"the private key {path} can be read by others; do `chmod 600 {path}`.")


def load_key_file(path: Path, load: Callable[[bytes], Loaded], expected: str, remedy: str) -> Loaded:
    """Read a key or certificate.

    Args:
        path: the file.
        load: makes of its content what is wanted; raises ValueError, TypeError or UnsupportedAlgorithm.
        expected: what the file should be, for the error.
        remedy: what to do where it is not, for the error.
    """
    try:
        return load(path.read_bytes())
    except NetworkSetupError:
        raise
    except FileNotFoundError as error:
        raise NetworkSetupError(f"{path} does not exist; expected {expected}. {remedy}") from error
    except OSError as error:
        raise NetworkSetupError(f"{path} cannot be read ({error.strerror}): change its owner. {remedy}") from error
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise NetworkSetupError(f"{path} is not {expected}. {remedy}") from error
