"""Decode once, shrink once, keep in memory.

Decoding JPEG and PNG costs more than a training step on a small encoder, so images that fit are kept decoded, at the
size the network sees, in the smallest type that holds them.
"""

from __future__ import annotations

from typing import Any

import torch
from fmtl_datasets.shared.conventions import LABEL_KINDS, Sample
from fmtl_datasets.shared.objects import ObjectLabel
from fmtl_datasets.shared.source import SampleDataset
from torch import Tensor
from torchvision import tv_tensors


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
    return value.as_subclass(Tensor).to(torch.float16) if LABEL_KINDS.get(key) == "vectors" else value


def _restore(key: str, value: Any) -> Any:
    if LABEL_KINDS.get(key) != "vectors":
        return value.clone() if isinstance(value, Tensor | ObjectLabel) else value
    normals = value.float()
    # torch's norm over a leading dimension is fifty times slower than this sum.
    length = normals.square().sum(0).sqrt_().clamp_(min=1e-6)
    return tv_tensors.Mask(normals / length)
