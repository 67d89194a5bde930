"""The panoptic head: instances and a class map on one pyramid, merged when scored (arXiv 1901.02446, 1801.00868)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from fmtl_datasets.shared.conventions import IGNORE, PANOPTIC_THINGS
from fmtl_datasets.shared.objects import PanopticSegments
from torch import Tensor, nn

from client_app.model.coco.detection import DetectionHead, DetectionPrediction, DetectionSettings, require_mode
from client_app.model.coco.precision import autocast_of_now
from client_app.model.coco.semantic import SemanticHead
from client_app.model.coco.targets import require_classes
from client_app.pictures.detections import Detections

SCORE_THRESHOLD = 0.5
"""Instances below it are left out."""

OVERLAP_THRESHOLD = 0.5
"""An instance is left out when more than this share of it is already taken by better ones."""

STUFF_AREA_SHARE = 4096 / (640 * 480)
"""Other segments smaller than this share of the image are left out: the published 4096 pixels on a COCO image."""


@dataclass(frozen=True)
class PanopticSettings:
    """What a panoptic head tells apart.

    Attributes:
        classes: number of classes, things first.
        things: how many of them are things.
        smallest_anchor: side in pixels of the smallest anchors.

    Raises:
        ValueError: no thing, or no stuff.
    """

    classes: int
    things: int
    smallest_anchor: float

    def __post_init__(self) -> None:
        if not 0 < self.things < self.classes:
            raise ValueError(
                f"{self.things} of {self.classes} panoptic classes are things: expected at least one thing and at "
                f"least one other. Check num_classes['panoptic'] and num_classes[{PANOPTIC_THINGS!r}] of the data set."
            )


class PanopticHead(nn.Module):
    """Mask R-CNN's head for things, and a semantic head for the other classes with one more class for every thing.

    Args:
        width: channels of each level of the pyramid.
        settings: what is told apart.
    """

    def __init__(self, width: int, settings: PanopticSettings) -> None:
        super().__init__()
        self.settings = settings
        self.detection = DetectionHead(width, DetectionSettings(settings.things, settings.smallest_anchor, "masks"))
        self.semantic = SemanticHead(width, settings.classes - settings.things + 1)

    def forward(self, decoded: Mapping[str, Tensor], image_size: tuple[int, int]) -> PanopticPrediction:
        """Return what computes losses or segments when asked to; arguments as for `DetectionHead`."""
        return PanopticPrediction(self, decoded, image_size)


class PanopticPrediction:
    """The pyramid of a batch and the head that reads it; a `client_app.pictures.detections.PanopticOutput`.

    Args:
        head: what finds segments.
        decoded: levels of the pyramid by name.
        image_size: height and width of the images in pixels.
    """

    def __init__(self, head: PanopticHead, decoded: Mapping[str, Tensor], image_size: tuple[int, int]) -> None:
        self._head = head
        self._features = decoded
        self._image_size = image_size
        self._autocast = autocast_of_now(next(iter(decoded.values())))
        self._things: DetectionPrediction = head.detection(decoded, image_size)

    def losses(self, labels: Sequence[PanopticSegments]) -> dict[str, Tensor]:
        """Return the parts of the instance loss, and `semantic`: mean cross-entropy over pixels that have a class.

        Raises:
            ValueError: labels do not belong to the images, or have a class out of range.
            RuntimeError: the head is in evaluation mode.
        """
        settings = self._head.settings
        require_classes([label.classes for label in labels], settings.classes, "panoptic class")
        parts = self._things.losses([label.things(settings.things) for label in labels])
        classes = torch.stack([stuff_map(label, settings.things) for label in labels])
        total = F.cross_entropy(self._classes(), classes, ignore_index=IGNORE, reduction="sum")
        return {**parts, "semantic": total / (classes != IGNORE).sum().clamp(min=1)}

    @torch.no_grad()
    def segments(self) -> list[PanopticSegments]:
        """Return the segments of each image, on the CPU.

        Raises:
            RuntimeError: the head is in training mode.
        """
        require_mode(self._head, training=False)
        classes = self._classes().argmax(dim=1).cpu()
        found = self._things.detections()
        things = self._head.settings.things
        return [merge(detected, image, things) for detected, image in zip(found, classes, strict=True)]

    def _classes(self) -> Tensor:
        with self._autocast():
            classes: Tensor = self._head.semantic(self._features, self._image_size)
        return classes.float()


def stuff_map(label: PanopticSegments, things: int) -> Tensor:
    """Return (h, w) int64, what the semantic head learns: 0 for things, then the other classes in their order.

    Void and crowds are 255, which is ignored.
    """
    classes = label.class_map(IGNORE)
    known = classes != IGNORE
    return torch.where(known, (classes - things + 1).clamp(min=0), IGNORE)


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
