"""Reading the PNG, JPEG and MATLAB files of PASCAL-Context; what cannot be read is named with its file."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from fmtl_datasets.shared import matlab
from fmtl_datasets.shared.conventions import IGNORE
from fmtl_datasets.shared.source import DataFileError
from fmtl_datasets.sources.pascal_context.classes import CONTEXT_CLASSES, SEMSEG_CLASSES
from PIL import Image

Array = npt.NDArray[Any]

MIN_NORMAL_LENGTH = 0.5
"""A decoded normal shorter than this is invalid: 8-bit rounding does not shorten a unit vector so far, while the codes
127 and 128 that stand for "no normal" decode to a length of 0.007."""

# What Pillow raises on damaged files, as seen when bytes are changed at random.
_DAMAGE = (
    OSError,
    EOFError,
    ValueError,
    TypeError,
    LookupError,
    SyntaxError,
    ArithmeticError,
    MemoryError,
    struct.error,
    zlib.error,
    Image.DecompressionBombError,
)


def damaged(path: Path, reason: object) -> DataFileError:
    """The error that says that a file holds what it should not."""
    return DataFileError(f"{path}: {reason}. Restore this file from the package.")


def read_pixels(path: Path) -> Array:
    """An image file as stored: (H, W) or (H, W, channels); numbers of a palette stay numbers."""
    try:
        with Image.open(path) as image:
            return np.array(image)
    except _DAMAGE as error:
        raise damaged(path, f"cannot be read as an image ({error})") from error


def read_colours(path: Path) -> Array:
    """An image file as RGB.

    Returns:
        (H, W, 3) uint8.
    """
    try:
        with Image.open(path) as image:
            return np.array(image.convert("RGB"))
    except _DAMAGE as error:
        raise damaged(path, f"cannot be read as an image ({error})") from error


def read_variable(path: Path, name: str) -> Array:
    """A variable of a MATLAB file."""
    try:
        return matlab.read_variable(path, name)
    except (OSError, matlab.MatlabFileError) as error:
        raise damaged(path, f"cannot be read as a MATLAB file ({error})") from error


def read_semseg(path: Path) -> Array:
    """Semantic labels.

    Returns:
        (H, W) uint8, 0 to 20 and 255.
    """
    labels = _eight_bit_map(path)
    wrong = labels[(labels >= len(SEMSEG_CLASSES)) & (labels != IGNORE)]
    if wrong.size:
        raise damaged(path, f"has the label {wrong[0]}, expected 0 to {len(SEMSEG_CLASSES) - 1} or {IGNORE}")
    return labels


def read_saliency(path: Path) -> Array:
    """Saliency, a soft prediction of a network cut at one half.

    Returns:
        (H, W) uint8, 0 or 1.
    """
    return (_eight_bit_map(path) > 127).astype(np.uint8)


def read_normals(path: Path) -> Array:
    """Normals, n = 2 code / 255 - 1 from red, green and blue, made unit vectors.

    The codes are read as those of ASTMT's NYUD-v2, with which the published code shares this formula: x to the right,
    y down, z forward, and the normal facing the camera. That the distilled normals keep to these axes is inferred.

    Returns:
        (3, H, W) float32, unit or zero vectors.
    """
    codes = read_pixels(path)
    if codes.dtype != np.uint8 or codes.ndim != 3 or codes.shape[2] != 3:
        raise damaged(path, f"is {_described(codes)}, expected three 8-bit channels")
    normals = np.ascontiguousarray(codes.transpose(2, 0, 1), dtype=np.float32)
    normals *= np.float32(2 / 255)
    normals -= 1
    squared = np.einsum("chw,chw->hw", normals, normals)
    normals *= np.where(squared >= MIN_NORMAL_LENGTH**2, 1 / np.sqrt(np.maximum(squared, 1e-6)), np.float32(0))
    return normals


def read_label_map(path: Path) -> Array:
    """The annotation with 459 classes.

    Returns:
        (H, W) int64, 0 to 459.
    """
    labels = read_variable(path, "LabelMap")
    if labels.ndim != 2 or not labels.size or labels.dtype.kind not in "uif":
        raise damaged(path, f"its LabelMap is {_described(labels)}, expected a map of numbers")
    if not np.isfinite(labels).all() or labels.min() < 0 or labels.max() > CONTEXT_CLASSES:
        raise damaged(path, f"its LabelMap goes from {labels.min()} to {labels.max()}, expected 0 to {CONTEXT_CLASSES}")
    return labels.astype(np.int64)


def _eight_bit_map(path: Path) -> Array:
    pixels = read_pixels(path)
    if pixels.dtype != np.uint8 or pixels.ndim != 2:
        raise damaged(path, f"is {_described(pixels)}, expected one 8-bit channel")
    return pixels


def _described(array: Array) -> str:
    return f"an array of shape {array.shape} and type {array.dtype}"
