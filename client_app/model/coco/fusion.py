"""Instances and a map of classes become segments that do not overlap (arXiv 1801.00868, 1901.02446)."""

import torch
from fmtl_datasets.shared.objects import PanopticSegments
from torch import Tensor

from client_app.pictures.detections import Detections

SCORE_THRESHOLD = 0.5
"""Instances below it are left out."""

OVERLAP_THRESHOLD = 0.5
"""An instance is left out when more than this share of it is already taken by better ones."""

STUFF_AREA_SHARE = 4096 / (640 * 480)
"""Other segments smaller than this share of the image are left out: the published 4096 pixels on a COCO image."""


def merge(detections: Detections, classes: Tensor, things: int) -> PanopticSegments:
    """Return the segments of one image: instances, the best first, then what they leave of every other class.

    Args:
        detections: with masks, best first, on the CPU.
        classes: (h, w) int64 on the CPU, 0 for things, then the other classes in their order.
        things: number of thing classes.

    Returns:
        Segments numbered from 1; pixels that nobody claims are void.
    """
    ids = torch.zeros(classes.shape, dtype=torch.int32)
    found: list[int] = []
    _add_things(detections, ids, found)
    smallest = STUFF_AREA_SHARE * classes.numel()
    for value in torch.unique(classes).tolist():
        free = (classes == value) & (ids == 0)
        if value == 0 or int(free.sum()) < smallest:
            continue
        found.append(things + value - 1)
        ids[free] = len(found)
    return PanopticSegments(
        ids=ids,
        segment_ids=torch.arange(1, len(found) + 1),
        classes=torch.tensor(found, dtype=torch.int64),
        crowd=torch.zeros(len(found), dtype=torch.bool),
    )


def _add_things(detections: Detections, ids: Tensor, found: list[int]) -> None:
    """Write instances into `ids` where no better one is, and their classes into `found`."""
    if detections.masks is None:
        raise ValueError("segments are made of instances with masks; these detections have none.")
    for mask, score, kind in zip(detections.masks, detections.scores, detections.classes, strict=True):
        area = int(mask.sum())
        if float(score) < SCORE_THRESHOLD or area == 0:
            continue
        free = mask & (ids == 0)
        if area - int(free.sum()) > OVERLAP_THRESHOLD * area:
            continue
        found.append(int(kind))
        ids[free] = len(found)
