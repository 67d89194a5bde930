"""Bringing images and their labels to one size as they are read."""

from __future__ import annotations

from typing import Literal

import torch
from fmtl_datasets.shared.conventions import IGNORE, Sample
from fmtl_datasets.shared.edge_annotators import EDGE_ANNOTATORS, consensus, resize_codes
from fmtl_datasets.shared.nearest import nearest_pixels
from fmtl_datasets.shared.objects import ObjectLabel
from fmtl_datasets.shared.source import SampleDataset
from torch import Tensor
from torch.nn.functional import adaptive_max_pool2d
from torchvision import tv_tensors
from torchvision.transforms.v2 import InterpolationMode
from torchvision.transforms.v2 import functional as geometry


def resize_sample(sample: Sample, size: tuple[int, int]) -> Sample:
    """Change the size of an image and its labels; metric depth keeps its values.

    The image is resampled bilinearly with antialiasing, labels take the nearest pixel. Edges are max-pooled instead: a
    line one pixel wide would fall between the samples of a nearest-pixel reduction and break into dashes. Depth stays
    in metres because this is a change of resolution and not of the scene (unlike random scaling, which imitates a
    closer camera).

    Args:
        sample: tv_tensors and object labels before collation.
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
        elif key == EDGE_ANNOTATORS:
            resized[key] = tv_tensors.Mask(resize_codes(value, size))
        elif isinstance(value, ObjectLabel):
            resized[key] = value.resized(size)
        elif isinstance(value, tv_tensors.Mask):
            resized[key] = tv_tensors.Mask(nearest_pixels(value, size))
        else:
            resized[key] = value
    if EDGE_ANNOTATORS in resized:
        # What they agree on is found after resizing: drawings that lie a pixel apart then fall together.
        resized["edge"] = tv_tensors.Mask(consensus(resized[EDGE_ANNOTATORS]))
    return resized


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


def inscribed_size(image: tuple[int, int], size: tuple[int, int]) -> tuple[int, int]:
    """Return the largest height and width of an image's shape that fit into `size`, each at least one pixel."""
    factor = min(size[0] / image[0], size[1] / image[1])
    return (max(1, min(size[0], round(image[0] * factor))), max(1, min(size[1], round(image[1] * factor))))


class Resized:
    """A data set whose samples are brought to one size as they are read.

    Args:
        source: the data set to read from.
        size: height and width in pixels.
        fit: ``resize`` gives exactly that size; ``inside`` keeps the shape of the image and gives the largest size
            that fits into it.

    Attributes:
        name, tasks, num_classes: those of the source.
    """

    def __init__(
        self, source: SampleDataset, size: tuple[int, int], fit: Literal["resize", "inside"] = "resize"
    ) -> None:
        self.name = source.name
        self.tasks = source.tasks
        self.num_classes = source.num_classes
        self._source = source
        self._size = size
        self._fit = fit

    def __len__(self) -> int:
        return len(self._source)

    def __getitem__(self, index: int) -> Sample:
        """The sample of the source, resized by :func:`resize_sample`."""
        sample = self._source[index]
        height, width = sample["image"].shape[-2:]
        size = self._size if self._fit == "resize" else inscribed_size((int(height), int(width)), self._size)
        return resize_sample(sample, size)
