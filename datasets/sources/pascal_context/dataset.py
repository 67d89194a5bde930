"""Samples of PASCAL-Context, decoded at their native size."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from fmtl_datasets.shared.conventions import IGNORE, Sample
from fmtl_datasets.shared.label_cache import Derivation, LabelCache
from fmtl_datasets.shared.source import DataFileError
from fmtl_datasets.sources.pascal_context.classes import CONTEXT_CLASSES, PARTS_CLASSES, SEMSEG_CLASSES
from fmtl_datasets.sources.pascal_context.edges import boundaries
from fmtl_datasets.sources.pascal_context.files import (
    damaged,
    read_colours,
    read_label_map,
    read_normals,
    read_saliency,
    read_semseg,
)
from fmtl_datasets.sources.pascal_context.layout import Layout, normals_numbers
from fmtl_datasets.sources.pascal_context.people import object_classes, parts_label
from torchvision import tv_tensors

Array = npt.NDArray[Any]

EDGE = Derivation("edge", 1)
PARTS = Derivation("parts", 1)
CLASSES = Derivation("object-classes", 1)


class Labels:
    """The labels of the images of one package.

    Args:
        layout: the package.
        cache: keeps those that are derived from MATLAB files.
    """

    def __init__(self, layout: Layout, cache: LabelCache) -> None:
        self._layout = layout
        self._cache = cache
        numbers = sorted(normals_numbers(layout))
        self._has_normals = np.isin(np.arange(CONTEXT_CLASSES + 1), numbers)
        self._valid_normals = Derivation("normals-valid", 1, ",".join(map(str, numbers)))

    def image(self, image_id: str) -> Array:
        """The picture, (H, W, 3) uint8."""
        return read_colours(self._layout.image(image_id))

    def label(self, task: str, image_id: str) -> Array:
        """A task's label: (H, W) uint8, normals (3, H, W) float32.

        Raises:
            DataFileError: a damaged file.
        """
        if task == "semseg":
            return read_semseg(self._layout.semseg(image_id))
        if task == "saliency":
            return read_saliency(self._layout.saliency(image_id))
        if task == "parts":
            return self._cache.get(PARTS, image_id, self._layout.objects(image_id), parts_label)
        if task == "edge":
            return self._cache.get(EDGE, image_id, self._layout.label_map(image_id), _edge_label)
        return self._normals(image_id)

    def object_classes(self, image_id: str) -> Array:
        """VOC class of every object of an image, (objects,) int64."""
        return self._cache.get(CLASSES, image_id, self._layout.objects(image_id), object_classes)

    def _normals(self, image_id: str) -> Array:
        normals = read_normals(self._layout.normals(image_id))
        annotation = self._layout.label_map(image_id)
        valid = self._cache.get(self._valid_normals, image_id, annotation, self._valid)
        if valid.shape != normals.shape[1:]:
            raise damaged(annotation, f"its LabelMap is {valid.shape} pixels, the normals {normals.shape[1:]}")
        normals *= valid
        return normals

    def _valid(self, annotation: Path) -> Array:
        valid: Array = self._has_normals[read_label_map(annotation)]
        return valid


def _edge_label(annotation: Path) -> Array:
    return boundaries(read_label_map(annotation)).astype(np.uint8)


class PascalContext:
    """PASCAL-Context with the tasks semseg, parts, saliency, normals and edge.

    Saliency and normals are predictions of networks that others distilled into files, not human annotation.

    Args:
        layout: the package.
        labels: its labels.
        tasks: labels to give.
        ids: images, in this order.
        has_parts: for each image whether its parts label is read (elsewhere it is 255 throughout); all where left out.

    Attributes:
        name: name of the data set.
        tasks: the tasks it gives.
        num_classes: number of classes of semseg and parts, where asked for.
        ids: ids of its images.

    Raises:
        DataLayoutError: a file is missing; every file that the images and tasks need is looked for.
    """

    name = "pascal_context"

    def __init__(
        self,
        layout: Layout,
        labels: Labels,
        tasks: Sequence[str],
        ids: Sequence[str],
        has_parts: Sequence[bool] | None = None,
    ) -> None:
        self.tasks = tuple(tasks)
        self.ids = tuple(ids)
        counts = {"semseg": len(SEMSEG_CLASSES), "parts": len(PARTS_CLASSES)}
        self.num_classes = {task: count for task, count in counts.items() if task in self.tasks}
        self._layout = layout
        self._labels = labels
        self._has_parts = None if has_parts is None else tuple(has_parts)
        self._check_files()

    def _check_files(self) -> None:
        for image_id in self.ids:
            for kind in ("image", *self.tasks):
                for path in self._layout.files(kind, image_id):
                    if not path.is_file():
                        raise self._layout.missing(path)

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, index: int) -> Sample:
        """Decode one image and its labels.

        Args:
            index: position in ``ids``.

        Returns:
            ``image`` uint8 (3, H, W); semseg, parts, saliency and edge uint8 (H, W); normals float32 (3, H, W).

        Raises:
            DataFileError: a damaged file, or a label whose size differs from the image's.
        """
        image = self._labels.image(self.ids[index])
        sample: Sample = {"image": tv_tensors.Image(torch.from_numpy(np.ascontiguousarray(image.transpose(2, 0, 1))))}
        for task in self.tasks:
            sample[task] = tv_tensors.Mask(torch.from_numpy(self._label(task, index, image.shape[:2])))
        return sample

    def _label(self, task: str, index: int, size: tuple[int, ...]) -> Array:
        if task == "parts" and self._has_parts is not None and not self._has_parts[index]:
            return np.full(size, IGNORE, dtype=np.uint8)
        label = self._labels.label(task, self.ids[index])
        if label.shape[-2:] != size:
            path = self._layout.files(task, self.ids[index])[0]
            raise DataFileError(
                f"{path}: the label is {label.shape[-2]} x {label.shape[-1]} pixels, its image {size[0]} x {size[1]}. "
                f"Restore both files from the same package."
            )
        return label
