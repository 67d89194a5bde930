"""Labels made of objects: instances with masks and keypoints, and panoptic segments.

Unlike a map with one value per pixel, such a label changes its length when an image is cropped, and a batch keeps one
for each image. Legend for shape suffixes: n objects, k keypoints (17), s segments, h and w rows and columns.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Self

import torch
from fmtl_datasets.shared.nearest import nearest_pixels
from torch import Tensor

COCO_FLIP = (0, 2, 1, 4, 3, 6, 5, 8, 7, 10, 9, 12, 11, 14, 13, 16, 15)
"""For each of the 17 COCO keypoints, the one it becomes in a mirror (left and right change places)."""

NUM_KEYPOINTS = len(COCO_FLIP)


@dataclass(frozen=True)
class Instances:
    """The annotated objects of one image.

    Attributes:
        size: height and width of the image in pixels.
        boxes: (n, 4) float32, left, top, right, bottom in pixels; a pixel spans one unit, so that right - left is the
            width.
        classes: (n,) int64, from 0.
        areas: (n,) float32, annotated area in pixels; what decides small, medium, large and the scale of OKS.
        crowd: (n,) bool: a region with many objects that were not told apart; scored leniently, never trained on.
        masks: (n, h, w) bool; None where the data set gives none (a keypoint data set need not).
        keypoints: (n, 17, 3) float32 x, y (pixel centres have whole coordinates) and visibility 0, 1 or 2; None where
            the task is not keypoints. An object without a labelled keypoint is not used for training keypoints.
    """

    size: tuple[int, int]
    boxes: Tensor
    classes: Tensor
    areas: Tensor
    crowd: Tensor
    masks: Tensor | None = None
    keypoints: Tensor | None = None

    def __len__(self) -> int:
        """Return the number of objects."""
        return len(self.classes)

    def select(self, keep: Tensor) -> Instances:
        """Return some of the objects.

        Args:
            keep: (n,) bool, or indices.
        """
        return replace(
            self,
            boxes=self.boxes[keep],
            classes=self.classes[keep],
            areas=self.areas[keep],
            crowd=self.crowd[keep],
            masks=None if self.masks is None else self.masks[keep],
            keypoints=None if self.keypoints is None else self.keypoints[keep],
        )

    def flipped(self) -> Self:
        """Return the objects of the mirrored image; left and right keypoints change places."""
        width = self.size[1]
        left, top, right, bottom = self.boxes.unbind(-1)
        keypoints = self.keypoints
        if keypoints is not None:
            keypoints = keypoints[:, COCO_FLIP, :].clone()
            labelled = keypoints[..., 2] > 0
            keypoints[..., 0] = torch.where(labelled, width - 1 - keypoints[..., 0], keypoints[..., 0])
        return replace(
            self,
            boxes=torch.stack([width - right, top, width - left, bottom], dim=-1),
            masks=None if self.masks is None else self.masks.flip(-1),
            keypoints=keypoints,
        )

    def resized(self, size: tuple[int, int]) -> Self:
        """Return the objects of the image scaled to `size` (height, width); annotated areas grow with it.

        An object smaller than a pixel of the result keeps its box; its mask may be left without a pixel.
        """
        vertical, horizontal = size[0] / self.size[0], size[1] / self.size[1]
        keypoints = self.keypoints
        if keypoints is not None:
            keypoints = keypoints.clone()
            keypoints[..., 0] = (keypoints[..., 0] + 0.5) * horizontal - 0.5
            keypoints[..., 1] = (keypoints[..., 1] + 0.5) * vertical - 0.5
            keypoints[..., :2] *= (keypoints[..., 2:] > 0).to(keypoints.dtype)
        return replace(
            self,
            size=size,
            boxes=self.boxes * self.boxes.new_tensor([horizontal, vertical, horizontal, vertical]),
            areas=self.areas * (vertical * horizontal),
            masks=None if self.masks is None else nearest_pixels(self.masks, size),
            keypoints=keypoints,
        )

    def cropped(self, top: int, left: int, height: int, width: int) -> Instances:
        """Return what is left of the objects in a window; those of which nothing is left are dropped.

        The box of an object that is cut shrinks to the visible part of its mask, or is cut where there is no mask.
        Areas shrink by the visible share of the mask or of the box. Keypoints outside the window become unlabelled.
        """
        moved = self._moved(-top, -left, (height, width))
        limits = moved.boxes.new_tensor([width, height, width, height])
        boxes = moved.boxes.clamp(min=0).minimum(limits)
        share = _box_areas(boxes) / _box_areas(moved.boxes).clamp(min=1e-6)
        masks = self.masks
        if masks is not None:
            whole = masks.flatten(1).sum(1)
            masks = masks[:, top : top + height, left : left + width]
            visible = masks.flatten(1).sum(1)
            boxes = torch.where((visible < whole)[:, None], _mask_boxes(masks), boxes)
            boxes[visible == 0] = 0
            share = visible / whole.clamp(min=1)
        inside = replace(moved, boxes=boxes, areas=self.areas * share, masks=masks)
        if moved.keypoints is not None:
            x, y = moved.keypoints[..., 0], moved.keypoints[..., 1]
            kept = (x >= -0.5) & (x < width - 0.5) & (y >= -0.5) & (y < height - 0.5)
            inside = replace(inside, keypoints=moved.keypoints * kept[..., None].to(moved.keypoints.dtype))
        return inside.select(_box_areas(boxes) > 0)

    def padded(self, top: int, left: int, size: tuple[int, int]) -> Instances:
        """Return the objects of the image laid into a larger one with `top` rows above and `left` columns before."""
        masks = self.masks
        if masks is not None:
            below, after = size[0] - self.size[0] - top, size[1] - self.size[1] - left
            masks = torch.nn.functional.pad(masks, (left, after, top, below))
        return replace(self._moved(top, left, size), masks=masks)

    def to(self, device: torch.device) -> Self:
        """Return the label on a device."""
        return replace(
            self,
            boxes=self.boxes.to(device),
            classes=self.classes.to(device),
            areas=self.areas.to(device),
            crowd=self.crowd.to(device),
            masks=None if self.masks is None else self.masks.to(device),
            keypoints=None if self.keypoints is None else self.keypoints.to(device),
        )

    def clone(self) -> Instances:
        """Return a copy that shares no memory with this one."""
        return self.select(torch.ones(len(self), dtype=torch.bool, device=self.classes.device))

    def _moved(self, down: int, right: int, size: tuple[int, int]) -> Self:
        keypoints = self.keypoints
        if keypoints is not None:
            keypoints = keypoints.clone()
            labelled = (keypoints[..., 2] > 0).to(keypoints.dtype)
            keypoints[..., 0] += right * labelled
            keypoints[..., 1] += down * labelled
        return replace(
            self, size=size, boxes=self.boxes + self.boxes.new_tensor([right, down, right, down]), keypoints=keypoints
        )


@dataclass(frozen=True)
class PanopticSegments:
    """A panoptic label: every pixel belongs to at most one segment.

    Attributes:
        ids: (h, w) int32, the segment of each pixel, 0 where nothing is annotated (void).
        segment_ids: (s,) int64, the identifiers in `ids`, each once and none 0.
        classes: (s,) int64, from 0; the things come first (`num_classes["panoptic-things"]` says how many).
        crowd: (s,) bool: several objects that were not told apart; left out of scoring as panopticapi does.
    """

    ids: Tensor
    segment_ids: Tensor
    classes: Tensor
    crowd: Tensor

    def __len__(self) -> int:
        """Return the number of segments."""
        return len(self.segment_ids)

    @property
    def size(self) -> tuple[int, int]:
        """Return height and width in pixels."""
        return (int(self.ids.shape[-2]), int(self.ids.shape[-1]))

    def flipped(self) -> Self:
        """Return the label of the mirrored image."""
        return replace(self, ids=self.ids.flip(-1))

    def resized(self, size: tuple[int, int]) -> PanopticSegments:
        """Return the label at another size (height, width); segments that vanish are dropped."""
        return replace(self, ids=nearest_pixels(self.ids, size))._without_the_vanished()

    def cropped(self, top: int, left: int, height: int, width: int) -> PanopticSegments:
        """Return what is seen in a window; segments outside it are dropped."""
        return replace(self, ids=self.ids[top : top + height, left : left + width])._without_the_vanished()

    def padded(self, top: int, left: int, size: tuple[int, int]) -> Self:
        """Return the label laid into a larger image; the border is void."""
        below, after = size[0] - self.size[0] - top, size[1] - self.size[1] - left
        return replace(self, ids=torch.nn.functional.pad(self.ids, (left, after, top, below)))

    def to(self, device: torch.device) -> Self:
        """Return the label on a device."""
        return replace(
            self,
            ids=self.ids.to(device),
            segment_ids=self.segment_ids.to(device),
            classes=self.classes.to(device),
            crowd=self.crowd.to(device),
        )

    def clone(self) -> Self:
        """Return a copy that shares no memory with this one."""
        return replace(
            self,
            ids=self.ids.clone(),
            segment_ids=self.segment_ids.clone(),
            classes=self.classes.clone(),
            crowd=self.crowd.clone(),
        )

    def class_map(self, ignore: int) -> Tensor:
        """Return (h, w) int64, the class of each pixel, `ignore` where it is void or of a crowd segment."""
        classes = torch.full(self.ids.shape, ignore, dtype=torch.int64, device=self.ids.device)
        told_apart = ~self.crowd
        # An image has a dozen segments: a comparison for each is quicker than a search for each pixel.
        numbers = zip(self.segment_ids[told_apart].tolist(), self.classes[told_apart].tolist(), strict=True)
        for segment, index in numbers:
            classes[self.ids == segment] = index
        return classes

    def things(self, num_things: int) -> Instances:
        """Return the thing segments as instances (crowds included and marked), boxes and areas from their pixels."""
        chosen = self.classes < num_things
        masks = self.ids[None] == self.segment_ids[chosen][:, None, None]
        return Instances(
            size=self.size,
            boxes=_mask_boxes(masks),
            classes=self.classes[chosen],
            areas=masks.flatten(1).sum(1).to(torch.float32),
            crowd=self.crowd[chosen],
            masks=masks,
        )

    def _without_the_vanished(self) -> PanopticSegments:
        keep = torch.isin(self.segment_ids, torch.unique(self.ids).long())
        return replace(self, segment_ids=self.segment_ids[keep], classes=self.classes[keep], crowd=self.crowd[keep])


ObjectLabel = Instances | PanopticSegments


def _box_areas(boxes: Tensor) -> Tensor:
    return (boxes[:, 2] - boxes[:, 0]).clamp(min=0) * (boxes[:, 3] - boxes[:, 1]).clamp(min=0)


def _mask_boxes(masks: Tensor) -> Tensor:
    """Return the tightest boxes (n, 4) around masks (n, h, w); zeros for a mask without a pixel."""
    height, width = masks.shape[-2:]
    rows, columns = masks.any(dim=2), masks.any(dim=1)
    left, top = _first_set(columns), _first_set(rows)
    # A box ends after the last row and column that belong to the mask.
    right, bottom = width - _first_set(columns.flip(-1)), height - _first_set(rows.flip(-1))
    boxes = torch.stack([left, top, right, bottom], dim=-1).to(torch.float32)
    return boxes * rows.any(dim=1)[:, None]


def _first_set(flags: Tensor) -> Tensor:
    """Return (n,) int64, the first place of (n, length) flags that is set, 0 where none is."""
    return flags.to(torch.uint8).argmax(dim=1)
