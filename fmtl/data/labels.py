"""What one label holds, and what is wrong with it: its size, its classes, its values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from fmtl_datasets.shared.conventions import IGNORE
from fmtl_datasets.shared.objects import Instances, PanopticSegments

Counts = npt.NDArray[np.int64]
Problem = tuple[str, str]
"""Kind of finding, and what is wrong."""

FARTHEST = 80.0
"""Depth beyond this many metres is left out of scores (methods 4.2)."""

MILLIMETRES = 300
"""A median depth beyond this is no distance in metres that a depth camera measures."""

UNIT_TOLERANCE = 0.01
FACING_AWAY = 0.5
"""A normal map with more than this share of normals turned away from the camera has other axes than ours."""

MIN_SIDE = 32
"""Encoders reduce an image 32 times; a smaller one has no feature left."""


def label_problems(task: str, label: Any, size: tuple[int, int], num_classes: Mapping[str, int]) -> list[Problem]:
    """Check one label.

    Args:
        task: one of ``fmtl_datasets.shared.conventions.TASKS``.
        label: its value in an uncollated sample.
        size: height and width of the image.
        num_classes: class counts of the data set.

    Returns:
        Kinds of finding and sentences; empty where all is well.
    """
    label_size = label.size if isinstance(label, Instances | PanopticSegments) else tuple(label.shape[-2:])
    if tuple(label_size) != size:
        return [
            ("wrong-size", f"the label is {label_size[0]} x {label_size[1]}, its image {size[0]} x {size[1]} pixels")
        ]
    if isinstance(label, Instances):
        return _instance_problems(label, class_count(task, num_classes))
    if isinstance(label, PanopticSegments):
        return _panoptic_problems(label, class_count(task, num_classes))
    values = np.asarray(label)
    if task == "depth":
        return _depth_problems(values)
    if task == "normals":
        return _normals_problems(values)
    return _class_problems(task, values, class_count(task, num_classes))


def image_problems(size: tuple[int, int]) -> list[Problem]:
    """Check an image's height and width in pixels."""
    return [("tiny-image", f"the image is {size[0]} x {size[1]} pixels")] if min(size) < MIN_SIDE else []


def _class_problems(task: str, values: Any, count: int) -> list[Problem]:
    if not np.issubdtype(values.dtype, np.integer):
        return [("wrong-values", f"the label is of type {values.dtype}, expected whole numbers")]
    wrong = np.unique(values[(values < 0) | ((values >= count) & (values != IGNORE))])
    if wrong.size:
        shown = ", ".join(str(value) for value in wrong[:5]) + (" ..." if wrong.size > 5 else "")
        return [("wrong-values", f"values {shown} are no class; expected 0 to {count - 1}, or {IGNORE} to ignore")]
    if (values == IGNORE).all():
        return [("all-ignored", "every pixel is ignored")]
    if task in ("edge", "saliency") and (values == 1).all():
        return [("suspicious-values", f"every pixel is {task}")]
    return []


def _depth_problems(values: Any) -> list[Problem]:
    if not np.isfinite(values).all() or (values < 0).any():
        return [("wrong-values", "depth is negative or not finite; expected metres, 0 where nothing was measured")]
    valid = values[values > 0]
    if not valid.size:
        return [("all-ignored", "no pixel has a depth")]
    if valid.min() > FARTHEST:
        text = f"every depth is beyond {FARTHEST:g} m, from {valid.min():g} on"
        if np.median(valid) > MILLIMETRES:
            return [("wrong-values", f"{text}; expected metres, these look like millimetres")]
        return [("suspicious-values", text)]
    return []


def _normals_problems(values: Any) -> list[Problem]:
    if not np.isfinite(values).all():
        return [("wrong-values", "normals are not finite; expected unit vectors, (0, 0, 0) where there is none")]
    length = np.linalg.norm(values, axis=0)
    valid = length > 0
    if not valid.any():
        return [("all-ignored", "no pixel has a normal")]
    worst = float(np.abs(length[valid] - 1).max())
    if worst > UNIT_TOLERANCE:
        return [("wrong-values", f"normals have lengths up to {worst:.2g} away from 1; expected unit vectors")]
    away = float((values[2][valid] > 0).mean())
    if away > FACING_AWAY:
        text = f"{away:.0%} of the normals face away from the camera; expected x right, y down, z forward, so z < 0"
        return [("suspicious-values", text)]
    return []


