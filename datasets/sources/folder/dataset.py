"""Samples of a folder data set, decoded at their native size."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from fmtl_datasets.shared.conventions import Sample
from fmtl_datasets.shared.edge_annotators import EDGE_ANNOTATORS, consensus
from fmtl_datasets.shared.source import DataFileError
from fmtl_datasets.sources.folder.labels import AnnotatorBits, LabelDecoder
from fmtl_datasets.sources.folder.pixels import read_image, turned
from torchvision import tv_tensors

logger = logging.getLogger(__name__)

Size = tuple[int, int]


class Labels(Protocol):
    """The labels of one task for the images of one list."""

    @property
    def shared_files(self) -> tuple[Path, ...]:
        """Files that hold labels of many images."""
        ...

    def files(self, image_id: str) -> tuple[Path, ...]:
        """Files that the label of an image needs, whether they are there or not."""
        ...

    def trainable(self, image_id: str) -> bool:
        """Whether the label of an image has anything to train on."""
        ...

    def read(self, image_id: str, size: Size) -> Sample:
        """What a sample holds for this task.

        Args:
            image_id: the image.
            size: its height and width.

        Raises:
            DataFileError: unreadable, of another size, or with values that mean nothing.
        """
        ...


@dataclass(frozen=True)
class Maps:
    """Labels with a value for every pixel, one file for each image.

    Attributes:
        task: which one.
        decode: reads a file.
        found: the files there are, by image id.
        missing: where the file of an image should lie that has none; formatted with ``id``.
    """

    task: str
    decode: LabelDecoder
    found: Mapping[str, Path]
    missing: str

    @property
    def shared_files(self) -> tuple[Path, ...]:
        """None: every image has a file of its own."""
        return ()

    def of_list(self, name: str) -> Maps:
        """The same for every list."""
        return self

    def trainable(self, image_id: str) -> bool:
        """Always, as far as is known without reading the label."""
        return True

    def files(self, image_id: str) -> tuple[Path, ...]:
        """The label file of an image."""
        return (self.found.get(image_id) or Path(self.missing.replace("{id}", image_id)),)

    def read(self, image_id: str, size: Size) -> Sample:
        """Decode the label; several annotators become one label for training and all of them for scoring."""
        path = self.found[image_id]
        values = self.decode(path)
        require_size(path, values.shape[-2:], size)
        if isinstance(self.decode, AnnotatorBits):
            codes = _mask(values)
            return {self.task: tv_tensors.Mask(consensus(codes)), EDGE_ANNOTATORS: codes}
        return {self.task: _mask(values)}


def require_size(path: Path, label: Sequence[int], image: Size) -> None:
    """Refuse a label whose size is not that of its image.

    Raises:
        DataFileError: sizes differ.
    """
    if tuple(label) == image:
        return
    hint = "Save it at the size of its image."
    if tuple(label) == image[::-1]:
        hint = "It lies on its side: turn the stored pixels of image or label (EXIF notes are not followed)."
    raise DataFileError(
        f"{path}: the label has {label[0]} rows and {label[1]} columns, its image {image[0]} and {image[1]}. {hint}"
    )


def _mask(values: Any) -> tv_tensors.Mask:
    return tv_tensors.Mask(torch.from_numpy(np.ascontiguousarray(values)))


class FolderImages:
    """Images and labels of some ids.

    Args:
        name: name of the data set.
        images: files by image id, in the order of the samples.
        labels: labels by task.
        num_classes: class counts (``fmtl_datasets.shared.conventions``).
        white: value of a 16-bit image that becomes 255.

    Attributes:
        name, num_classes: as given.
        tasks: those of ``labels``.
        ids: of ``images``.
    """

    def __init__(
        self,
        name: str,
        images: Mapping[str, Path],
        labels: Mapping[str, Labels],
        num_classes: Mapping[str, int],
        white: int,
    ) -> None:
        self.name = name
        self.tasks = tuple(labels)
        self.num_classes = num_classes
        self.ids = tuple(images)
        self._images = images
        self._labels = labels
        self._white = white
        self._orientation_told = False

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, index: int) -> Sample:
        """Decode one image and its labels.

        Returns:
            ``image`` uint8 (3, H, W) and the tasks' labels; where several people drew edges, ``edge-annotators``, too.

        Raises:
            DataFileError: a damaged file, one of another size, or values that mean nothing.
        """
        image_id = self.ids[index]
        path = self._images[image_id]
        image = read_image(path, self._white)
        self._tell_orientation(path)
        sample: Sample = {"image": tv_tensors.Image(torch.from_numpy(image.transpose(2, 0, 1).copy()))}
        for labels in self._labels.values():
            sample.update(labels.read(image_id, image.shape[:2]))
        return sample

    def _tell_orientation(self, path: Path) -> None:
        """Say once that a turned image is used as it is stored."""
        if not self._orientation_told and turned(path):
            self._orientation_told = True
            logger.warning(
                "%s has an EXIF note that asks viewers to turn it. It is used as stored, like its labels; look at the "
                "sheet of `fmtl data check` to see that they fit.",
                path,
            )
