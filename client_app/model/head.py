"""The FedHCA2 head: two learned up-samplings and a 1x1 convolution to the task's channels."""

import torch.nn.functional as F
from torch import Tensor, nn


class UpsamplingHead(nn.Module):
    """Per-task output layers of FedHCA2; no normalisation and no activation inside.

    Args:
        width: channels of the decoder output; 4 must divide it.
        out_channels: channels the task predicts.

    Raises:
        ValueError: 4 does not divide the width.
    """

    def __init__(self, width: int, out_channels: int) -> None:
        super().__init__()
        if width % 4:
            raise ValueError(f"decoder_width = {width}: expected a multiple of 4, because the head halves it twice.")
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
