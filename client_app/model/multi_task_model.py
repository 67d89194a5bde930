"""One client's model: a shared encoder, and a decoder and a head per task.

The array names `encoder.*`, `decoders.<task>.*` and `heads.<task>.*` are the contract with the server: aggregation
addresses groups by these prefixes. Any decoder that reads the encoder's list of feature maps fits in.
"""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from client_app.model.encoder import Encoder, build_encoder

ModuleT = TypeVar("ModuleT", bound=nn.Module)


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


class MultiTaskModel(nn.Module):
    """Encoder, decoders and heads of one client.

    Args:
        encoder: image to feature maps.
        decoders: by task name, feature maps to one map.
        heads: by task name, that map and the image size to the raw prediction.
    """

    def __init__(self, encoder: Encoder, decoders: Mapping[str, nn.Module], heads: Mapping[str, nn.Module]) -> None:
        super().__init__()
        self.encoder = encoder
        self.decoders = nn.ModuleDict(decoders)
        self.heads = nn.ModuleDict(heads)

    def forward(self, image: Tensor) -> dict[str, Any]:
        """Return each task's raw prediction for normalised images (B, 3, H, W).

        For a dense task it is a tensor (B, C_task, H, W), for an object task what its head gives.
        """
        features = self.encoder(image)
        size = (int(image.shape[-2]), int(image.shape[-1]))
        return {task: self.heads[task](decoder(features), size) for task, decoder in self.decoders.items()}


def build_model(
    encoder: str,
    modules: Mapping[str, TaskModules],
    image_size: tuple[int, int],
    *,
    decoder_width: int = 96,
    seed: int = 0,
) -> MultiTaskModel:
    """Build a model whose parts start equal on every client that has them.

    The encoder's parameters depend only on (seed, encoder name), a decoder's and a head's only on (seed, task) and
    their shapes. torch's global random state is left as it was.

    Args:
        encoder: a preset ("swin-t-fedhca2") or a timm network name.
        modules: how each task's decoder and head are built, by task name, at least one.
        image_size: (height, width) of the training images in pixels.
        decoder_width: channels inside and after each decoder, a multiple of 4; the paper uses 96.
        seed: seed of the run; together with a part's name it decides that part's initial parameters.

    Raises:
        ValueError: no task, or the encoder is unknown or cannot take images of this size.
    """
    if not modules:
        raise ValueError("tasks is empty: a client needs at least one task.")
    built = _seeded(partial(build_encoder, encoder, image_size), seed, f"encoder/{encoder}")
    decoders: dict[str, nn.Module] = {}
    heads: dict[str, nn.Module] = {}
    for task, parts in modules.items():
        decoders[task] = _seeded(partial(parts.decoder, built.channels, decoder_width), seed, f"decoder/{task}")
        heads[task] = _seeded(partial(parts.head, decoder_width), seed, f"head/{task}")
    return MultiTaskModel(built, decoders, heads)


def _seeded(build: Callable[[], ModuleT], seed: int, part: str) -> ModuleT:
    """Build a module with torch's random state derived from (seed, part), then restore the state."""
    digest = hashlib.sha256(f"{seed}/{part}".encode()).digest()
    with torch.random.fork_rng(devices=[]):
        # The CPU generator only: a seed for all devices would outlive the fork on the others.
        torch.default_generator.manual_seed(int.from_bytes(digest[:7], "big"))
        return build()
