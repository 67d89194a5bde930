"""Reading predictions and ground truth of each task from image, numpy and MATLAB files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg")
INVALID_NORMAL_LENGTH = 0.5
"""A decoded normal shorter than this marks a pixel without one: codes near 127.5 in all channels decode to about 0."""

Array = npt.NDArray[np.generic]


class ScoreFileError(ValueError):
    """A file to score is missing, unreadable, or does not hold what the task needs; the message names it."""


def read_image(path: Path) -> Array:
    """Return the pixels of an image file as stored: (H, W) or (H, W, channels), 8 or 16 bits.

    Raises:
        ScoreFileError: the file is not a readable image.
    """
    try:
        with Image.open(path) as image:
            return np.asarray(image)
    except (OSError, SyntaxError) as error:
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
    """Return a one-channel 8-bit image (H, W) uint8, as it is used for labels, masks and probabilities.

    Raises:
        ScoreFileError: the image has several channels or another depth.
    """
    pixels = read_image(path)
    if pixels.dtype == np.bool_:
        return pixels.astype(np.uint8) * 255
    if pixels.ndim != 2 or pixels.dtype != np.uint8:
        raise ScoreFileError(
            f"{path} holds {pixels.dtype} of shape {pixels.shape}; expected an 8-bit image with one channel."
        )
    return pixels


def read_normals(path: Path) -> npt.NDArray[np.float64]:
    """Return surface normals (3, H, W); the zero vector where there is none.

    Args:
        path: .npy of shape (3, H, W) or (H, W, 3), or an 8-bit RGB image coded n = 2 p / 255 - 1 (methods 3.3).

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
    pixels = read_image(path)
    if pixels.ndim != 3 or pixels.shape[2] != 3 or pixels.dtype != np.uint8:
        raise ScoreFileError(
            f"{path} holds {pixels.dtype} of shape {pixels.shape}; expected an 8-bit RGB image of coded normals."
        )
    vectors = 2.0 * pixels.transpose(2, 0, 1).astype(np.float64) / 255.0 - 1.0
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
    pixels = read_image(path)
    if pixels.ndim == 2 and pixels.dtype in (np.dtype(np.uint16), np.dtype(np.int32)):
        bits = int(pixels.max()).bit_length()
        codes = pixels.astype(np.int64)
        return np.stack([(codes >> bit) & 1 for bit in range(max(bits, 1))]).astype(np.bool_), None
    mask = read_single_channel(path)
    valid = None if ignore is None else mask != ignore
    _require_values(path, mask, {0, 255} | ({ignore} if ignore is not None else set()))
    boundary = (mask == 255) if valid is None else (mask == 255) & valid
    return boundary[None], valid


def read_mask(path: Path, ignore: int | None) -> npt.NDArray[np.int64]:
    """Return a saliency mask (H, W) with 0, 1, and 255 for pixels to ignore.

    Raises:
        ScoreFileError: the file has values other than 0, 255 and `ignore`.
    """
    mask = read_single_channel(path)
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
    from scipy.io import loadmat
    from scipy.io.matlab import MatReadError

    try:
        cells = loadmat(path, variable_names=["groundTruth"])["groundTruth"].ravel()
        maps = [np.asarray(cell["Boundaries"][0, 0]) != 0 for cell in cells]
        return np.stack(maps)
    except (KeyError, ValueError, IndexError, TypeError, MatReadError, NotImplementedError) as error:
        raise ScoreFileError(
            f"{path} cannot be read as BSDS ground truth: {error}. Expected a MATLAB file up to version 7 with "
            "groundTruth{k}.Boundaries."
        ) from error
