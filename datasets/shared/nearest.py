"""Nearest-pixel resizing of label maps."""

from __future__ import annotations

import torch
from torch import Tensor


def nearest_pixels(label: Tensor, size: tuple[int, int]) -> Tensor:
    """Resize a label map, pixel centres aligned with those of a bilinearly resized image.

    Args:
        label: (..., H, W) of any dtype.
        size: height and width in pixels.

    Returns:
        A plain tensor of the same dtype. Indexing is used rather than interpolation, so that identifiers stay exact.
    """
    height, width = label.shape[-2:]
    rows = ((torch.arange(size[0], dtype=torch.float64) + 0.5) * height / size[0]).long().clamp_(max=height - 1)
    columns = ((torch.arange(size[1], dtype=torch.float64) + 0.5) * width / size[1]).long().clamp_(max=width - 1)
    return label.as_subclass(Tensor)[..., rows[:, None], columns]
