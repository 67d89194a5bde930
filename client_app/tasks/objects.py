"""Tasks whose labels are objects: instance, keypoints, panoptic. Their heads compute the losses themselves."""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Protocol

import torch
from fmtl_datasets.shared.conventions import PANOPTIC_THINGS
from fmtl_datasets.shared.objects import ObjectLabel
from torch import Tensor

from client_app.metrics.base import Metric
from client_app.metrics.coco.average_precision import InstanceAP, KeypointAP
from client_app.metrics.coco.panoptic import PanopticQuality
from client_app.model.coco.detection import DetectionHead, DetectionSettings
from client_app.model.coco.panoptic import PanopticHead, PanopticSettings
from client_app.model.coco.pyramid import FeaturePyramid
from client_app.model.multi_task_model import TaskModules
from client_app.tasks.base import Task, class_count

SMALLEST_ANCHOR = 32.0
"""Side in pixels of the smallest anchors of a feature pyramid (arXiv 1612.03144)."""


class _Losses(Protocol):
    def losses(self, labels: Sequence[ObjectLabel]) -> dict[str, Tensor]: ...


class ObjectTask(Task):
    """A task whose head computes the loss itself; its parts weigh the same.

    Args:
        smallest_anchor: side in pixels of the smallest boxes that detection starts from.
    """

    def __init__(self, smallest_anchor: float = SMALLEST_ANCHOR) -> None:
        self.smallest_anchor = smallest_anchor

    def loss(self, prediction: _Losses, label: Sequence[ObjectLabel]) -> Tensor:
        """Return the sum of the loss parts of a batch, a float32 scalar with a graph.

        Args:
            prediction: a `DetectionOutput` or `PanopticOutput` of `client_app.pictures.detections`.
            label: one label for each image.

        Raises:
            ValueError: prediction and labels do not belong together.
            RuntimeError: the model is in evaluation mode.
        """
        return torch.stack(list(prediction.losses(label).values())).sum()


class InstanceSegmentation(ObjectTask):
    """Class, box and mask of every object: Mask R-CNN (arXiv 1703.06870), scored by COCO's AP of masks."""

    name = "instance"
    metric = InstanceAP

    def modules(self, num_classes: Mapping[str, int]) -> TaskModules:
        """Return a feature pyramid and Mask R-CNN's head."""
        settings = DetectionSettings(class_count(num_classes, self.name, 1), self.smallest_anchor, "masks")
        return TaskModules(FeaturePyramid, partial(DetectionHead, settings=settings))


class Keypoints(ObjectTask):
    """Box and 17 keypoints of every person: Keypoint R-CNN (arXiv 1703.06870, section 5), scored by AP over OKS."""

    name = "keypoints"
    metric = KeypointAP

    def modules(self, num_classes: Mapping[str, int]) -> TaskModules:
        """Return a feature pyramid and Keypoint R-CNN's head."""
        settings = DetectionSettings(1, self.smallest_anchor, "keypoints")
        return TaskModules(FeaturePyramid, partial(DetectionHead, settings=settings))


class Panoptic(ObjectTask):
    """Every pixel belongs to an object or to a stuff class: Panoptic FPN (arXiv 1901.02446), scored by PQ."""

    name = "panoptic"
    metric = PanopticQuality

    def modules(self, num_classes: Mapping[str, int]) -> TaskModules:
        """Return a feature pyramid and a head for instances and stuff."""
        settings = PanopticSettings(*self._counts(num_classes), self.smallest_anchor)
        return TaskModules(FeaturePyramid, partial(PanopticHead, settings=settings))

    def new_metric(self, num_classes: Mapping[str, int]) -> Metric:
        """Return an empty PQ over the data set's classes."""
        return PanopticQuality(*self._counts(num_classes))

    def _counts(self, num_classes: Mapping[str, int]) -> tuple[int, int]:
        return class_count(num_classes, self.name, 1), class_count(num_classes, PANOPTIC_THINGS, 1)
