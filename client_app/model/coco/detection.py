"""The head of a detector: proposals, boxes with classes, and masks or keypoints, all torchvision's own modules."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from fmtl_datasets.shared.objects import NUM_KEYPOINTS, Instances
from torch import Tensor, nn
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.faster_rcnn import FastRCNNPredictor, TwoMLPHead
from torchvision.models.detection.image_list import ImageList
from torchvision.models.detection.keypoint_rcnn import KeypointRCNNHeads, KeypointRCNNPredictor
from torchvision.models.detection.mask_rcnn import MaskRCNNHeads, MaskRCNNPredictor
from torchvision.models.detection.roi_heads import RoIHeads
from torchvision.models.detection.rpn import RegionProposalNetwork, RPNHead
from torchvision.ops import MultiScaleRoIAlign
from torchvision.ops.poolers import LevelMapper

from client_app.model.coco.pasting import paste_masks
from client_app.model.coco.precision import autocast_of_now, with_float32_output
from client_app.model.coco.pyramid import LEVEL_NAMES, LEVELS, map_strides
from client_app.model.coco.targets import Part, detection_targets
from client_app.pictures.detections import Detections

ASPECT_RATIOS = (0.5, 1.0, 2.0)
BOX_CELLS, PART_CELLS = 7, 14
"""Side of the grid that RoIAlign reads from a region, for its box and for its mask or keypoints."""

CANONICAL_SCALE, CANONICAL_LEVEL = 224, 4
"""A region of 224x224 pixels is read from the map of stride 16 (arXiv 1612.03144, equation 1)."""


@dataclass(frozen=True)
class DetectionSettings:
    """What a detector finds.

    Attributes:
        classes: number of classes without background.
        smallest_anchor: side in pixels of the smallest anchors; it doubles at every level.
        part: what is predicted beside boxes.
    """

    classes: int
    smallest_anchor: float
    part: Part


class DetectionHead(nn.Module):
    """Region proposals and region heads of Mask R-CNN or Keypoint R-CNN with torchvision's settings.

    Sizes follow the width W: box layers 4 W, mask layers 4 x W, keypoint layers 8 x 2 W. W = 256 gives the published
    ones (arXiv 1703.06870).

    Args:
        width: channels of each level of the pyramid.
        settings: what is found.
    """

    def __init__(self, width: int, settings: DetectionSettings) -> None:
        super().__init__()
        self.settings = settings
        self.rpn = _proposals(width, settings.smallest_anchor)
        self.roi_heads = _region_heads(width, settings)

    def forward(self, decoded: Mapping[str, Tensor], image_size: tuple[int, int]) -> DetectionPrediction:
        """Return what computes losses or detections when asked to; nothing is computed here.

        Args:
            decoded: levels of the pyramid by name, (B, W, H_l, W_l).
            image_size: height and width of the images in pixels.
        """
        return DetectionPrediction(self, decoded, image_size)


class DetectionPrediction:
    """The pyramid of a batch and the head that reads it; a `client_app.pictures.detections.DetectionOutput`.

    Args:
        head: what finds objects.
        decoded: levels of the pyramid by name.
        image_size: height and width of the images in pixels.
    """

    def __init__(self, head: DetectionHead, decoded: Mapping[str, Tensor], image_size: tuple[int, int]) -> None:
        first = next(iter(decoded.values()))
        self._head = head
        self._features = decoded
        self._image_size = image_size
        self._images = len(first)
        self._autocast = autocast_of_now(first)

    def losses(self, labels: Sequence[Instances]) -> dict[str, Tensor]:
        """Return objectness, rpn_box_reg, classifier, box_reg, and mask or keypoint, each a float32 scalar.

        Anchors and regions are sampled with torch's global random state.

        Raises:
            ValueError: labels do not belong to the images, or have a class out of range.
            RuntimeError: the head is in evaluation mode.
        """
        require_mode(self._head, training=True)
        if len(labels) != self._images:
            raise ValueError(f"{len(labels)} labels for {self._images} images: expected one for each.")
        settings = self._head.settings
        targets = detection_targets(labels, settings.part, settings.classes, self._image_size)
        _, found = self._run(targets)
        return {name.removeprefix("loss_"): loss for name, loss in found.items()}

    @torch.no_grad()
    def detections(self) -> list[Detections]:
        """Return what was found in each image, at most 100 objects with a score above 0.05, on the CPU.

        Raises:
            RuntimeError: the head is in training mode.
        """
        require_mode(self._head, training=False)
        results, _ = self._run(None)
        return [_detections(result, self._image_size) for result in results]

    def _run(self, targets: list[dict[str, Tensor]] | None) -> tuple[list[dict[str, Tensor]], dict[str, Tensor]]:
        # Anchors and pooled regions take the dtype of the maps; layers go back to autocast's by themselves.
        features = {name: level.float() for name, level in self._features.items()}
        sizes = [self._image_size] * self._images
        shape_only = next(iter(features.values())).new_empty((0, 1, *self._image_size))
        with self._autocast():
            _set_strides(self._head.roi_heads, features, self._image_size)
            proposals, rpn_losses = self._head.rpn(ImageList(shape_only, sizes), features, targets)
            results, roi_losses = self._head.roi_heads(features, proposals, sizes, targets)
        return results, {**rpn_losses, **roi_losses}


def require_mode(head: nn.Module, *, training: bool) -> None:
    """Raise RuntimeError unless the head is in the mode that an output needs."""
    if head.training == training:
        return
    if training:
        raise RuntimeError("losses are computed in training mode; call model.train() before, or ask for detections.")
    raise RuntimeError("objects are found in evaluation mode; call model.eval() before, or ask for losses.")


def _proposals(width: int, smallest_anchor: float) -> RegionProposalNetwork:
    sides = tuple((smallest_anchor * 2**level,) for level in range(LEVELS + 1))
    anchors = AnchorGenerator(sides, (ASPECT_RATIOS,) * len(sides))
    return RegionProposalNetwork(
        anchors,
        with_float32_output(RPNHead(width, len(ASPECT_RATIOS))),
        fg_iou_thresh=0.7,
        bg_iou_thresh=0.3,
        batch_size_per_image=256,
        positive_fraction=0.5,
        pre_nms_top_n={"training": 2000, "testing": 1000},
        post_nms_top_n={"training": 2000, "testing": 1000},
        nms_thresh=0.7,
    )


def _region_heads(width: int, settings: DetectionSettings) -> RoIHeads:
    heads = RoIHeads(
        _pooling(BOX_CELLS),
        TwoMLPHead(width * BOX_CELLS**2, 4 * width),
        with_float32_output(FastRCNNPredictor(4 * width, settings.classes + 1)),
        fg_iou_thresh=0.5,
        bg_iou_thresh=0.5,
        batch_size_per_image=512,
        positive_fraction=0.25,
        bbox_reg_weights=None,
        score_thresh=0.05,
        nms_thresh=0.5,
        detections_per_img=100,
    )
    if settings.part == "masks":
        heads.mask_roi_pool = _pooling(PART_CELLS)
        heads.mask_head = MaskRCNNHeads(width, (width,) * 4, 1)
        heads.mask_predictor = with_float32_output(MaskRCNNPredictor(width, width, settings.classes + 1))
    else:
        heads.keypoint_roi_pool = _pooling(PART_CELLS)
        heads.keypoint_head = KeypointRCNNHeads(width, (2 * width,) * 8)
        heads.keypoint_predictor = with_float32_output(KeypointRCNNPredictor(2 * width, NUM_KEYPOINTS))
    return heads


def _pooling(cells: int) -> MultiScaleRoIAlign:
    return MultiScaleRoIAlign(list(LEVEL_NAMES), cells, sampling_ratio=2)


def _set_strides(heads: RoIHeads, features: Mapping[str, Tensor], image_size: tuple[int, int]) -> None:
    """Tell the poolers where maps lie in the image; alone they take every stride for a power of two and keep it."""
    strides = map_strides([features[name] for name in LEVEL_NAMES], image_size)
    finest = round(math.log2(strides[0]))
    for pooling in (heads.box_roi_pool, heads.mask_roi_pool, heads.keypoint_roi_pool):
        if pooling is not None:
            pooling.scales = [1.0 / stride for stride in strides]
            pooling.map_levels = LevelMapper(finest, finest + LEVELS - 1, CANONICAL_SCALE, CANONICAL_LEVEL)


def _detections(result: Mapping[str, Tensor], size: tuple[int, int]) -> Detections:
    """Return one image's result in the project's form; on the CPU, because pasting reads every box as numbers."""
    found = {name: value.float().cpu() for name, value in result.items() if name != "labels"}
    masks = keypoints = None
    if "masks" in found:
        masks = paste_masks(found["masks"], found["boxes"], size)
    if "keypoints" in found:
        # From box coordinates to pixel indices.
        keypoints = torch.cat([found["keypoints"][..., :2] - 0.5, found["keypoints_scores"][..., None]], dim=-1)
    return Detections(size, found["boxes"], result["labels"].cpu() - 1, found["scores"], masks, keypoints)
