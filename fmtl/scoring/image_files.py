"""Reading predictions and ground truth of each task from image, numpy and MATLAB files."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import numpy.typing as npt
from fmtl_datasets.shared.matlab import read_variable
from fmtl_datasets.shared.source import DataFileError
from fmtl_datasets.sources.folder.pixels import png_bits, read_three_channels, read_values
from PIL import Image

from fmtl.scoring.result import ScoreFileError

GREY = 0
"""Colour type of a PNG with one channel."""
IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg")
INVALID_NORMAL_LENGTH = 0.5
"""A decoded normal shorter than this marks a pixel without one: codes near 127.5 in all channels decode to about 0."""

UNREADABLE = (OSError, SyntaxError, ValueError, EOFError, struct.error, Image.DecompressionBombError)
"""What Pillow raises at damaged files."""

Array = npt.NDArray[np.generic]


def read_image(path: Path) -> Array:
    """Return the pixels of an image file: (H, W) or (H, W, channels), 8 or 16 bits.

    Numbers of a single channel are read by `read_single_channel`, which sees to those that decoders stretch.

    Raises:
        ScoreFileError: the file is not a readable image, or has several channels of 16 bits.
    """
    bits = png_bits(path)
    if bits is not None and bits[0] == 16 and bits[1] != GREY:
        # Pillow keeps one byte of two.
        raise ScoreFileError(f"{path} is a PNG of 16 bits with several channels; save it with 8 bits.")
    try:
        with Image.open(path) as image:
            return np.asarray(image)
    except UNREADABLE as error:
        raise ScoreFileError(f"{path} cannot be read as an image: {error}.") from error


def read_array(path: Path) -> Array:
    """Return the array of a .npy file; object arrays are refused.

    Raises:
        ScoreFileError: the file is not a plain numeric .npy file.
    """
    try:
        return np.asarray(np.load(path, allow_pickle=False))
    except (ValueError, EOFError) as error:
        raise ScoreFileError(f"{path} cannot be read as a numeric .npy file: {error}.") from error


def read_single_channel(path: Path) -> Array:
    """Return the stored numbers of a PNG with one channel (H, W), of a palette PNG the indices.

    Returns:
        bool for a file of 1 bit, else uint8 or uint16.

    Raises:
        ScoreFileError: the image has several channels, or is a grey PNG of 2 or 4 bits, whose numbers decoders stretch.
    """
    try:
        return read_values(path)
    except DataFileError as error:
        raise ScoreFileError(str(error)) from error


def read_classes(path: Path) -> npt.NDArray[np.int64]:
    """Return class indices (H, W) as they are stored; errors as in `read_single_channel`."""
    return read_single_channel(path).astype(np.int64)


def read_eight_bits(path: Path) -> npt.NDArray[np.uint8]:
    """Return a mask or 255 times a probability (H, W); a file of 1 bit has 0 and 255.

    Raises:
        ScoreFileError: as in `read_single_channel`, or the image has 16 bits.
    """
    return _eight_bits(path, read_single_channel(path))


def _eight_bits(path: Path, values: Array) -> npt.NDArray[np.uint8]:
    if values.dtype == np.bool_:
        return values.astype(np.uint8) * np.uint8(255)
    if values.dtype != np.uint8:
        raise ScoreFileError(
            f"{path}: holds {values.dtype}; expected 8 bits, 255 for a probability of 1 or for a mask."
        )
    return values.astype(np.uint8)


def read_colours(path: Path) -> Array:
    """Return the pixels of an RGB PNG (H, W, 3), uint8 or uint16.

    Raises:
        ScoreFileError: unreadable, or another number of channels.
    """
    try:
        return read_three_channels(path)
    except DataFileError as error:
        raise ScoreFileError(str(error)) from error


def read_normals(path: Path) -> npt.NDArray[np.float64]:
    """Return surface normals (3, H, W); the zero vector where there is none.

    Args:
        path: .npy of shape (3, H, W) or (H, W, 3), or an RGB image coded n = 2 p / 255 - 1 (methods 3.3), a PNG of
            16 bits with 65535 in place of 255.

    Raises:
        ScoreFileError: another shape or depth.
    """
    if path.suffix.lower() == ".npy":
        vectors = read_array(path).astype(np.float64)
        if vectors.ndim == 3 and vectors.shape[0] != 3 and vectors.shape[2] == 3:
            vectors = vectors.transpose(2, 0, 1)
        if vectors.ndim != 3 or vectors.shape[0] != 3:
            raise ScoreFileError(f"{path} has shape {vectors.shape}; expected normals (3, H, W) or (H, W, 3).")
        return vectors
    pixels = read_colours(path) if path.suffix.lower() == ".png" else read_image(path)
    if pixels.ndim != 3 or pixels.shape[2] != 3 or pixels.dtype not in (np.uint8, np.uint16):
        raise ScoreFileError(
            f"{path} holds {pixels.dtype} of shape {pixels.shape}; expected an RGB image of coded normals."
        )
    white = 255.0 if pixels.dtype == np.uint8 else 65535.0
    vectors = 2.0 * pixels.transpose(2, 0, 1).astype(np.float64) / white - 1.0
    return np.asarray(vectors * (np.linalg.norm(vectors, axis=0) >= INVALID_NORMAL_LENGTH), dtype=np.float64)


def read_depth(path: Path, units_per_metre: float) -> npt.NDArray[np.float64]:
    """Return depth (H, W) in metres, 0 = invalid.

    Args:
        path: .npy in metres, or a 16-bit PNG.
        units_per_metre: scale of the PNG, 1000 for millimetres.

    Raises:
        ScoreFileError: another shape or depth.
    """
    if path.suffix.lower() == ".npy":
        metres = read_array(path).astype(np.float64)
        metres = metres[0] if metres.ndim == 3 and metres.shape[0] == 1 else metres
    else:
        pixels = read_image(path)
        if pixels.dtype not in (np.dtype(np.uint16), np.dtype(np.int32)):
            raise ScoreFileError(f"{path} holds {pixels.dtype}; expected a 16-bit depth PNG, or .npy in metres.")
        metres = pixels.astype(np.float64) / units_per_metre
    if metres.ndim != 2:
        raise ScoreFileError(f"{path} has shape {metres.shape}; expected one depth per pixel (H, W).")
    return metres


def read_annotators(path: Path, ignore: int | None) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.bool_] | None]:
    """Return boundary maps (A, H, W) and which pixels are valid (H, W), or None if all are.

    Args:
        path: 8-bit PNG with 0 and 255 (one annotator), 16-bit PNG whose bit k is annotator k, or a BSDS .mat file.
        ignore: value of an 8-bit PNG that marks pixels to ignore; None if there is none.

    Raises:
        ScoreFileError: the file holds something else, or no annotator.
    """
    if path.suffix.lower() == ".mat":
        return _read_bsds_mat(path), None
    values = read_single_channel(path)
    if values.dtype == np.uint16:
        codes = values.astype(np.int64)
        bits = int(codes.max()).bit_length()
        return np.stack([(codes >> bit) & 1 for bit in range(max(bits, 1))]).astype(np.bool_), None
    mask = _eight_bits(path, values)
    valid = None if ignore is None else mask != ignore
    _require_values(path, mask, {0, 255} | ({ignore} if ignore is not None else set()))
    boundary = (mask == 255) if valid is None else (mask == 255) & valid
    return boundary[None], valid


def read_mask(path: Path, ignore: int | None) -> npt.NDArray[np.int64]:
    """Return a saliency mask (H, W) with 0, 1, and 255 for pixels to ignore.

    Raises:
        ScoreFileError: the file has values other than 0, 255 and `ignore`, or as in `read_eight_bits`.
    """
    mask = read_eight_bits(path)
    _require_values(path, mask, {0, 255} | ({ignore} if ignore is not None else set()))
    label: npt.NDArray[np.int64] = np.where(mask == 255, 1, 0).astype(np.int64)
    if ignore is not None:
        label[mask == ignore] = 255
    return label


def _require_values(path: Path, mask: Array, allowed: set[int]) -> None:
    others = sorted(set(np.unique(mask).tolist()) - allowed)
    if others:
        raise ScoreFileError(
            f"{path} has the values {others[:5]}; expected only {sorted(allowed)}. "
            "Rewrite the mask with 0 and 255, or name the value of unknown pixels with --ignore."
        )


def _read_bsds_mat(path: Path) -> npt.NDArray[np.bool_]:
    try:
        drawings = [_boundaries(cell) for cell in read_variable(path, "groundTruth").ravel()]
        return np.stack(drawings)
    except ValueError as error:
        raise ScoreFileError(
            f"{path} cannot be read as BSDS ground truth: {error}. Expected a MATLAB file of version 5 to 7 with "
            "groundTruth{k}.Boundaries, all of one size."
        ) from error


def _boundaries(cell: object) -> npt.NDArray[np.bool_]:
    """Return one annotator's drawing (H, W).

    Raises:
        ValueError: the cell holds none.
    """
    if not isinstance(cell, np.ndarray) or cell.size != 1 or "Boundaries" not in (cell.dtype.names or ()):
        raise ValueError("a cell of groundTruth has no field Boundaries")
    drawing = cell["Boundaries"].item()
    if not isinstance(drawing, np.ndarray) or drawing.ndim != 2 or drawing.dtype.kind not in "buif":
        raise ValueError("the field Boundaries holds no matrix of numbers")
    return np.asarray(drawing != 0)
