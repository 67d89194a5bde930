"""Edge labels of several annotators: one integer per pixel, whose bit k says that annotator k drew a boundary there.

A sample of such a data set has, beside ``edge`` (one label that training uses), ``edge-annotators``, which scoring
uses: the boundary benchmark of BSDS compares a prediction with every annotator's drawing, not with their mean.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
from fmtl_datasets.shared.conventions import IGNORE
from torch import Tensor
from torch.nn.functional import adaptive_max_pool2d

EDGE_ANNOTATORS = "edge-annotators"
"""Key of a sample: int32 (H, W), bit k set where annotator k drew a boundary, ``UNKNOWN`` beyond the image."""

UNKNOWN = -1
MAX_ANNOTATORS = 16

CONSENSUS = 0.5
"""A pixel is a boundary for training if at least this fraction of the annotators drew it.

Those that somebody drew, but fewer, are ignored; the rest is no boundary. These three kinds of pixels are the
annotator-robust rule of Liu et al., Richer Convolutional Features for Edge Detection (CVPR 2017). Half of the
annotators, rather than a smaller share, is this project's choice."""

Codes = npt.NDArray[np.int32]


def annotator_count(codes: Codes | Tensor) -> int:
    """Number of annotators of an image: the highest bit that is set, as ``fmtl score edge`` counts; at least 1."""
    return max(1, int(codes.max()).bit_length())


def consensus(codes: Tensor) -> Tensor:
    """The label that training uses.

    Args:
        codes: (H, W) int32, see ``EDGE_ANNOTATORS``.

    Returns:
        (H, W) uint8 in {0, 1, 255}.
    """
    plain = codes.as_subclass(Tensor)
    known = torch.where(plain >= 0, plain, 0)
    count = annotator_count(known)
    votes = ((known >> _bits(count)) & 1).sum(dim=0)
    label = torch.where(votes >= CONSENSUS * count, 1, torch.where(votes == 0, 0, IGNORE))
    return torch.where(plain >= 0, label, IGNORE).to(torch.uint8)


def drawings(codes: Codes) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.bool_]]:
    """Every annotator's boundary map.

    Args:
        codes: (H, W), see ``EDGE_ANNOTATORS``.

    Returns:
        (A, H, W) bool, and (H, W) bool that is False where nothing is known.
    """
    known = codes >= 0
    plain = np.where(known, codes, 0)
    maps = np.stack([(plain >> bit) & 1 for bit in range(annotator_count(plain))])
    return maps.astype(np.bool_), known


def resize_codes(codes: Tensor, size: tuple[int, int]) -> Tensor:
    """Max-pool every annotator's drawing, as single edge labels are: nearest-pixel reduction would break thin lines.

    Args:
        codes: (H, W) int32.
        size: height and width in pixels.

    Returns:
        (height, width) int32; unknown where everything under a pixel is.
    """
    plain = codes.as_subclass(Tensor)
    known = torch.where(plain >= 0, plain, 0)
    bits = _bits(annotator_count(known))
    flags = torch.cat([(known >> bits) & 1, (plain >= 0).to(torch.int32)[None]]).float()
    pooled = adaptive_max_pool2d(flags, size).to(torch.int32)
    return torch.where(pooled[-1] > 0, (pooled[:-1] << bits).sum(dim=0, dtype=torch.int32), UNKNOWN)


def _bits(count: int) -> Tensor:
    return torch.arange(count, dtype=torch.int32)[:, None, None]
