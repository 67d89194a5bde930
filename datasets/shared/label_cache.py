"""Labels that are derived from the files of a data set, kept on disk so that each is derived once.

One file holds one label. Its path depends on the data set's folder and on the version of the derivation, so that two
data sets, or two versions, never mix. A file carries a checksum, and the size and time of change of the file it was
derived from: a damaged file, or one whose source has changed since, is derived anew. It is written beside its place
and renamed, so that several processes may derive the same label at the same time. Nothing is ever written into the
data set itself.
"""

from __future__ import annotations

import io
import logging
import os
import secrets
import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]

DIGEST_BYTES = 16
STAMP = struct.Struct("<qq")
SUFFIX = ".label"

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Derivation:
    """A way to derive a label.

    Attributes:
        name: what is derived, a plain word such as ``edge``; it becomes the name of a folder.
        version: to be raised whenever the derivation gives something else than before.
        settings: all that the result depends on beside the source file; it enters the folder's name as a checksum.
    """

    name: str
    version: int
    settings: str = ""

    @property
    def folder(self) -> str:
        """Name of the folder of its labels."""
        settings = f"-{_digest(self.settings.encode()).hex()[:8]}" if self.settings else ""
        return f"{self.name}-v{self.version}{settings}"


class LabelCache:
    """Derived labels of one data set on disk.

    Args:
        folder: where labels are kept, made when the first one is; None to derive them at every access.
        data_root: folder of the data set.

    Raises:
        ValueError: the folder lies inside the data set.
    """

    def __init__(self, folder: Path | None, data_root: Path) -> None:
        self._folder: Path | None = None
        self._has_warned = False
        if folder is None:
            return
        root = data_root.resolve()
        if folder.resolve().is_relative_to(root):
            raise ValueError(
                f"the folder for derived labels, {folder}, lies inside the data set {data_root}, and nothing is "
                f"written into a data set. Use a folder outside it: another out-dir or state-dir."
            )
        self._folder = folder / f"{root.name}-{_digest(os.fsencode(root)).hex()[:16]}"

    def get(self, derivation: Derivation, image_id: str, source: Path, derive: Callable[[Path], Array]) -> Array:
        """A label, from the cache or derived now.

        Args:
            derivation: what is derived.
            image_id: of which image; a plain file name.
            source: the file it is derived from.
            derive: derives it from that file; what it raises passes through and nothing is kept.

        Returns:
            The label, an array of any shape and of a type without Python objects.

        Raises:
            ValueError: an image id that is no plain file name.
            OSError: the source file is missing.
        """
        if self._folder is None:
            return derive(source)
        if not image_id or Path(image_id).name != image_id:
            raise ValueError(f"image id {image_id!r} is not a plain file name, so that no label can be kept under it.")
        path = self._folder / derivation.folder / f"{image_id}{SUFFIX}"
        stamp = _stamp(source)
        kept = _read(path, stamp)
        if kept is not None:
            return kept
        label = derive(source)
        self._keep(path, stamp, label)
        return label

    def _keep(self, path: Path, stamp: bytes, label: Array) -> None:
        try:
            _write(path, stamp, label)
        except OSError as error:
            # A label that cannot be kept is still right, so a full disk costs time and does not end the training.
            if not self._has_warned:
                logger.warning(
                    "derived labels cannot be kept in %s (%s); they are derived at every access, which is slower. "
                    "Make room there, or make it writable.",
                    self._folder,
                    error,
                )
            self._has_warned = True


def _digest(content: bytes) -> bytes:
    return blake2b(content, digest_size=DIGEST_BYTES).digest()


def _stamp(source: Path) -> bytes:
    status = source.stat()
    return STAMP.pack(status.st_size, status.st_mtime_ns)


def _read(path: Path, stamp: bytes) -> Array | None:
    """The label in a file, or None where there is none that is whole and up to date."""
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        logger.warning("the derived label %s cannot be read (%s); it is derived anew.", path, error)
        return None
    digest, packed = content[:DIGEST_BYTES], content[DIGEST_BYTES:]
    if digest != _digest(packed):
        logger.warning("the derived label %s is damaged; it is derived anew.", path)
        return None
    payload = zlib.decompress(packed)
    if payload[: STAMP.size] != stamp:
        logger.info("the source of the derived label %s has changed; it is derived anew.", path)
        return None
    label: Array = np.lib.format.read_array(io.BytesIO(payload[STAMP.size :]), allow_pickle=False)
    return label


def _write(path: Path, stamp: bytes, label: Array) -> None:
    buffer = io.BytesIO()
    buffer.write(stamp)
    np.lib.format.write_array(buffer, np.ascontiguousarray(label), allow_pickle=False)
    packed = zlib.compress(buffer.getvalue(), 1)
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{path.name}-{os.getpid()}-{secrets.token_hex(4)}.part")
    try:
        beside.write_bytes(_digest(packed) + packed)
        beside.replace(path)
    except OSError:
        beside.unlink(missing_ok=True)
        raise
