"""Objects as average precision keeps them: masks run-length encoded, boxes and scores in float64."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from fmtl_datasets.shared.objects import Instances
from pycocotools import mask as run_length
from torch import Tensor

from client_app.pictures.detections import Detections

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]

KEYPOINT_VALUES = 51
"""17 keypoints with x, y and visibility (in a prediction: confidence)."""


@dataclass(frozen=True)
class PredictedObjects:
    """What was predicted in one image.

    Attributes:
        classes: (n,) int64.
        scores: (n,) float64; only their order matters.
        boxes: (n, 4) float64, left, top, width, height in pixels.
        masks: n masks as COCO's compressed run lengths; None where there are none.
        keypoints: (n, 51) float64; None where there are none.
    """

    classes: Integers
    scores: Floats
    boxes: Floats
    masks: list[bytes] | None = None
    keypoints: Floats | None = None


@dataclass(frozen=True)
class LabelledObjects:
    """What is annotated in one image.

    Attributes:
        classes: (n,) int64.
        areas: (n,) float64 in pixels.
        crowd: (n,) bool.
        boxes: (n, 4) float64, left, top, width, height in pixels.
        masks: as in `PredictedObjects`.
        keypoints: as in `PredictedObjects`.
    """

    classes: Integers
    areas: Floats
    crowd: npt.NDArray[np.bool_]
    boxes: Floats
    masks: list[bytes] | None = None
    keypoints: Floats | None = None


def encoded_masks(masks: Tensor) -> list[bytes]:
    """Return masks (n, h, w) bool as COCO's compressed run lengths."""
    pixels = np.asfortranarray(masks.cpu().numpy().astype(np.uint8).transpose(1, 2, 0))
    return [bytes(code["counts"]) for code in run_length.encode(pixels)]


def predicted_objects(found: Detections) -> PredictedObjects:
    """Return detections of one image as they are kept."""
    return PredictedObjects(
        classes=_array(found.classes, np.int64),
        scores=_array(found.scores, np.float64),
        boxes=_left_top_width_height(found.boxes),
        masks=None if found.masks is None else encoded_masks(found.masks),
        keypoints=None if found.keypoints is None else _array(found.keypoints.flatten(1), np.float64),
    )


def labelled_objects(label: Instances) -> LabelledObjects:
    """Return the label of one image as it is kept."""
    return LabelledObjects(
        classes=_array(label.classes, np.int64),
        areas=_array(label.areas, np.float64),
        crowd=_array(label.crowd, np.bool_),
        boxes=_left_top_width_height(label.boxes),
        masks=None if label.masks is None else encoded_masks(label.masks),
        keypoints=None if label.keypoints is None else _array(label.keypoints.flatten(1), np.float64),
    )


def _array(values: Tensor, dtype: type[np.generic]) -> npt.NDArray[Any]:
    return values.detach().cpu().numpy().astype(dtype)


def _left_top_width_height(boxes: Tensor) -> Floats:
    corners = _array(boxes, np.float64)
    return np.concatenate([corners[:, :2], corners[:, 2:] - corners[:, :2]], axis=1)
