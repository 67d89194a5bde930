"""Counts over the labels of a task, added image by image and never holding more than one of them.

Tallies of parts of a list add up to the tally of the whole, so that several processes can count.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol, Self

import numpy as np
import numpy.typing as npt
from fmtl_datasets.shared.conventions import IGNORE
from fmtl_datasets.shared.objects import NUM_KEYPOINTS, Instances, PanopticSegments

Counts = npt.NDArray[np.int64]


class Tally(Protocol):
    """Counts over the labels of one task."""

    def add(self, label: Any) -> None:
        """Count one label."""

    def merge(self, other: Self) -> None:
        """Add the counts of another part of the list."""

    def facts(self) -> dict[str, Any]:
        """The counts, for ``report.json``."""
        ...


@dataclass
class ClassTally:
    """Pixels and images of each class; class maps and panoptic segments.

    Attributes:
        pixels: (n,) pixels of each class.
        images: (n,) images in which each class occurs.
        ignored: pixels that no class has.
    """

    pixels: Counts
    images: Counts
    ignored: int = 0

    def add(self, label: Any) -> None:
        """Count a class map (H, W) or panoptic segments; values that are no class are left out."""
        if isinstance(label, PanopticSegments):
            values = label.class_map(IGNORE).numpy().ravel()
            # The 133 classes of COCO fit below the mark for ignored pixels.
        else:
            values = np.asarray(label).ravel()
        found = np.bincount(values.astype(np.int64), minlength=IGNORE + 1)
        known = found[: len(self.pixels)]
        self.pixels += known
        self.images += known > 0
        self.ignored += int(found[IGNORE])

    def merge(self, other: Self) -> None:
        """Add the counts of another part of the list."""
        self.pixels += other.pixels
        self.images += other.images
        self.ignored += other.ignored

    def facts(self) -> dict[str, Any]:
        """Pixels and images of each class."""
        total = int(self.pixels.sum()) + self.ignored
        return {
            "pixels_per_class": self.pixels.tolist(),
            "images_per_class": self.images.tolist(),
            "classes_seen": int((self.pixels > 0).sum()),
            "ignored_share": self.ignored / total if total else None,
        }


@dataclass
class ObjectTally:
    """Objects of each class, crowds apart, and how often each keypoint is labelled.

    Attributes:
        objects: (n,) objects of each class.
        images: (n,) images with an object of each class.
        labelled: (17,) objects for which each keypoint is labelled, visible or not.
        crowds: regions with objects that were not told apart.
        with_keypoints: objects with at least one labelled keypoint.
    """

    objects: Counts
    images: Counts
    labelled: Counts
    crowds: int = 0
    with_keypoints: int = 0

    def add(self, label: Instances) -> None:
        """Count the objects of one image; classes that do not exist are left out."""
        single = label.select(~label.crowd)
        found = np.bincount(single.classes.clamp(min=0).numpy(), minlength=len(self.objects))[: len(self.objects)]
        self.objects += found
        self.images += found > 0
        self.crowds += int(label.crowd.sum())
        if single.keypoints is not None:
            labelled = single.keypoints[..., 2].numpy() > 0
            self.labelled += labelled.sum(axis=0)
            self.with_keypoints += int(labelled.any(axis=1).sum())

    def merge(self, other: Self) -> None:
        """Add the counts of another part of the list."""
        self.objects += other.objects
        self.images += other.images
        self.labelled += other.labelled
        self.crowds += other.crowds
        self.with_keypoints += other.with_keypoints

    def facts(self) -> dict[str, Any]:
        """Objects and images of each class."""
        facts: dict[str, Any] = {
            "objects_per_class": self.objects.tolist(),
            "images_per_class": self.images.tolist(),
            "objects": int(self.objects.sum()),
            "classes_seen": int((self.objects > 0).sum()),
            "crowds": self.crowds,
        }
        if self.labelled.any():
            facts |= {"objects_with_keypoints": self.with_keypoints, "labelled_keypoints": self.labelled.tolist()}
        return facts


@dataclass
class ValueTally:
    """Valid pixels and values of depth or normals.

    Attributes:
        pixels: all pixels.
        valid: pixels with a value.
        smallest, largest, total: of depth in metres; of the forward part z of normals.
    """

    pixels: int = 0
    valid: int = 0
    smallest: float = float("inf")
    largest: float = float("-inf")
    total: float = 0.0

    def add(self, label: Any) -> None:
        """Count depth (1, H, W) or normals (3, H, W); zero stands for no value."""
        values = np.asarray(label)
        valid = np.isfinite(values).all(axis=0) & (values != 0).any(axis=0)
        self.pixels += valid.size
        self.valid += int(valid.sum())
        last = values[-1][valid].astype(np.float64)
        if last.size:
            self.smallest = min(self.smallest, float(last.min()))
            self.largest = max(self.largest, float(last.max()))
            self.total += float(last.sum())

    def merge(self, other: Self) -> None:
        """Add the counts of another part of the list."""
        self.pixels += other.pixels
        self.valid += other.valid
        self.smallest = min(self.smallest, other.smallest)
        self.largest = max(self.largest, other.largest)
        self.total += other.total

    def facts(self) -> dict[str, Any]:
        """Valid share and range of the values; none where nothing is valid."""
        return {
            "valid_share": self.valid / self.pixels if self.pixels else None,
            "smallest": self.smallest if self.valid else None,
            "largest": self.largest if self.valid else None,
            "mean": self.total / self.valid if self.valid else None,
        }


def new_tally(task: str, num_classes: Mapping[str, int]) -> Tally:
    """An empty tally for a task.

    Args:
        task: one of ``fmtl_datasets.shared.conventions.TASKS``.
        num_classes: class counts of the data set.
    """
    if task in ("depth", "normals"):
        return ValueTally()
    count = class_count(task, num_classes)
    if task in ("instance", "keypoints"):
        return ObjectTally(_zeros(count), _zeros(count), _zeros(NUM_KEYPOINTS))
    return ClassTally(_zeros(count), _zeros(count))


def class_count(task: str, num_classes: Mapping[str, int]) -> int:
    """How many classes a task has: two for edge and saliency, one (a person) for keypoints, none for depth, normals."""
    fixed = {"edge": 2, "saliency": 2, "keypoints": 1, "depth": 0, "normals": 0}
    return fixed[task] if task in fixed else num_classes[task]


def _zeros(count: int) -> Counts:
    return np.zeros(count, dtype=np.int64)
