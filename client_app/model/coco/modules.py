"""How the parts of the COCO tasks are built, as tasks tell the model."""

from __future__ import annotations

from functools import partial

from client_app.model.coco.detection import DetectionHead, DetectionSettings
from client_app.model.coco.panoptic import PanopticHead, PanopticSettings
from client_app.model.coco.pyramid import FeaturePyramid
from client_app.model.coco.semantic import SemanticHead
from client_app.model.task_modules import TaskModules


def instance_modules(classes: int, smallest_anchor: float) -> TaskModules:
    """Return a pyramid and Mask R-CNN's head.

    Args:
        classes: number of classes without background.
        smallest_anchor: side in pixels of the smallest anchors.

    Raises:
        ValueError: no class, or anchors without a size.
    """
    return TaskModules(
        FeaturePyramid, partial(DetectionHead, settings=DetectionSettings(classes, smallest_anchor, "masks"))
    )


def keypoint_modules(smallest_anchor: float) -> TaskModules:
    """Return a pyramid and Keypoint R-CNN's head for people; arguments and errors as for `instance_modules`."""
    return TaskModules(
        FeaturePyramid, partial(DetectionHead, settings=DetectionSettings(1, smallest_anchor, "keypoints"))
    )


def stuff_modules(classes: int) -> TaskModules:
    """Return a pyramid and a semantic head for so many classes."""
    return TaskModules(FeaturePyramid, partial(SemanticHead, out_channels=classes))


def panoptic_modules(settings: PanopticSettings) -> TaskModules:
    """Return a pyramid and a panoptic head."""
    return TaskModules(FeaturePyramid, partial(PanopticHead, settings=settings))
