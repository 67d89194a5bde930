"""Labels in the form torchvision's detection parts train on."""

from collections.abc import Sequence
from typing import Literal

import torch
from fmtl_datasets.shared.objects import Instances
from torch import Tensor

Part = Literal["masks", "keypoints"]

SMALLEST_SIDE = 1.0
"""Boxes with a shorter side, in pixels, are what cropping left of an object; nobody could find them."""


def detection_targets(
    labels: Sequence[Instances], part: Part, classes: int, image_size: tuple[int, int]
) -> list[dict[str, Tensor]]:
    """Return the targets of a batch: objects that are trained on, classes from 1.

    Crowds, slivers of boxes and objects without a mask pixel are left out. Keypoints are moved from pixel indices to
    box coordinates, where the centre of pixel 0 lies at 0.5.

    Args:
        labels: one label for each image.
        part: what is predicted beside boxes.
        classes: number of classes without background.
        image_size: height and width of the images in pixels.

    Raises:
        ValueError: a label is for another image size, lacks masks or keypoints, or has a class out of range.
    """
    for label in labels:
        if label.size != image_size:
            raise ValueError(
                f"a label is for images of {label.size[0]}x{label.size[1]} pixels, the images have "
                f"{image_size[0]}x{image_size[1]}. Labels must be transformed together with their images."
            )
        if getattr(label, part) is None:
            raise ValueError(f"a label has no {part}; choose a data set that gives them, or another task.")
    require_classes([label.classes for label in labels], classes)
    return [_target(label, part) for label in labels]


def require_classes(found: Sequence[Tensor], count: int, kind: str = "class") -> None:
    """Raise ValueError for a class, (n,) int64 by label, that the head lacks; a GPU would abort the whole process."""
    classes = torch.cat(list(found))
    if not len(classes):
        return
    lowest, highest = torch.stack(torch.aminmax(classes)).tolist()
    if lowest < 0 or highest >= count:
        raise ValueError(
            f"a label has {kind} {lowest if lowest < 0 else highest}, but the head predicts {count} classes (0 to "
            f"{count - 1}). Check num_classes of the data set."
        )


def _target(label: Instances, part: Part) -> dict[str, Tensor]:
    sides = label.boxes[:, 2:] - label.boxes[:, :2]
    kept = ~label.crowd & (sides >= SMALLEST_SIDE).all(dim=1)
    if part == "masks":
        assert label.masks is not None
        kept = kept & label.masks.flatten(1).any(dim=1)
    chosen = label.select(kept)
    target = {"boxes": chosen.boxes.float(), "labels": chosen.classes + 1}
    if part == "masks":
        assert chosen.masks is not None
        target["masks"] = chosen.masks.to(torch.uint8)
        return target
    assert chosen.keypoints is not None
    centre = chosen.keypoints.new_tensor([0.5, 0.5, 0.0])
    target["keypoints"] = (chosen.keypoints + centre).float()
    return target
