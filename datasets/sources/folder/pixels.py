"""Reading image and label files exactly as they are stored, and refusing what would be read as something else."""

from __future__ import annotations

import logging
import struct
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from fmtl_datasets.shared.source import DataFileError
from PIL import Image

Array = npt.NDArray[Any]
U8 = npt.NDArray[np.uint8]

_PNG_START = b"\x89PNG\r\n\x1a\n"
_GREY, _RGB = 0, 2
_ORIENTATION = 0x0112
_UNREADABLE = (OSError, SyntaxError, ValueError, EOFError, struct.error, Image.DecompressionBombError)

logger = logging.getLogger(__name__)


def read_image(path: Path, white: int = 65535) -> U8:
    """Read an image with its stored orientation.

    Args:
        path: the file.
        white: value of a 16-bit image that becomes 255.

    Returns:
        (H, W, 3) uint8.

    Raises:
        DataFileError: unreadable, transparent, of several frames, or of a kind that would lose its meaning.
    """
    try:
        with Image.open(path) as image:
            return _three_channels(path, image, white)
    except _UNREADABLE as error:
        if isinstance(error, DataFileError):
            raise
        raise DataFileError(f"{path}: cannot be read as an image: {error}. Restore or remove it.") from error


def _three_channels(path: Path, image: Image.Image, white: int) -> U8:
    # A phone's MPO file is a JPEG with a second picture behind it.
    if getattr(image, "n_frames", 1) > 1 and image.format != "MPO":
        raise DataFileError(f"{path}: this file has several frames; save each as a file of its own.")
    if image.mode.startswith("I"):
        pixels = np.asarray(image).astype(np.float64)
        grey = np.rint(np.clip(pixels / white, 0, 1) * 255).astype(np.uint8)
        return np.repeat(grey[..., None], 3, axis=2)
    if image.mode not in ("1", "L", "P", "RGB", "RGBA", "LA", "PA") or png_bits(path) == (16, _RGB):
        kind = "RGB of 16 bits" if image.mode == "RGB" else image.mode
        raise DataFileError(
            f"{path}: images of kind {kind} are not read; save it as 8-bit RGB, or grey of 8 or 16 bits."
        )
    if image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
        image = image.convert("RGBA")
        if image.getchannel("A").getextrema()[0] != 255:
            raise DataFileError(
                f"{path}: this image is transparent in places, and what lies there is not defined; save it without an "
                f"alpha channel."
            )
    return np.asarray(image.convert("RGB"))


def turned(path: Path) -> bool:
    """Whether an image has an EXIF note that asks viewers to turn or mirror it."""
    try:
        with Image.open(path) as image:
            return bool(image.getexif().get(_ORIENTATION, 1) != 1)
    except _UNREADABLE:
        return False


def read_values(path: Path) -> Array:
    """Read a PNG with one channel: the stored numbers, of a palette PNG the indices.

    Returns:
        (H, W) bool, uint8 or uint16.

    Raises:
        DataFileError: unreadable, several channels, or a grey PNG of 2 or 4 bits.
    """
    if png_bits(path) in ((2, _GREY), (4, _GREY)):
        # Decoders stretch these to 0..255, so a stored 1 would be read as 85 or 17.
        raise DataFileError(
            f"{path}: a grey PNG of 2 or 4 bits stretches its values when it is read; save it with 8 bits."
        )
    try:
        with Image.open(path) as image:
            pixels = np.asarray(image)
    except _UNREADABLE as error:
        raise DataFileError(f"{path}: cannot be read as a label image: {error}. Restore or remove it.") from error
    if pixels.dtype == np.int32 and pixels.ndim == 2 and pixels.min(initial=0) >= 0:
        pixels = pixels.astype(np.uint16)
    if pixels.ndim != 2 or pixels.dtype not in (np.bool_, np.uint8, np.uint16):
        channels = 1 if pixels.ndim == 2 else pixels.shape[2]
        raise DataFileError(
            f"{path}: holds {channels} channels of {pixels.dtype}; expected one channel of 8 or 16 bits. Colours of a "
            f"picture are no class numbers: save the numbers themselves."
        )
    return pixels


def read_three_channels(path: Path) -> Array:
    """Read an RGB PNG of 8 or 16 bits.

    Returns:
        (H, W, 3) uint8 or uint16.

    Raises:
        DataFileError: unreadable, or another number of channels.
    """
    try:
        with Image.open(path) as image:
            if image.mode != "RGB":
                raise DataFileError(f"{path}: its pixels are of kind {image.mode}; expected RGB with 8 or 16 bits.")
            if png_bits(path) != (16, _RGB):
                return np.asarray(image)
        return _sixteen_bits(path)
    except _UNREADABLE as error:
        if isinstance(error, DataFileError):
            raise
        raise DataFileError(f"{path}: cannot be read as a PNG: {error}. Restore or remove it.") from error


def _sixteen_bits(path: Path) -> npt.NDArray[np.uint16]:
    """Read a PNG with three channels of 16 bits.

    Pillow keeps one byte of each value, the higher one, without a word. Told that the bytes are swapped it keeps the
    other one.
    """
    halves = []
    for order in ("RGB;16B", "RGB;16L"):
        with Image.open(path) as image:
            image.tile = [tile._replace(args=order) for tile in image.tile]
            halves.append(np.asarray(image).astype(np.uint16))
    return np.asarray(halves[0] << 8 | halves[1], dtype=np.uint16)


def read_array(path: Path) -> npt.NDArray[np.floating[Any]]:
    """Read a .npy file of floating-point numbers.

    Raises:
        DataFileError: unreadable, or numbers of another kind.
    """
    try:
        values = np.asarray(np.load(path, allow_pickle=False))
    except (OSError, EOFError, ValueError) as error:
        raise DataFileError(f"{path}: cannot be read as a .npy file: {error}. Restore or remove it.") from error
    if not np.issubdtype(values.dtype, np.floating):
        raise DataFileError(f"{path}: holds {values.dtype}; expected floating-point numbers.")
    return values


def png_bits(path: Path) -> tuple[int, int] | None:
    """Bits per channel and colour type (0 grey, 2 RGB, 3 palette) of a PNG; None for another or an unreadable file."""
    try:
        with path.open("rb") as file:
            start = file.read(26)
    except OSError:
        return None
    return (start[24], start[25]) if len(start) == 26 and start.startswith(_PNG_START) else None