def _instance_problems(label: Instances, count: int) -> list[Problem]:
    wrong = sorted({index for index in label.classes.tolist() if not 0 <= index < count})
    if wrong:
        return [("wrong-values", f"objects of classes {wrong[:5]}; expected 0 to {count - 1}")]
    if not len(label):
        return []
    boxes = label.boxes
    if not torch.isfinite(boxes).all() or bool((boxes[:, 2:] < boxes[:, :2]).any()):
        return [("wrong-values", "a box is not finite or ends before it begins; expected left, top, right, bottom")]
    height, width = label.size
    outside = (boxes[:, 2:] > boxes.new_tensor([width + 1, height + 1])).any(1) | (boxes[:, :2] < -1).any(1)
    if bool(outside.any()):
        return [("wrong-values", f"{int(outside.sum())} boxes reach out of the image of {height} x {width} pixels")]
    flat = ((boxes[:, 2:] - boxes[:, :2]) <= 0).any(1) & ~label.crowd
    if bool(flat.any()):
        return [("suspicious-values", f"{int(flat.sum())} objects have a box without area")]
    if label.masks is not None and bool((~label.masks.flatten(1).any(1)).any()):
        return [("suspicious-values", "an object has an empty mask")]
    return []


def _panoptic_problems(label: PanopticSegments, count: int) -> list[Problem]:
    wrong = sorted({index for index in label.classes.tolist() if not 0 <= index < count})
    if wrong:
        return [("wrong-values", f"segments of classes {wrong[:5]}; expected 0 to {count - 1}")]
    drawn = set(torch.unique(label.ids).tolist()) - {0}
    listed = set(label.segment_ids.tolist())
    if drawn - listed:
        return [("wrong-values", f"segment {min(drawn - listed)} is drawn but not listed")]
    if listed - drawn:
        return [("suspicious-values", f"segment {min(listed - drawn)} is listed but has no pixel")]
    return [] if drawn else [("all-ignored", "no pixel belongs to a segment")]


@dataclass
class TaskCount:
    """What the labels of a task hold.

    Attributes:
        per_class: (n,) pixels of each class of a map, or objects of each class; empty for depth and normals.
        read: labels that were read.
        labelled: labels with anything to train on.
        left_out: pixels without a class or a value, or crowds.
        pixels: of all labels that are maps.
    """

    per_class: Counts
    read: int = 0
    labelled: int = 0
    left_out: int = 0
    pixels: int = 0

    def add(self, other: TaskCount) -> None:
        """Add the counts of other images."""
        self.per_class += other.per_class
        self.read += other.read
        self.labelled += other.labelled
        self.left_out += other.left_out
        self.pixels += other.pixels

    def contents(self, task: str) -> str:
        """What the labels hold, in a few words."""
        number, share = int(self.per_class.sum()), self.left_out / max(self.pixels, 1)
        seen = f"{np.count_nonzero(self.per_class)} of {len(self.per_class)} classes"
        if task in ("instance", "keypoints"):
            what = f"{number} people" if task == "keypoints" else f"{number} objects of {seen}"
            return f"{what}, {self.left_out} crowds" if self.left_out else what
        if task in ("depth", "normals"):
            return f"{1 - share:.1%} of the pixels valid"
        if task in ("edge", "saliency"):
            seen = f"{self.per_class[1] / max(number, 1):.1%} of the pixels set"
        return f"{seen}, {share:.1%} of the pixels ignored" if self.left_out else seen


def empty_count(task: str, num_classes: Mapping[str, int]) -> TaskCount:
    """The count of no label."""
    return TaskCount(np.zeros(class_count(task, num_classes), dtype=np.int64))


def count_label(task: str, label: Any, num_classes: Mapping[str, int]) -> TaskCount:
    """Count one label without faults (`label_problems`); arguments as there."""
    counted = empty_count(task, num_classes)
    counted.read, counted.labelled = 1, int(has_label(label))
    number = len(counted.per_class)
    if isinstance(label, Instances):
        counted.per_class += np.bincount(label.classes[~label.crowd].numpy(), minlength=number)
        counted.left_out = int(label.crowd.sum())
        return counted
    values = label.class_map(IGNORE).numpy() if isinstance(label, PanopticSegments) else np.asarray(label)
    counted.pixels = int(np.prod(values.shape[-2:]))
    if number:
        found = np.bincount(values.ravel().astype(np.int64), minlength=IGNORE + 1)
        counted.per_class += found[:number]
        counted.left_out = int(found[IGNORE])
    else:
        counted.left_out = counted.pixels - int(np.count_nonzero((values != 0).any(axis=0)))
    return counted


def has_label(label: Any) -> bool:
    """Whether there is anything to train on in a label."""
    if isinstance(label, Instances):
        single = label.select(~label.crowd)
        return len(single) > 0 if single.keypoints is None else bool((single.keypoints[..., 2] > 0).any())
    if isinstance(label, PanopticSegments):
        return len(label) > 0
    values = np.asarray(label)
    nothing = 0 if np.issubdtype(values.dtype, np.floating) else IGNORE
    return bool((values != nothing).any())


def class_count(task: str, num_classes: Mapping[str, int]) -> int:
    """How many classes a task has: two for edge and saliency, one (a person) for keypoints, none for depth, normals."""
    fixed = {"edge": 2, "saliency": 2, "keypoints": 1, "depth": 0, "normals": 0}
    return fixed[task] if task in fixed else num_classes[task]
