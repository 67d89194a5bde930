"""What heads of object tasks give: losses against labels while training, objects while scoring.

A dense head returns a tensor, from which loss and score follow without the model. The losses of a detector need its
layers once more (they are computed at places that depend on the labels), so its head returns an output that holds
the features and computes either when it is asked to.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from fmtl_datasets.shared.objects import Instances, PanopticSegments
from torch import Tensor


@dataclass(frozen=True)
class Detections:
    """What a detector found in one image, best first; tensors on the CPU.

    Attributes:
        size: height and width of the image in pixels.
        boxes: (n, 4) float32, left, top, right, bottom in pixels, as in `fmtl_datasets.shared.objects.Instances`.
        classes: (n,) int64, from 0 as in the labels.
        scores: (n,) float32, between 0 and 1, falling.
        masks: (n, h, w) bool, None where the task has no masks.
        keypoints: (n, 17, 3) float32, x, y (pixel centres have whole coordinates) and the score of the place in its
            heat map, without bounds; None where the task has no keypoints.
    """

    size: tuple[int, int]
    boxes: Tensor
    classes: Tensor
    scores: Tensor
    masks: Tensor | None = None
    keypoints: Tensor | None = None

    def __len__(self) -> int:
        """Return the number of objects found."""
        return len(self.scores)


class DetectionOutput(Protocol):
    """What an instance or keypoint head returns for a batch."""

    def losses(self, labels: Sequence[Instances]) -> dict[str, Tensor]:
        """Return the parts of the loss by name, each a float32 scalar with a graph; crowds are not trained on."""
        ...

    def detections(self) -> list[Detections]:
        """Return what was found in each image, at the size of the images the model was given."""
        ...


class PanopticOutput(Protocol):
    """What a panoptic head returns for a batch."""

    def losses(self, labels: Sequence[PanopticSegments]) -> dict[str, Tensor]:
        """Return the parts of the loss by name, each a float32 scalar with a graph."""
        ...

    def segments(self) -> list[PanopticSegments]:
        """Return the segments of each image, no pixel in two of them, at the size of the images, on the CPU."""
        ...
