"""How a task's decoder and head are built: what a task tells the model about itself."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

from torch import nn

from client_app.model.decoder import FCNDecoder
from client_app.model.head import UpsamplingHead


@dataclass(frozen=True)
class TaskModules:
    """Builders of a task's own parts; both draw their initial parameters from torch's current random state.

    A decoder maps the encoder's feature maps to what its head reads. A head is called with that and the image size
    (height, width) and returns the raw prediction: a tensor (B, C, H, W) for a dense task, or for an object task
    an output that computes losses or detections when it is asked to.

    Attributes:
        decoder: from the channels of the feature maps, shallow to deep, and the decoder width.
        head: from the decoder width.
    """

    decoder: Callable[[Sequence[int], int], nn.Module]
    head: Callable[[int], nn.Module]


def dense_modules(out_channels: int) -> TaskModules:
    """Return FedHCA2's decoder and head for a task that predicts `out_channels` values for every pixel.

    Raises:
        ValueError: fewer than one channel.
    """
    if out_channels < 1:
        raise ValueError(f"out_channels = {out_channels}: expected at least 1.")
    return TaskModules(FCNDecoder, partial(UpsamplingHead, out_channels=out_channels))
