"""One client's model: a shared encoder, and a decoder and a head per task.

The array names `encoder.*`, `decoders.<task>.*` and `heads.<task>.*` are the contract with the server: aggregation
addresses groups by these prefixes. Any decoder that reads the encoder's list of feature maps fits in.
"""

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from client_app.model.encoder import Encoder, build_encoder
from client_app.model.task_modules import TaskModules

ModuleT = TypeVar("ModuleT", bound=nn.Module)


@dataclass(frozen=True)
class ModelConfig:
    """What a client's model looks like.

    Args:
        encoder: a preset ("swin-t-fedhca2") or a timm network name.
        tasks: task names, each once.
        modules: how each task's decoder and head are built, by task name.
        image_size: (height, width) of the training images in pixels.
        decoder_width: channels inside and after each decoder, a multiple of 4; the paper uses 96.
        seed: seed of the run; together with a part's name it decides that part's initial parameters.

    Raises:
        ValueError: no task, a task twice, a task without modules, or a size that is not positive.
    """

    encoder: str
    tasks: tuple[str, ...]
    modules: Mapping[str, TaskModules]
    image_size: tuple[int, int]
    decoder_width: int = 96
    seed: int = 0

    def __post_init__(self) -> None:
        if not self.tasks:
            raise ValueError("tasks is empty: a client needs at least one task.")
        if len(set(self.tasks)) != len(self.tasks):
            raise ValueError(f"tasks = {list(self.tasks)}: every task may appear only once.")
        without = [task for task in self.tasks if task not in self.modules]
        if without:
            raise ValueError(f"modules has nothing for {', '.join(without)}: every task needs a decoder and a head.")
        if len(self.image_size) != 2 or min(self.image_size) < 1:
            raise ValueError(f"image_size = {self.image_size}: expected (height, width) in pixels, both positive.")
        if self.decoder_width < 4 or self.decoder_width % 4:
            raise ValueError(f"decoder_width = {self.decoder_width}: expected a positive multiple of 4.")


class MultiTaskModel(nn.Module):
    """Encoder, decoders and heads of one client.

    Args:
        encoder: image to feature maps.
        decoders: by task name, feature maps to one map.
        heads: by task name, that map and the image size to the raw prediction.

    Raises:
        ValueError: decoders and heads do not name the same tasks.
    """

    def __init__(self, encoder: Encoder, decoders: Mapping[str, nn.Module], heads: Mapping[str, nn.Module]) -> None:
        super().__init__()
        if list(decoders) != list(heads):
            raise ValueError(f"Decoders are for {list(decoders)}, heads for {list(heads)}: expected the same tasks.")
        self.encoder = encoder
        self.decoders = nn.ModuleDict(decoders)
        self.heads = nn.ModuleDict(heads)

    @property
    def tasks(self) -> tuple[str, ...]:
        """Task names in the order of the configuration."""
        return tuple(self.decoders)

    def forward(self, image: Tensor) -> dict[str, Any]:
        """Return each task's raw prediction for normalised images (B, 3, H, W).

        For a dense task it is a tensor (B, C_task, H, W), for an object task what its head gives.
        """
        features = self.encoder(image)
        size = (int(image.shape[-2]), int(image.shape[-1]))
        return {task: self.heads[task](decoder(features), size) for task, decoder in self.decoders.items()}


def build_model(config: ModelConfig) -> MultiTaskModel:
    """Build a model whose parts start equal on every client that has them.

    The encoder's parameters depend only on (seed, encoder name), a decoder's and a head's only on (seed, task) and
    their shapes. torch's global random state is left as it was.

    Raises:
        ValueError: the encoder is unknown or cannot take images of this size.
    """
    seed, width = config.seed, config.decoder_width
    encoder = _seeded(partial(build_encoder, config.encoder, config.image_size), seed, f"encoder/{config.encoder}")
    decoders: dict[str, nn.Module] = {}
    heads: dict[str, nn.Module] = {}
    for task in config.tasks:
        modules = config.modules[task]
        decoders[task] = _seeded(partial(modules.decoder, encoder.channels, width), seed, f"decoder/{task}")
        heads[task] = _seeded(partial(modules.head, width), seed, f"head/{task}")
    return MultiTaskModel(encoder, decoders, heads)


def set_encoder_batch_norm_eval(model: MultiTaskModel) -> None:
    """Keep the encoder's batch norms in evaluation mode from now on, also through `model.train()`."""
    model.encoder.freeze_batch_norm_statistics()


def _seeded(build: Callable[[], ModuleT], seed: int, part: str) -> ModuleT:
    """Build a module with torch's random state derived from (seed, part), then restore the state."""
    digest = hashlib.sha256(f"{seed}/{part}".encode()).digest()
    with torch.random.fork_rng(devices=[]):
        # The CPU generator only: a seed for all devices would outlive the fork on the others.
        torch.default_generator.manual_seed(int.from_bytes(digest[:7], "big"))
        return build()
