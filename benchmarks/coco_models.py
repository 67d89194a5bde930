"""Sizes of the COCO tasks' models and how long they train: ``python benchmarks/coco_models.py`` prints two tables.

Parameters are those of ResNet-50 at width 256 with COCO's class counts. Steps are forward pass, losses and backward
pass on procedural scenes, without the optimiser's step. Under other load, processor seconds say more than those on
the clock.
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
from typing import NamedTuple

import torch
from fmtl_datasets.catalogue import DATA_SETS
from fmtl_datasets.shared.conventions import PANOPTIC_THINGS
from fmtl_datasets.sources.procedural import ProceduralScenes
from fmtl_datasets.transforms.transforms import evaluation_transform, to_batch

from client_app.model.multi_task_model import MultiTaskModel, build_model
from client_app.tasks.registry import get_task

COCO_TASKS = DATA_SETS["coco"].tasks

COCO_CLASSES = {"instance": 80, "stuff": 54, "panoptic": 133, PANOPTIC_THINGS: 80}


class StepTime(NamedTuple):
    """Median seconds of a training step on the clock, and of the processor."""

    clock: float
    processor: float


def build(task: str, encoder: str, width: int, size: tuple[int, int], classes: dict[str, int]) -> MultiTaskModel:
    """Return a model with one task."""
    modules = {task: get_task(task).modules(classes)}
    return build_model(encoder, modules, size, decoder_width=width)


def parameters(task: str, encoder: str, width: int) -> tuple[int, int, int]:
    """Return how many parameters encoder, decoder and head have."""
    model = build(task, encoder, width, (256, 256), COCO_CLASSES)
    parts = (model.encoder, model.decoders, model.heads)
    encoder_size, decoder_size, head_size = (sum(p.numel() for p in part.parameters()) for part in parts)
    return encoder_size, decoder_size, head_size


def step_time(task: str, arguments: argparse.Namespace) -> StepTime:
    """Return how long a training step takes: forward, losses, backward."""
    size = tuple(arguments.size)
    scenes = ProceduralScenes((task,), domain="indoor", indices=range(arguments.batch), size=size)
    prepare = evaluation_transform(size, "imagenet")
    batch = to_batch([prepare(scenes[index]) for index in range(arguments.batch)])
    model = build(task, arguments.step_encoder, arguments.step_width, size, dict(scenes.num_classes)).train()
    clock, processor = [], []
    torch.manual_seed(0)
    for _ in range(arguments.steps + 1):
        started = time.perf_counter(), time.process_time()
        torch.autograd.backward(get_task(task).loss(model(batch["image"])[task], batch[task]))
        clock.append(time.perf_counter() - started[0])
        processor.append(time.process_time() - started[1])
    # The first step also sets up what later ones reuse.
    return StepTime(statistics.median(clock[1:]), statistics.median(processor[1:]))


def main() -> None:
    """Print both tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--encoder", default="resnet50", help="encoder whose parameters are counted")
    parser.add_argument("--width", type=int, default=256, help="decoder width for the parameters")
    parser.add_argument("--step-encoder", default="mobilenetv2_100", help="encoder of the steps")
    parser.add_argument("--step-width", type=int, default=64, help="decoder width of the steps")
    parser.add_argument("--size", type=int, nargs=2, default=(256, 320), help="image height and width of the steps")
    parser.add_argument("--batch", type=int, default=2, help="images in a step")
    parser.add_argument("--steps", type=int, default=5, help="steps measured; 0 for parameters only")
    parser.add_argument("--threads", type=int, default=2, help="threads of torch")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    print(f"{arguments.encoder}, decoder width {arguments.width}: parameters\n")
    print("| task | encoder | decoder | head |\n|---|---|---|---|")
    for task in COCO_TASKS:
        encoder, decoder, head = parameters(task, arguments.encoder, arguments.width)
        print(f"| {task} | {encoder:,} | {decoder:,} | {head:,} |")
    if not arguments.steps:
        return
    height, width = arguments.size
    print(
        f"\n{arguments.step_encoder}, decoder width {arguments.step_width}, {height}x{width}, batch {arguments.batch}, "
        f"{arguments.threads} threads, load average {os.getloadavg()[0]:.1f}: seconds of a step\n"
    )
    print("| task | on the clock | of the processor |\n|---|---|---|")
    for task in COCO_TASKS:
        seconds = step_time(task, arguments)
        print(f"| {task} | {seconds.clock:.2f} | {seconds.processor:.2f} |")


if __name__ == "__main__":
    main()
