"""Decoder and head of the dense tasks, as in FedHCA2 (arXiv 2311.13250, section 4.1)."""

from collections.abc import Sequence
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from client_app.model.multi_task_model import TaskModules


class FCNDecoder(nn.Module):
    """Fully convolutional decoder of FedHCA2 (arXiv 2311.13250, section 4.1).

    One linear projection per level (applied to every pixel), bilinear resize to the shallowest level, concatenation,
    1x1 convolution, batch norm, LeakyReLU. The layer names `linears.0` ... `linears.3`, `linear_fuse.0`,
    `linear_fuse.1` are the six layers L1 to L6 that the aggregation weights one by one. Deviation: feature sizes are
    read from the input instead of being fixed at construction, so evaluation images may have another size.

    Args:
        channels: channels of each feature map, shallow to deep.
        width: channels of the output.
    """

    def __init__(self, channels: Sequence[int], width: int) -> None:
        super().__init__()
        self.linears = nn.ModuleList(nn.Linear(c, width) for c in channels)
        self.linear_fuse = nn.Sequential(
            nn.Conv2d(width * len(channels), width, kernel_size=1),
            nn.BatchNorm2d(width),
            nn.LeakyReLU(),
        )

    def forward(self, features: Sequence[Tensor]) -> Tensor:
        """Return (B, width, H_0, W_0) from maps (B, C_l, H_l, W_l), at the size of the first."""
        size = features[0].shape[-2:]
        projected = [self._project(level, feature) for level, feature in enumerate(features)]
        resized = [F.interpolate(p, size=size, mode="bilinear", align_corners=False) for p in projected]
        fused: Tensor = self.linear_fuse(torch.cat(resized, dim=1))
        return fused

    def _project(self, level: int, feature: Tensor) -> Tensor:
        """Apply a linear layer at every pixel; as a 1x1 convolution it keeps the memory format of the input."""
        linear = self.linears[level]
        assert isinstance(linear, nn.Linear)
        return F.conv2d(feature, linear.weight[:, :, None, None], linear.bias)


class UpsamplingHead(nn.Module):
    """Per-task output layers of FedHCA2; no normalisation and no activation inside.

    Args:
        width: channels of the decoder output; 4 must divide it.
        out_channels: channels the task predicts.

    Raises:
        ValueError: 4 does not divide the width, or no channel.
    """

    def __init__(self, width: int, out_channels: int) -> None:
        super().__init__()
        if width < 4 or width % 4:
            raise ValueError(f"decoder_width = {width}: expected a positive multiple of 4; the head halves it twice.")
        if out_channels < 1:
            raise ValueError(f"out_channels = {out_channels}: expected at least 1.")
        self.layers = nn.Sequential(
            nn.ConvTranspose2d(width, width // 2, kernel_size=2, stride=2),
            nn.ConvTranspose2d(width // 2, width // 4, kernel_size=2, stride=2),
            nn.Conv2d(width // 4, out_channels, kernel_size=1),
        )

    def forward(self, decoded: Tensor, image_size: tuple[int, int]) -> Tensor:
        """Return (B, out_channels, *image_size) from the decoder output (B, width, h, w)."""
        output: Tensor = self.layers(decoded)
        if output.shape[-2:] == image_size:
            return output
        return F.interpolate(output, size=image_size, mode="bilinear", align_corners=False)


def dense_modules(out_channels: int) -> TaskModules:
    """Return FedHCA2's decoder and head for a task that predicts `out_channels` values for every pixel."""
    return TaskModules(FCNDecoder, partial(UpsamplingHead, out_channels=out_channels))
