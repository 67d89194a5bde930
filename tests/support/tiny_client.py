"""A client small enough to train in a fraction of a second, on made-up images."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from fmtl_datasets.scenarios.scenario import ClientEntry, Share
from torch import Tensor

from client_app.round.participant import Participant
from client_app.training.batches import LocalData
from fmtl_strategies.contract.messages import Instruction
from fmtl_strategies.contract.settings import LocalSettings

SIDE = 32
CLASSES = {"semseg": 3}


class Noise:
    """Random images with random labels for semseg and depth; all alike where `identical` says so."""

    num_classes = CLASSES

    def __init__(self, count: int, identical: bool = False) -> None:
        self._samples = [self._draw(0 if identical else index) for index in range(count)]

    @staticmethod
    def _draw(index: int) -> dict[str, Any]:
        generator = torch.Generator().manual_seed(index)
        return {
            "image": torch.randn((3, SIDE, SIDE), generator=generator),
            "semseg": torch.randint(3, (SIDE, SIDE), generator=generator),
            "depth": torch.rand((1, SIDE, SIDE), generator=generator) + 1.0,
        }

    def __len__(self) -> int:
        return len(self._samples)

    def __getitem__(self, index: int, /) -> dict[str, Any]:
        return dict(self._samples[index])


def shift(sample: dict[str, Any], generator: torch.Generator) -> dict[str, Any]:
    return {**sample, "image": sample["image"] + torch.rand((), generator=generator)}


def unchanged(sample: dict[str, Any], generator: torch.Generator) -> dict[str, Any]:
    return sample


def stack(samples: list[dict[str, Any]]) -> dict[str, Tensor]:
    return {key: torch.stack([sample[key] for sample in samples]) for key in samples[0]}


def entry(**changes: Any) -> ClientEntry:
    values: dict[str, Any] = {
        "name": "tiny",
        "dataset": "procedural",
        "domain": "indoor",
        "share": Share(part=0, of=2),
        "tasks": ("semseg", "depth"),
        "image_size": (SIDE, SIDE),
        "train_images": 6,
        "validation_images": 2,
        "encoder": "mobilenetv2_035",
        "decoder_width": 4,
        "batch_size": 3,
        "device": "cpu",
    }
    return ClientEntry(**{**values, **changes})


def noise_data(train: int = 6, identical: bool = False) -> LocalData:
    return LocalData(
        train=Noise(train, identical),
        validation=Noise(2),
        augment=unchanged if identical else shift,
        prepare=dict,
        collate=stack,
        num_classes=CLASSES,
    )


def participant(root: Path, data: LocalData | None = None, **changes: Any) -> Participant:
    return Participant(entry(**changes), noise_data() if data is None else data, root)


def settings(**changes: Any) -> LocalSettings:
    values: dict[str, Any] = {
        "total_rounds": 10,
        "schedule": "constant",
        "encoder_learning_rate": 1e-3,
        "decoder_learning_rate": 1e-3,
    }
    return LocalSettings(**{**values, **changes})


def instruction(round_number: int, upload: Sequence[str] = ("encoder",), **changes: Any) -> Instruction:
    values: dict[str, Any] = {"evaluate": False, "settings": settings()}
    return Instruction(experiment="test", round=round_number, upload_groups=tuple(upload), **{**values, **changes})
