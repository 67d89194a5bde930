"""A model's predictions in the form of labels, so that both can be drawn alike."""

from typing import Any, cast

import torch
from fmtl_datasets.shared.objects import Instances, PanopticSegments
from torch import Tensor
from torch.nn.functional import normalize

from client_app.pictures.detections import DetectionOutput, Detections, PanopticOutput

SHOWN_SCORE = 0.5
"""Detections below this score are not drawn: a detector names a hundred candidates in every image."""

DisplayLabel = Tensor | Instances | PanopticSegments


def as_labels(task: str, prediction: Any) -> list[DisplayLabel]:
    """Return what was predicted for each image of a batch, in the form of an uncollated sample's label.

    Args:
        task: name of the task.
        prediction: what its head returned in evaluation mode.

    Returns:
        For every image: classes as uint8 (H, W); saliency and edge as the probability, float32 (H, W) between 0 and 1;
        normals as float32 unit vectors (3, H, W); depth as float32 (1, H, W) in metres, at least 0; objects with a
        score of at least `SHOWN_SCORE`; panoptic segments.
    """
    if task in ("instance", "keypoints"):
        return [_instances(found) for found in cast(DetectionOutput, prediction).detections()]
    if task == "panoptic":
        return list(cast(PanopticOutput, prediction).segments())
    return list(_maps(task, prediction.float().cpu()))


def _maps(task: str, prediction: Tensor) -> Tensor:
    """Turn raw outputs (B, C, H, W) into label maps."""
    if task == "saliency":
        return prediction.softmax(dim=1)[:, 1]
    if task == "edge":
        return prediction.sigmoid()[:, 0]
    if task == "normals":
        return normalize(prediction, dim=1)
    if task == "depth":
        return prediction.clamp(min=0)
    return prediction.argmax(dim=1).to(torch.uint8)


def _instances(found: Detections) -> Instances:
    keep = found.scores >= SHOWN_SCORE
    boxes = found.boxes[keep].float().cpu()
    keypoints = None
    if found.keypoints is not None:
        keypoints = found.keypoints[keep].float().cpu().clone()
        # A label's third number says whether a point is visible; a prediction claims all of them.
        keypoints[..., 2] = 2
    return Instances(
        size=found.size,
        boxes=boxes,
        classes=found.classes[keep].cpu(),
        areas=(boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1]),
        crowd=torch.zeros(len(boxes), dtype=torch.bool),
        masks=None if found.masks is None else found.masks[keep].cpu(),
        keypoints=keypoints,
    )
