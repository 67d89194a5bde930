"""Decode once, shrink once, keep in memory.

Decoding JPEG and PNG costs more than a training step on a small encoder, so images that fit are kept decoded, at the
size the network sees, in the smallest type that holds them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.nn.functional import adaptive_max_pool2d
from torchvision import tv_tensors
from torchvision.transforms.v2 import InterpolationMode
from torchvision.transforms.v2 import functional as geometry

from datasets.conventions import IGNORE, Sample


class SampleDataset(Protocol):
    """What every data set offers: samples by position, the tasks it gives, class counts of its class-like tasks."""

    @property
    def name(self) -> str: ...

    @property
    def tasks(self) -> tuple[str, ...]: ...

    @property
    def num_classes(self) -> Mapping[str, int]: ...

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> Sample: ...


def resize_sample(sample: Sample, size: tuple[int, int]) -> Sample:
    """Change the size of an image and its labels; metric depth keeps its values.

    The image is resampled bilinearly with antialiasing, labels take the nearest pixel. Edges are max-pooled instead: a
    line one pixel wide would fall between the samples of a nearest-pixel reduction and break into dashes. Depth stays
    in metres because this is a change of resolution and not of the scene (unlike random scaling, which imitates a
    closer camera).

    Args:
        sample: tv_tensors before collation.
        size: height and width in pixels.

    Returns:
        A new sample.
    """
    height, width = sample["image"].shape[-2:]
    if (height, width) == tuple(size):
        return dict(sample)
    resized: Sample = {}
    for key, value in sample.items():
        if key == "image":
            resized[key] = geometry.resize(value, list(size), InterpolationMode.BILINEAR, antialias=True)
        elif key == "edge":
            resized[key] = tv_tensors.Mask(resize_edges(value, size))
        elif key == "keypoints":
            resized[key] = scale_keypoints(value, size[0] / height, size[1] / width)
        elif isinstance(value, tv_tensors.Mask):
            resized[key] = resize_labels(value, size)
        else:
            resized[key] = value
    return resized


def resize_labels(label: Tensor, size: tuple[int, int]) -> tv_tensors.Mask:
    """Nearest-pixel resizing, pixel centres aligned with those of the bilinearly resized image.

    Args:
        label: (H, W) or (C, H, W) of any dtype.
        size: height and width in pixels.

    Returns:
        Mask of the same dtype. Indexing is used rather than interpolation, so that identifiers stay exact.
    """
    height, width = label.shape[-2:]
    rows = ((torch.arange(size[0], dtype=torch.float64) + 0.5) * height / size[0]).long().clamp_(max=height - 1)
    columns = ((torch.arange(size[1], dtype=torch.float64) + 0.5) * width / size[1]).long().clamp_(max=width - 1)
    return tv_tensors.Mask(label.as_subclass(Tensor)[..., rows[:, None], columns])


def resize_edges(edge: Tensor, size: tuple[int, int]) -> Tensor:
    """Max-pool an edge map: a pixel is an edge if any pixel under it is, ignored if all under it are.

    Args:
        edge: (H, W) uint8 in {0, 1, 255}.
        size: height and width in pixels.

    Returns:
        (height, width) uint8 in {0, 1, 255}.
    """
    plain = edge.as_subclass(Tensor)
    flags = torch.stack([plain == 1, plain != IGNORE]).float()
    is_edge, is_known = adaptive_max_pool2d(flags, size).bool()
    return torch.where(is_edge, 1, torch.where(is_known, 0, IGNORE)).to(torch.uint8)


def scale_keypoints(keypoints: Tensor, vertical: float, horizontal: float) -> Tensor:
    """Scale keypoints with the image; pixel centres have whole coordinates.

    Args:
        keypoints: (P, 17, 3) x, y in pixels and visibility.
        vertical: new height / old height.
        horizontal: new width / old width.

    Returns:
        A new tensor; unlabelled keypoints (visibility 0) stay at the origin.
    """
    scaled = keypoints.clone()
    scaled[..., 0] = (keypoints[..., 0] + 0.5) * horizontal - 0.5
    scaled[..., 1] = (keypoints[..., 1] + 0.5) * vertical - 0.5
    scaled[..., :2] *= (keypoints[..., 2:] > 0).to(scaled.dtype)
    return scaled


class Resized:
    """A data set whose samples are brought to one size as they are read.

    Args:
        source: the data set to read from.
        size: height and width in pixels.

    Attributes:
        name, tasks, num_classes: those of the source.
    """

    def __init__(self, source: SampleDataset, size: tuple[int, int]) -> None:
        self.name = source.name
        self.tasks = source.tasks
        self.num_classes = source.num_classes
        self._source = source
        self._size = size

    def __len__(self) -> int:
        return len(self._source)

    def __getitem__(self, index: int) -> Sample:
        """The sample of the source, resized by :func:`resize_sample`."""
        return resize_sample(self._source[index], self._size)


class InMemory:
    """A data set whose samples are decoded at first use and kept.

    Images and classes stay uint8 and depth float32; normals are kept as float16 (an error below 0.03 degrees, an
    order less than their 8-bit files have) and made unit vectors again when they are read.

    Args:
        source: the data set to read from.

    Attributes:
        name, tasks, num_classes: those of the source.
    """

    def __init__(self, source: SampleDataset) -> None:
        self.name = source.name
        self.tasks = source.tasks
        self.num_classes = source.num_classes
        self._source = source
        self._kept: list[Sample | None] = [None] * len(source)

    def __len__(self) -> int:
        return len(self._kept)

    def __getitem__(self, index: int) -> Sample:
        """A sample of its own: changing it in place does not change what is kept."""
        kept = self._kept[index]
        if kept is None:
            kept = {key: _compact(key, value) for key, value in self._source[index].items()}
            self._kept[index] = kept
        return {key: _restore(key, value) for key, value in kept.items()}


def _compact(key: str, value: Any) -> Any:
    return value.as_subclass(Tensor).to(torch.float16) if key == "normals" else value


def _restore(key: str, value: Any) -> Any:
    if key != "normals":
        return value.clone() if isinstance(value, Tensor) else value
    normals = value.float()
    # torch's norm over a leading dimension is fifty times slower than this sum.
    length = normals.square().sum(0).sqrt_().clamp_(min=1e-6)
    return tv_tensors.Mask(normals / length)
