"""What every data set on disk offers, whatever its files look like."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt
from fmtl_datasets.shared.conventions import Sample

Indices = npt.NDArray[np.int64]


class SampleDataset(Protocol):
    """Samples by position, the tasks they are labelled for, and class counts of those tasks that have classes."""

    @property
    def name(self) -> str: ...

    @property
    def tasks(self) -> tuple[str, ...]: ...

    @property
    def num_classes(self) -> Mapping[str, int]: ...

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> Sample: ...


class DataLayoutError(FileNotFoundError):
    """A folder that does not hold the data set completely; the message names the first missing path and what to do."""


class DataFileError(ValueError):
    """A file of a data set is damaged or holds what it should not; the message names it."""


@dataclass(frozen=True)
class SourceSettings:
    """How a data set on disk is read.

    Attributes:
        root: the data set's folder.
        cache: folder for labels that are derived from the data set's files, None to derive them at every access.
            Nothing is ever written into the data set itself.
        parts_flags: pascal_context only. ``own``: whether an image shows people is looked up for that image.
            ``reference``: it is looked up by position in the client's part, as the published code does (methods 3.5).
        stuff_labels: coco only. ``panoptic``: 53 stuff classes and one for all things, from the panoptic annotation;
            ``stuff``: 91 stuff classes and one for all else, from the stuff annotation.
    """

    root: Path
    cache: Path | None = None
    parts_flags: Literal["own", "reference"] = "own"
    stuff_labels: Literal["panoptic", "stuff"] = "panoptic"


@dataclass(frozen=True)
class SourceFile:
    """One file that a sample is read from.

    Attributes:
        image_id: the sample.
        kind: ``image`` or a task.
        path: the file.
    """

    image_id: str
    kind: str
    path: Path


class Source(Protocol):
    """A data set on disk: which image lists and tasks it has, and samples of them."""

    @property
    def summary(self) -> str:
        """What was found, for a log line: ``NYUD-v2, variant atrc``."""
        ...

    @property
    def tasks(self) -> tuple[str, ...]:
        """Tasks it can give, in the order of ``fmtl_datasets.shared.conventions.TASKS``."""
        ...

    @property
    def lists(self) -> tuple[str, ...]:
        """Names of its image lists: the one for training first, the one for validation second, then others."""
        ...

    @property
    def num_classes(self) -> Mapping[str, int]:
        """Class counts (``fmtl_datasets.shared.conventions`` says for which tasks)."""
        ...

    @property
    def class_names(self) -> Mapping[str, tuple[str, ...]]:
        """Names of the classes of those tasks whose names are known."""
        ...

    def ids(self, image_list: str) -> tuple[str, ...]:
        """Identifiers of the images of a list, in its order.

        Raises:
            DataLayoutError: no such list.
        """
        ...

    def usable(self, image_list: str, indices: Indices, tasks: Sequence[str]) -> Indices:
        """Those of some images of a list that have anything to train for these tasks, in the same order.

        A client with one sparse task does not train on images without it: a parts client on images without people, a
        keypoint client on images without an annotated person. For other tasks this is everything.
        """
        ...

    def files(self, image_list: str, tasks: Sequence[str]) -> Iterator[SourceFile]:
        """Every file that the samples of a list need for these tasks, whether it is there or not."""
        ...

    def open(self, tasks: Sequence[str], image_list: str, indices: Indices | None = None) -> SampleDataset:
        """Samples of a list.

        Args:
            tasks: labels to read.
            image_list: one of ``lists``.
            indices: positions in the list to use, in this order; all where left out.

        Raises:
            DataLayoutError: a file is missing.
            ValueError: a task that this data set does not give.
        """
        ...


@runtime_checkable
class LeavesOut(Protocol):
    """A source that knows of annotated objects which its labels do not have."""

    def left_out(self, image_list: str, task: str) -> Mapping[str, int]:
        """How many objects of an image are left out, by image, for those images where any is."""
        ...
