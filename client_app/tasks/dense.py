"""Tasks with a label for every pixel: semseg, parts, stuff, saliency, normals, edge, depth.

Losses and their weights are FedHCA2's, except those of stuff.
"""

from collections.abc import Mapping
from functools import partial

import torch
import torch.nn.functional as F
from fmtl_datasets.shared.conventions import IGNORE
from torch import Tensor

from client_app.metrics.base import Metric
from client_app.metrics.edge.ods import OdsF
from client_app.metrics.edge.protocol import EdgeProtocol
from client_app.metrics.max_f import MaxF
from client_app.metrics.mean_iou import MeanIoU
from client_app.metrics.pixel_errors import DepthRMSE, MeanAngle
from client_app.model.coco.pyramid import FeaturePyramid
from client_app.model.coco.semantic import SemanticHead
from client_app.model.multi_task_model import TaskModules
from client_app.tasks.base import DenseTask, mean_cross_entropy, mean_over

EDGE_WEIGHT = 0.95
"""Weight of edge pixels in the loss; the others weigh 1 minus this. FedHCA2 uses it on PASCAL and NYUD alike."""


class SemanticSegmentation(DenseTask):
    """A class per pixel: cross-entropy over valid pixels, weight 1, scored by mIoU."""

    name = "semseg"
    metric = MeanIoU

    def new_metric(self, num_classes: Mapping[str, int]) -> Metric:
        """Return an empty mIoU over the data set's classes."""
        return MeanIoU(self.output_channels(num_classes))

    def _loss(self, prediction: Tensor, label: Tensor) -> Tensor:
        return mean_cross_entropy(prediction, label)


class HumanParts(SemanticSegmentation):
    """Background and six body parts per pixel: as semantic segmentation, weight 2; mIoU includes background."""

    name = "parts"
    loss_weight = 2.0


class Stuff(SemanticSegmentation):
    """The class of every pixel that belongs to no countable object: index 0 stands for all things."""

    name = "stuff"

    def modules(self, num_classes: Mapping[str, int]) -> TaskModules:
        """Return a feature pyramid and a semantic head with one channel per class."""
        return TaskModules(FeaturePyramid, partial(SemanticHead, out_channels=self.output_channels(num_classes)))


class Saliency(DenseTask):
    """Which pixels draw attention: two-class cross-entropy balanced within the batch, weight 5, scored by maxF.

    Background weighs as much as the fraction of salient pixels and the other way round, so both classes pull equally.
    A batch with one class only has loss 0, as in the reference: the class that is there weighs nothing.
    """

    name = "saliency"
    loss_weight = 5.0
    metric = MaxF
    channels = 2

    def _loss(self, prediction: Tensor, label: Tensor) -> Tensor:
        valid = (label != IGNORE).sum().clamp(min=1)
        salient = (label == 1).sum() / valid
        background = (label == 0).sum() / valid
        return mean_cross_entropy(prediction, label, torch.stack([salient, background]))


class SurfaceNormals(DenseTask):
    """L1 between normalised vectors, summed over x, y, z, mean over valid pixels; weight 10; scored by mErr.

    A pixel is valid where the label is not the zero vector.
    """

    name = "normals"
    loss_weight = 10.0
    metric = MeanAngle
    channels = 3

    def _loss(self, prediction: Tensor, label: Tensor) -> Tensor:
        error = (F.normalize(prediction, dim=1) - label).abs().sum(dim=1)
        return mean_over(label.abs().sum(dim=1) > 0, error)


class EdgeDetection(DenseTask):
    """The logit of a boundary per pixel: binary cross-entropy, mean over valid pixels; weight 50; scored by odsF.

    Args:
        protocol: how boundaries are thinned and matched when scoring; it differs between data sets.
    """

    name = "edge"
    loss_weight = 50.0
    metric = OdsF
    channels = 1

    def __init__(self, protocol: EdgeProtocol | None = None) -> None:
        self.protocol = protocol if protocol is not None else EdgeProtocol()

    @property
    def metric_name(self) -> str:
        """Name under which the score is reported; it says where fewer thresholds than the benchmark's are used."""
        return self.protocol.metric_name

    def new_metric(self, num_classes: Mapping[str, int]) -> Metric:
        """Return an empty odsF under this task's protocol."""
        return OdsF(self.protocol)

    def _loss(self, prediction: Tensor, label: Tensor) -> Tensor:
        valid = label != IGNORE
        target = torch.where(valid, label, 0.0)
        weight = EDGE_WEIGHT * target + (1.0 - EDGE_WEIGHT) * (1.0 - target)
        return mean_over(valid, weight * F.binary_cross_entropy_with_logits(prediction, target, reduction="none"))


class Depth(DenseTask):
    """The distance of every pixel in metres: mean absolute error over valid pixels (label above 0), scored by RMSE."""

    name = "depth"
    metric = DepthRMSE
    channels = 1

    def _loss(self, prediction: Tensor, label: Tensor) -> Tensor:
        return mean_over(label > 0, (prediction - label).abs())
