"""What tasks whose labels are objects have in common."""

from collections.abc import Mapping, Sequence
from typing import Protocol

import torch
from fmtl_datasets.shared.objects import ObjectLabel
from torch import Tensor

from client_app.tasks.base import Task

SMALLEST_ANCHOR = 32.0
"""Side in pixels of the smallest anchors of a feature pyramid (arXiv 1612.03144)."""


class _Losses(Protocol):
    def losses(self, labels: Sequence[ObjectLabel]) -> dict[str, Tensor]: ...


class ObjectTask(Task):
    """A task whose head computes the loss itself; its parts weigh the same.

    Args:
        smallest_anchor: side in pixels of the smallest boxes that detection starts from.
    """

    loss_weight = 1.0
    higher_is_better = True

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


def thing_count(num_classes: Mapping[str, int], key: str) -> int:
    """Return a class count that may be 1, or raise ValueError naming what the data set does give."""
    if num_classes.get(key, 0) < 1:
        raise ValueError(
            f"num_classes[{key!r}] of at least 1 is needed, but the data set gives {dict(num_classes)}. Choose a data "
            "set that labels this task."
        )
    return num_classes[key]
