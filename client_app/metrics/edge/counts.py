"""Matched and total pixels of one image at every threshold: the part that runs in worker processes."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from client_app.metrics.edge.matching import BoolArray, candidate_pairs, matched_pixels
from client_app.metrics.edge.nms import FloatArray, edge_strength, to_8_bit_scale
from client_app.metrics.edge.protocol import EdgeProtocol
from client_app.metrics.edge.thinning import distinct_maps, neighbour_indices, pack_levels, thin, thin_packed

CountArray = npt.NDArray[np.int64]


@dataclass(frozen=True)
class EdgeImage:
    """One image to score.

    Attributes:
        probability: (H, W) edge probability in [0, 1], any floating dtype; or uint8, taken as 255 * probability as it
            is, without rounding again.
        annotators: (A, H, W) bool boundary maps, one per annotator.
        valid: (H, W) bool, False where nothing is known, or None if all is. Invalid margins are cut off like padding;
            other invalid pixels count neither as predicted nor as annotated.
    """

    probability: npt.NDArray[np.generic]
    annotators: BoolArray
    valid: BoolArray | None = None


EdgeCounts = dict[str, CountArray]
"""Pixel counts, each (T,) int64 by threshold, which add up over images: `predicted` pixels, `matched_predicted` by at
least one annotator; `annotated` pixels and `matched_annotated`, summed over annotators."""
COUNTERS = ("matched_predicted", "predicted", "matched_annotated", "annotated")


def passed_thresholds(values: FloatArray, protocol: EdgeProtocol) -> npt.NDArray[np.int64]:
    """Return how many of the thresholds k / (T + 1), k = 1 .. T, each value on the scale 0 to 255 passes, int64.

    The comparison is made on whole numbers, so 51 / 255 = 0.20 is an exact tie.
    """
    bounds = 255.0 * np.arange(1, protocol.thresholds + 1)
    side: Literal["left", "right"] = "right" if protocol.comparison == ">=" else "left"
    passed = np.searchsorted(bounds, values * (protocol.thresholds + 1), side=side)
    return np.asarray(passed, dtype=np.int64)


def valid_window(valid: BoolArray) -> tuple[slice, slice]:
    """Return the smallest window that holds all valid pixels; `valid` must have one."""
    rows, columns = np.flatnonzero(valid.any(axis=1)), np.flatnonzero(valid.any(axis=0))
    return slice(int(rows[0]), int(rows[-1]) + 1), slice(int(columns[0]), int(columns[-1]) + 1)


def _check_image(image: EdgeImage) -> None:
    shape = image.probability.shape
    if len(shape) != 2 or image.annotators.ndim != 3 or image.annotators.shape[1:] != shape:
        raise ValueError(
            f"Edge prediction of shape {shape} and annotators of shape {image.annotators.shape} do not fit; "
            "expected (H, W) and (A, H, W)."
        )
    if image.valid is not None and image.valid.shape != shape:
        raise ValueError(f"The valid mask has shape {image.valid.shape}; expected {shape} like the prediction.")
    if image.probability.dtype == np.uint8:
        return
    if not (np.min(image.probability, initial=0.0) >= 0.0 and np.max(image.probability, initial=0.0) <= 1.0):
        raise ValueError("Edge probabilities must lie in [0, 1]; apply the sigmoid before scoring.")


def image_counts(image: EdgeImage, protocol: EdgeProtocol) -> EdgeCounts:
    """Score one image at every threshold.

    Args:
        image: prediction, annotators and valid pixels.
        protocol: all settings but `workers`.

    Returns:
        The counts; all zero if no pixel is valid.

    Raises:
        ValueError: shapes do not fit, or a probability lies outside [0, 1] or is not a number.

    Source: methods 4.3; the union over annotators for precision and the sum for recall are the rule of BSDS.
    """
    _check_image(image)
    valid = np.ones(image.probability.shape, dtype=np.bool_) if image.valid is None else image.valid
    if not valid.any():
        return {name: np.zeros(protocol.thresholds, dtype=np.int64) for name in COUNTERS}
    window = valid_window(valid)
    valid = valid[window]
    raw = image.probability[window]
    values = raw.astype(np.float64) if raw.dtype == np.uint8 else to_8_bit_scale(raw, protocol.rounding)  # type: ignore[arg-type]
    levels = passed_thresholds(edge_strength(values, protocol), protocol) * valid
    annotators = [annotator[window] for annotator in image.annotators]
    if protocol.thin_ground_truth:
        annotators = [thin(annotator) for annotator in annotators]
    return _threshold_counts(levels, [annotator & valid for annotator in annotators], protocol)


def _threshold_counts(levels: npt.NDArray[np.int64], annotators: list[BoolArray], protocol: EdgeProtocol) -> EdgeCounts:
    """Thin and match the maps "levels > k" for every threshold k."""
    counts = {name: np.zeros(protocol.thresholds, dtype=np.int64) for name in COUNTERS}
    counts["annotated"][:] = sum(int(np.count_nonzero(annotator)) for annotator in annotators)
    rows, columns = np.nonzero(levels)
    if rows.size == 0:
        return counts
    height, width = levels.shape
    words = thin_packed(
        pack_levels(levels[rows, columns], protocol.thresholds), neighbour_indices(rows, columns, (height, width))
    )
    maps, threshold_map = distinct_maps(words, protocol.thresholds)
    max_pixels = protocol.max_distance * float(np.hypot(height, width))
    united = np.zeros(maps.shape, dtype=np.bool_)
    matched_annotated = np.zeros(maps.shape[0], dtype=np.int64)
    for annotator in annotators:
        matched = matched_pixels(candidate_pairs(rows, columns, annotator, max_pixels), maps)
        united |= matched
        matched_annotated += np.count_nonzero(matched, axis=1)
    counts["matched_predicted"][:] = np.count_nonzero(united, axis=1)[threshold_map]
    counts["predicted"][:] = np.count_nonzero(maps, axis=1)[threshold_map]
    counts["matched_annotated"][:] = matched_annotated[threshold_map]
    return counts
