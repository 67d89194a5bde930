"""Small models of the COCO tasks, and made-up labels for them."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from fmtl_datasets.shared.conventions import PANOPTIC_THINGS
from fmtl_datasets.shared.objects import NUM_KEYPOINTS, Instances, PanopticSegments
from torch import Tensor, nn

from client_app.model.multi_task_model import MultiTaskModel, build_model
from client_app.tasks.objects import ObjectTask
from client_app.tasks.registry import get_task

NUM_CLASSES: Mapping[str, int] = {"semseg": 4, "stuff": 5, "instance": 3, "panoptic": 7, PANOPTIC_THINGS: 3}
COCO_TASKS = ("instance", "keypoints", "stuff", "panoptic")


def model(
    tasks: tuple[str, ...],
    encoder: str = "mobilenetv2_035",
    width: int = 8,
    size: tuple[int, int] = (64, 64),
    num_classes: Mapping[str, int] = NUM_CLASSES,
) -> MultiTaskModel:
    modules = {}
    for name in tasks:
        task = get_task(name)
        modules[name] = (type(task)(8.0) if isinstance(task, ObjectTask) else task).modules(num_classes)
    return build_model(encoder, modules, size, decoder_width=width)


def images(count: int = 2, size: tuple[int, int] = (64, 64)) -> Tensor:
    return torch.randn((count, 3, *size), generator=torch.Generator().manual_seed(0))


def instances(
    boxes: list[tuple[float, float, float, float]], classes: list[int] | None = None, size: tuple[int, int] = (64, 64)
) -> Instances:
    """Objects that fill their boxes, with all keypoints in the middle of them."""
    corners = torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4)
    masks = torch.zeros((len(boxes), *size), dtype=torch.bool)
    for mask, (left, top, right, bottom) in zip(masks, corners.round().int().tolist(), strict=True):
        mask[top:bottom, left:right] = True
    keypoints = torch.full((len(boxes), NUM_KEYPOINTS, 3), 2.0)
    keypoints[..., 0] = (corners[:, :1] + corners[:, 2:3]) / 2
    keypoints[..., 1] = (corners[:, 1:2] + corners[:, 3:]) / 2
    sides = corners[:, 2:] - corners[:, :2]
    return Instances(
        size=size,
        boxes=corners,
        classes=torch.tensor(classes if classes is not None else [0] * len(boxes), dtype=torch.int64),
        areas=sides[:, 0] * sides[:, 1],
        crowd=torch.zeros(len(boxes), dtype=torch.bool),
        masks=masks,
        keypoints=keypoints,
    )


def segments(ids: Tensor, classes: Mapping[int, int], crowd: tuple[int, ...] = ()) -> PanopticSegments:
    """Segments by identifier, each with its class."""
    return PanopticSegments(
        ids=ids.to(torch.int32),
        segment_ids=torch.tensor(list(classes), dtype=torch.int64),
        classes=torch.tensor(list(classes.values()), dtype=torch.int64),
        crowd=torch.tensor([identifier in crowd for identifier in classes], dtype=torch.bool),
    )


def shapes(module: nn.Module) -> dict[str, tuple[int, ...]]:
    return {name: tuple(parameter.shape) for name, parameter in module.named_parameters()}
