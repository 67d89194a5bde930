"""How many images a second one worker prepares for training, and what limits it: ``python benchmarks/data_loading.py``.

Every data set at its published size and with its published augmentation. Data sets that lie under ``FMTL_DATA_ROOT``
(or ``--data``) are read from there; of the others, files in the same formats and sizes are written to a temporary
folder first and marked as made up: their pictures are simpler than photographs, so decoding them is faster. Each
stage is timed on one core; two workers are threads, as a client uses them beside a GPU.
"""

from __future__ import annotations

import argparse
import os
import platform
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")
import numpy as np
import torch
from fmtl_datasets.registry import open_source
from fmtl_datasets.scenarios.scenario import ClientEntry
from fmtl_datasets.shared.source import SampleDataset, SourceSettings
from fmtl_datasets.transforms.resizing import Resized
from fmtl_datasets.transforms.transforms import to_batch, training_transform

ROOT = Path(__file__).resolve().parents[1]
BATCH = 8


@dataclass(frozen=True)
class Case:
    """One client whose data loading is measured.

    Attributes:
        title: what the table calls it.
        folder: where its data lies, under the data root.
        entry: keys of the client that decide what is loaded.
        write: makes up data of that kind in a folder.
    """

    title: str
    folder: str
    entry: dict[str, Any]
    write: Callable[[Path], None]


@dataclass(frozen=True)
class Rates:
    """What was measured.

    Attributes:
        read, augment, collate: milliseconds for an image: reading and decoding files; all transforms; making batches.
        one, two: images per second with one worker and with two.
    """

    read: float
    augment: float
    collate: float
    one: float
    two: float

    @property
    def limit(self) -> str:
        """The stage that takes the largest part of an image's time, with its share."""
        stages = {"reading": self.read, "transforms": self.augment, "batches": self.collate}
        name = max(stages, key=lambda stage: stages[stage])
        return f"{name} {100 * stages[name] / sum(stages.values()):.0f} %"


def cases() -> list[Case]:
    """Return a case for every data set, and for COCO one for every task."""
    pascal = {"image-size": [512, 512], "fit": "pad", "augment": "reference", "dataset": "pascal_context"}
    nyud = {"image-size": [448, 576], "fit": "pad", "augment": "reference", "dataset": "nyud"}
    small = {"image-size": [96, 128], "fit": "resize", "augment": "flip", "dataset": "nyud"}
    coco = {"image-size": [640, 640], "fit": "pad", "augment": "flip", "dataset": "coco"}
    bsds = {"image-size": [512, 512], "fit": "pad", "augment": "flip", "dataset": "bsds_sod"}
    five = ["semseg", "parts", "saliency", "normals", "edge"]
    four = ["semseg", "normals", "edge", "depth"]
    found = [
        Case(
            "pascal_context, five tasks",
            "PASCALContext",
            {**pascal, "tasks": five},
            _made_up("tiny_pascal_context", "write_pascal_context", size=(375, 500)),
        ),
        Case(
            "pascal_context, semseg",
            "PASCALContext",
            {**pascal, "tasks": ["semseg"]},
            _made_up("tiny_pascal_context", "write_pascal_context", size=(375, 500)),
        ),
        Case(
            "nyud, four tasks",
            "NYUDv2",
            {**nyud, "tasks": four},
            _made_up("tiny_data", "write_nyud", variant="atrc", size=(425, 560)),
        ),
        Case(
            "nyud320, four tasks",
            "nyud320",
            {**small, "tasks": four},
            _made_up("tiny_data", "write_nyud", variant="nyud320", size=(240, 320)),
        ),
    ]
    found += [
        Case(
            f"coco, {task}",
            "coco_mt200",
            {**coco, "tasks": [task]},
            _made_up("tiny_coco", "write_coco", size=(480, 640)),
        )
        for task in ("instance", "keypoints", "stuff", "panoptic")
    ]
    return [
        *found,
        Case(
            "bsds_sod, both tasks",
            "bsds_sod",
            {**bsds, "tasks": ["saliency", "edge"]},
            _made_up("tiny_bsds", "write_bsds"),
        ),
    ]


