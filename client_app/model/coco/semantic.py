"""The head that gives every pixel a class: the semantic branch of Panoptic FPN (arXiv 1901.02446, section 3.1)."""

import math
from collections.abc import Mapping

import torch.nn.functional as F
from torch import Tensor, nn

from client_app.model.coco.pyramid import LEVEL_NAMES


class SemanticHead(nn.Module):
    """Every level through 3x3 convolutions with group norm up to the finest level's size, summed, 1x1 convolution.

    Level l has max(1, l) stages; a stage ends with bilinear upsampling to the size of the next finer level. Channels
    are half the width, in groups of four and at most 32 groups: 128 and 32 for the published width of 256.

    Args:
        width: channels of each level of the pyramid, at least 4.
        out_channels: classes.
    """

    def __init__(self, width: int, out_channels: int) -> None:
        super().__init__()
        inner = width // 2
        self.levels = nn.ModuleList(
            nn.ModuleList(_stage(width if number == 0 else inner, inner) for number in range(max(1, level)))
            for level in range(len(LEVEL_NAMES))
        )
        self.classes = nn.Conv2d(inner, out_channels, kernel_size=1)

    def forward(self, decoded: Mapping[str, Tensor], image_size: tuple[int, int]) -> Tensor:
        """Return (B, out_channels, *image_size) from the levels of the pyramid by name, (B, width, H_l, W_l)."""
        maps = [decoded[name] for name in LEVEL_NAMES]
        summed = self._to_finest(0, maps)
        for level in range(1, len(maps)):
            summed = summed + self._to_finest(level, maps)
        classes: Tensor = self.classes(summed)
        return F.interpolate(classes, size=image_size, mode="bilinear", align_corners=False)

    def _to_finest(self, level: int, maps: list[Tensor]) -> Tensor:
        stages = self.levels[level]
        assert isinstance(stages, nn.ModuleList)
        value = maps[level]
        for number, stage in enumerate(stages):
            value = stage(value)
            size = maps[max(0, level - 1 - number)].shape[-2:]
            if value.shape[-2:] != size:
                value = F.interpolate(value, size=size, mode="bilinear", align_corners=False)
        return value


def group_count(channels: int) -> int:
    """Return how many groups a group norm over so many channels has: at most 32, of at least four where it can be."""
    return math.gcd(32, channels, max(1, channels // 4))


def _stage(inputs: int, outputs: int) -> nn.Sequential:
    convolution = nn.Conv2d(inputs, outputs, kernel_size=3, padding=1, bias=False)
    nn.init.kaiming_normal_(convolution.weight, mode="fan_out", nonlinearity="relu")
    return nn.Sequential(convolution, nn.GroupNorm(group_count(outputs), outputs), nn.ReLU(inplace=True))
