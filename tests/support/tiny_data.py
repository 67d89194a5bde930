"""Every data set that the published scenarios read, tiny and in its real file formats, and the scenarios made tiny too.

A round of a shrunk scenario takes a fraction of a second: the clients, their tasks, shares, lists and transforms stay,
the encoder and the images become small, and a client uses few of its images.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import yaml
from fmtl_datasets.scenarios.scenario import ClientEntry, Scenario, load_scenario
from fmtl_datasets.sources.nyud import VARIANTS
from fmtl_datasets.sources.procedural import ProceduralScenes
from PIL import Image
from scipy.io import savemat
from timm.models import FeatureInfo, generate_default_cfgs, register_model
from torch import Tensor, nn

from tests.support.tiny_bsds import write_bsds
from tests.support.tiny_coco import write_coco
from tests.support.tiny_pascal_context import write_pascal_context

ENCODER = "fmtl_tiny_pyramid"
SIDE = 64
IMAGES = 72
"""Training images of every data set: three for each of the 24 clients of the largest scenario."""

VALIDATION_IMAGES = 2
NYUD_TASKS = ("semseg", "normals", "edge", "depth")


class TinyPyramid(nn.Module):
    """Four strided convolutions with batch norm, built in a millisecond, in the form of a timm network."""

    def __init__(self) -> None:
        super().__init__()
        channels = (8, 8, 16, 16)
        self.stages = nn.ModuleList(
            nn.Sequential(nn.Conv2d(before, after, 3, stride, 1, bias=False), nn.BatchNorm2d(after), nn.ReLU())
            for before, after, stride in zip((3, *channels), channels, (4, 2, 2, 2), strict=False)
        )
        levels = [
            {"num_chs": count, "reduction": 4 * 2**level, "module": f"stages.{level}"}
            for level, count in enumerate(channels)
        ]
        self.feature_info = FeatureInfo(levels, out_indices=(0, 1, 2, 3))

    def forward(self, image: Tensor) -> list[Tensor]:
        """Return the maps of strides 4, 8, 16 and 32."""
        maps = [image]
        for stage in self.stages:
            maps.append(stage(maps[-1]))
        return maps[1:]


# timm looks for this name when a network is registered.
default_cfgs = generate_default_cfgs({f"{ENCODER}.untrained": {}})


@register_model
def fmtl_tiny_pyramid(pretrained: bool = False, **options: Any) -> TinyPyramid:
    """Build the encoder of shrunk scenarios; timm gives it options that it does not need."""
    return TinyPyramid()


def write_all(root: Path) -> Path:
    """Write all data sets under the folder names that the scenarios use, and return the folder.

    Args:
        root: what ``FMTL_DATA_ROOT`` is to be set to.
    """
    sizes = {"train": IMAGES, "val": VALIDATION_IMAGES}
    write_pascal_context(root / "PASCALContext", **sizes, size=(48, 64))
    write_nyud(root / "NYUDv2", "atrc", **sizes)
    write_nyud(root / "nyud320", "nyud320", **sizes)
    write_coco(root / "coco", **sizes, size=(48, 64))
    write_coco(root / "coco_mt200", **sizes, size=(48, 64))
    write_bsds(root / "bsds_sod", **sizes)
    return root


def write_nyud(root: Path, variant: str, train: int, val: int, size: tuple[int, int] = (48, 64)) -> None:
    """Write NYUD-v2 in the format of one of its packages, with procedural rooms.

    Args:
        root: the data root; made where it does not exist.
        variant: one of ``fmtl_datasets.sources.nyud.VARIANTS``; ``nyud320`` also has the lists ``train_mini`` and
            ``val_mini``.
        train, val: number of images of the lists.
        size: height and width of every image.
    """
    layout = next(known for known in VARIANTS if known.name == variant)
    ids = [f"{number:04d}" for number in range(1, train + val + 1)]
    scenes = ProceduralScenes(NYUD_TASKS, domain="indoor", indices=range(len(ids)), size=size)
    for index, image_id in enumerate(ids):
        for kind, array in _files(scenes[index], variant).items():
            path = layout.path(root, kind, image_id)
            path.parent.mkdir(parents=True, exist_ok=True)
            if path.suffix == ".npy":
                np.save(path, array)
            elif path.suffix == ".mat":
                savemat(path, {"segmentation" if kind == "semseg" else kind: array})
            else:
                Image.fromarray(array).save(path)
    lists = {"train": ids[:train], "val": ids[train:]}
    if variant == "nyud320":
        lists |= {"train_mini": ids[: train // 2], "val_mini": ids[train:]}
    (root / "gt_sets").mkdir()
    for name, members in lists.items():
        (root / "gt_sets" / f"{name}.txt").write_text("".join(f"{image_id}\n" for image_id in members))


def _files(sample: dict[str, Any], variant: str) -> dict[str, npt.NDArray[Any]]:
    """What the package stores for an image, by kind."""
    arrays = {kind: np.asarray(sample[kind]) for kind in ("image", *NYUD_TASKS)}
    semseg = np.where(arrays["semseg"] == 255, 0, arrays["semseg"] + 1).astype(np.uint8)
    normals = arrays["normals"].transpose(1, 2, 0)
    metres = arrays["depth"][0]
    codes = np.clip(np.rint(metres * 25.5 - 0.5), 0, 255).astype(np.uint8)
    is_edge = arrays["edge"] == 1
    edges = {"nyud320": is_edge, "vandenhende": is_edge.astype(np.float32)}
    return {
        "image": arrays["image"].transpose(1, 2, 0).copy(),
        "semseg": semseg,
        "normals": normals if variant == "vandenhende" else np.rint((normals + 1) * 255 / 2).astype(np.uint8),
        "edge": edges.get(variant, is_edge.astype(np.uint8) * 255),
        "depth": codes if variant == "nyud320" else metres,
    }


def shrunk(scenario: Scenario) -> Scenario:
    """The same scenario with a tiny encoder, tiny images, and few images for each client."""
    return scenario.model_copy(update={"clients": tuple(_shrunk(client) for client in scenario.clients)})


def _shrunk(client: ClientEntry) -> ClientEntry:
    changes: dict[str, Any] = {
        "encoder": ENCODER,
        "encoder_weights": "none",
        "image_size": (SIDE, SIDE),
        "decoder_width": 8,
        "batch_size": 1,
        "local_epochs": 1,
        "train_images": 1,
        "validation_images": 1,
        "smallest_anchor": 8.0,
        "contact_sheet": 0,
        "device": "cpu",
    }
    return client.model_copy(update=changes)


def limited(scenario: Scenario, images: int) -> Scenario:
    """The same scenario with at most so many training and validation images for each client, and one local epoch."""
    changes = {
        "train_images": images,
        "validation_images": images,
        "batch_size": 1,
        "local_epochs": 1,
        "contact_sheet": 1,
        "device": "cpu",
    }
    return scenario.model_copy(
        update={"clients": tuple(client.model_copy(update=changes) for client in scenario.clients)}
    )


def write_scenario(scenario: Scenario, path: Path) -> Path:
    """Write a scenario as a file that can be run, and return its path."""
    content = scenario.model_dump(mode="json", by_alias=True, exclude_defaults=True)
    path.write_text(yaml.safe_dump(content, sort_keys=False))
    return path


def write_shrunk(names: Iterable[str], folder: Path) -> dict[str, Path]:
    """Write shrunk versions of scenarios of the project, and return their paths by name."""
    return {name: write_scenario(shrunk(load_scenario(name)), folder / f"{name}.yaml") for name in names}