def measure(entry: ClientEntry, root: Path, cache: Path, images: int, passes: int) -> Rates:
    """Time the stages of loading one client's training images.

    Args:
        entry: tasks, image size, fit and augmentation.
        root: the data set's folder.
        cache: folder for derived labels; filled by an untimed pass, as in every epoch but the first.
        images: how many, at most.
        passes: how often; the fastest pass counts.
    """
    source = open_source(entry.dataset, SourceSettings(root, cache, entry.parts_flags, entry.stuff_labels))
    image_list = source.lists[0]
    positions = source.usable(image_list, np.arange(len(source.ids(image_list)), dtype=np.int64), entry.tasks)
    opened = source.open(entry.tasks, image_list, positions[:images])
    dataset = opened if entry.fit == "pad" else Resized(opened, entry.image_size, entry.fit)
    count = len(dataset)
    for index in range(count):
        dataset[index]
    read = min(_seconds(lambda: [dataset[i] for i in range(count)]) for _ in range(passes)) / count
    samples = [dataset[i] for i in range(count)]
    transform = training_transform(entry.augment, entry.image_size, entry.normalisation)

    def prepare(index: int, sample: dict[str, Any]) -> dict[str, Any]:
        return transform(sample, torch.Generator().manual_seed(index))

    augment = min(_seconds(lambda: [prepare(i, s) for i, s in enumerate(samples)]) for _ in range(passes)) / count
    ready = [prepare(i, s) for i, s in enumerate(samples)]
    batches = [ready[start : start + BATCH] for start in range(0, count, BATCH)]
    collate = min(_seconds(lambda: [to_batch(batch) for batch in batches]) for _ in range(passes)) / count
    whole = {workers: _whole(dataset, prepare, workers, passes) for workers in (1, 2)}
    return Rates(1000 * read, 1000 * augment, 1000 * collate, whole[1], whole[2])


def _whole(
    dataset: SampleDataset, prepare: Callable[[int, dict[str, Any]], dict[str, Any]], workers: int, passes: int
) -> float:
    """Return images per second, reading and transforming in `workers` threads and making batches in one."""

    def load(index: int) -> dict[str, Any]:
        return prepare(index, dataset[index])

    def one_pass() -> None:
        with ThreadPoolExecutor(workers) as pool:
            loaded = list(pool.map(load, range(len(dataset))))
        for start in range(0, len(loaded), BATCH):
            to_batch(loaded[start : start + BATCH])

    return len(dataset) / min(_seconds(one_pass) for _ in range(passes))


def _seconds(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def _made_up(module: str, function: str, **how: Any) -> Callable[[Path], None]:
    """Return what writes sixteen training images with a writer of the tests' support code."""

    def write(root: Path) -> None:
        getattr(import_module(f"tests.support.{module}"), function)(root, train=16, val=1, **how)

    return write


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure all cases and print one Markdown table."""
    parser = argparse.ArgumentParser(description="Images per second of data loading, by data set.")
    parser.add_argument("--data", type=Path, default=None, help="folder that holds the data sets")
    parser.add_argument("--images", type=int, default=48, help="images of each data set, at most")
    parser.add_argument("--passes", type=int, default=3, help="how often each is measured; the fastest counts")
    parser.add_argument("--only", default="", help="cases whose title contains this")
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    data = options.data or Path(os.environ.get("FMTL_DATA_ROOT", ROOT / "data"))
    print(f"{platform.machine()}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}; milliseconds an image\n")
    print("| data set | files | size | reading | transforms | batches | images/s, one worker | two | limited by |")
    print("|---|---|---|---:|---:|---:|---:|---:|---|")
    with tempfile.TemporaryDirectory() as scratch:
        for case in cases():
            if options.only in case.title:
                print(_line(case, data, Path(scratch), options), flush=True)


def _line(case: Case, data: Path, scratch: Path, options: argparse.Namespace) -> str:
    root, kind = data / case.folder, "real"
    if not root.is_dir():
        root, kind = scratch / case.folder, "made up"
        if not root.is_dir():
            case.write(root)
    keys = {"name": "x", "encoder": "resnet18", "data-root": str(root), **case.entry}
    entry = ClientEntry.model_validate(keys)
    rates = measure(entry, root, scratch / "cache", options.images, options.passes)
    size = "x".join(map(str, entry.image_size))
    return (
        f"| {case.title} | {kind} | {size} | {rates.read:.1f} | {rates.augment:.1f} | {rates.collate:.1f} "
        f"| {rates.one:.0f} | {rates.two:.0f} | {rates.limit} |"
    )


if __name__ == "__main__":
    main()
