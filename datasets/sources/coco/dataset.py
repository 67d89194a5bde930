"""Images of MS COCO 2017 with the labels of four tasks, at their native size."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from fmtl_datasets.shared.conventions import Sample
from fmtl_datasets.shared.objects import PanopticSegments
from fmtl_datasets.shared.source import DataFileError, DataLayoutError, Indices
from fmtl_datasets.sources.coco.annotation_files import (
    SITE,
    FileKind,
    Layout,
    StuffLabels,
    class_counts,
    file_of_task,
)
from fmtl_datasets.sources.coco.format import BoxedAnnotation, PanopticAnnotation, PersonAnnotation
from fmtl_datasets.sources.coco.index import AnnotationIndex
from fmtl_datasets.sources.coco.labels import (
    instances,
    panoptic,
    people,
    read_pixels,
    stuff_from_masks,
    stuff_from_segments,
)
from torchvision import tv_tensors


@dataclass(frozen=True, eq=False)
class OpenFile:
    """An annotation file and where the images of a data set stand in its index.

    Attributes:
        path: the file.
        index: its index.
        positions: (n,) int64, one for each image of the data set.
    """

    path: Path
    index: AnnotationIndex
    positions: Indices


class CocoImages:
    """Images of one split.

    Args:
        layout: the folder.
        split: ``train2017`` or ``val2017``.
        tasks: labels to give.
        stuff_labels: see ``fmtl_datasets.shared.source.SourceSettings``.
        files: annotation files of the tasks, and at least one.

    Attributes:
        name: name of the data set.
        tasks: the tasks it gives.
        num_classes: class counts of those tasks.

    Raises:
        DataLayoutError: an image or panoptic map is missing.
        DataFileError: the annotation files do not fit together.
    """

    name = "coco"

    def __init__(
        self,
        layout: Layout,
        split: str,
        tasks: Sequence[str],
        stuff_labels: StuffLabels,
        files: Mapping[FileKind, OpenFile],
    ) -> None:
        self.tasks = tuple(tasks)
        self.num_classes = class_counts(tasks, stuff_labels)
        self._images = layout.images(split)
        self._maps = layout.panoptic_maps(split)
        self._stuff_labels = stuff_labels
        self._files = files
        self._first = next(iter(files.values()))
        self._check_sizes()
        self._check_images(split)
        if "panoptic" in files:
            self._check_maps(files["panoptic"])

    def __len__(self) -> int:
        return len(self._first.positions)

    def __getitem__(self, index: int) -> Sample:
        """Decode one image and its labels.

        Raises:
            DataFileError: a damaged file, or one that does not fit to the others.
        """
        path = self._images / str(self._first.index.file_names[self._first.positions[index]])
        pixels = read_pixels(path, "RGB")
        size = (int(pixels.shape[0]), int(pixels.shape[1]))
        height, width = self._first.index.sizes[self._first.positions[index]]
        if size != (height, width):
            raise DataFileError(
                f"{path}: the image has {size[0]} x {size[1]} pixels, its annotation in {self._first.path} is for "
                f"{height} x {width} (height x width). Use the images of COCO at their original size."
            )
        sample: Sample = {"image": tv_tensors.Image(torch.from_numpy(pixels.transpose(2, 0, 1).copy()))}
        segments = self._segments(index, size) if "panoptic" in self._files else None
        for task in self.tasks:
            sample[task] = self._label(task, index, size, segments)
        return sample

    def _segments(self, index: int, size: tuple[int, int]) -> PanopticSegments:
        file = self._files["panoptic"]
        position = int(file.positions[index])
        annotation = file.index.read(position, file.path, PanopticAnnotation)[0]
        return panoptic(annotation, self._maps / annotation.file_name, size, file.path)

    def _label(self, task: str, index: int, size: tuple[int, int], segments: PanopticSegments | None) -> object:
        kind = file_of_task(task, self._stuff_labels)
        if kind == "panoptic":
            assert segments is not None
            return segments if task == "panoptic" else stuff_from_segments(segments)
        file = self._files[kind]
        position = int(file.positions[index])
        if kind == "person_keypoints":
            return people(file.index.read(position, file.path, PersonAnnotation), size)
        annotations = file.index.read(position, file.path, BoxedAnnotation)
        return (instances if kind == "instances" else stuff_from_masks)(annotations, size, file.path)

    def _check_sizes(self) -> None:
        sizes = self._first.index.sizes[self._first.positions]
        for file in self._files.values():
            other = np.flatnonzero((file.index.sizes[file.positions] != sizes).any(axis=1))
            if len(other):
                image_id = self._first.index.image_ids[self._first.positions[other[0]]]
                raise DataFileError(f"{file.path} and {self._first.path} give image {image_id} different sizes.")

    def _check_images(self, split: str) -> None:
        wanted = self._first.index.file_names[self._first.positions].tolist()
        there = {path.name for path in self._images.iterdir()}
        missing = [name for name in wanted if name not in there]
        if missing:
            raise DataLayoutError(
                f"{self._images / missing[0]} is missing, and with it {len(missing)} of {len(wanted)} images. "
                f"Unpack {split}.zip from {SITE} again."
            )

    def _check_maps(self, file: OpenFile) -> None:
        bounds = np.stack([file.index.first[file.positions], file.index.first[file.positions + 1]])
        without = np.flatnonzero(bounds[0] == bounds[1])
        if len(without):
            image_id = file.index.image_ids[file.positions[without[0]]]
            raise DataFileError(
                f"{file.path} has no annotation for image {image_id} ({len(without)} of {len(file.positions)} images "
                f"have none); unpack it from its archive again."
            )
        there = {path.name for path in self._maps.iterdir()}
        names = file.index.map_names[file.index.first[file.positions]].tolist()
        missing = [name for name in names if name not in there]
        if missing:
            raise DataLayoutError(
                f"{self._maps / missing[0]} is missing, and with it {len(missing)} of {len(names)} panoptic maps. "
                f"Unpack {self._maps.name}.zip, which lies inside the archive of the panoptic annotations, again."
            )
