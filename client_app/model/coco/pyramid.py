"""The decoder of every COCO task: a feature pyramid over the encoder's maps."""

import math
from collections import OrderedDict
from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.ops import FeaturePyramidNetwork

LEVELS = 4
"""Maps that regions and pixel classes are read from."""

LEVEL_NAMES: tuple[str, ...] = tuple(str(level) for level in range(LEVELS))
COARSEST = "pool"
"""One more map, for proposals of large boxes only."""


class FeaturePyramid(nn.Module):
    """Feature pyramid network (arXiv 1612.03144) with four levels and a fifth for proposals, without normalisation.

    The layers depend on the encoder and the width only, so the decoders of all COCO tasks have one layout. Levels that
    an encoder lacks are its last one with every second row and column left out, as the fifth level always is; so heads
    have the same layout for every encoder.

    Args:
        channels: channels of each feature map, shallow to deep, at most four.
        width: channels of each level.

    Raises:
        ValueError: no feature map, or more than four.
    """

    def __init__(self, channels: Sequence[int], width: int) -> None:
        super().__init__()
        if not 1 <= len(channels) <= LEVELS:
            raise ValueError(
                f"the encoder gives {len(channels)} feature maps; a feature pyramid needs 1 to {LEVELS}. Choose a timm "
                "network with `features_only` maps, such as resnet50."
            )
        self.pyramid = FeaturePyramidNetwork(list(channels), width)

    def forward(self, features: Sequence[Tensor]) -> dict[str, Tensor]:
        """Return maps (B, width, H_l, W_l) by level name, fine to coarse, from maps (B, C_l, H_l, W_l)."""
        named = OrderedDict((str(level), feature) for level, feature in enumerate(features))
        levels: dict[str, Tensor] = dict(self.pyramid(named))
        last = levels[str(len(features) - 1)]
        for name in (*LEVEL_NAMES[len(features) :], COARSEST):
            last = F.max_pool2d(last, kernel_size=1, stride=2)
            levels[name] = last
        return levels


def map_strides(levels: Sequence[Tensor], image_size: tuple[int, int]) -> list[float]:
    """Return how many image pixels lie between neighbouring cells of each map.

    Networks halve a side and round, so the ratio of the sizes alone would be off by up to a cell at the far edge: the
    nearest power of two is taken where it explains the map's size, and the ratio itself where none does (patches of 14
    pixels).

    Args:
        levels: maps (B, C, H_l, W_l).
        image_size: height and width in pixels.
    """
    return [_stride((int(level.shape[-2]), int(level.shape[-1])), image_size) for level in levels]


def _stride(size: tuple[int, int], image_size: tuple[int, int]) -> float:
    ratio = image_size[0] / size[0]
    power = 2.0 ** round(math.log2(ratio))
    explained = all(
        math.floor(whole / power) <= cells <= math.ceil(whole / power)
        for cells, whole in zip(size, image_size, strict=True)
    )
    return power if explained else ratio
