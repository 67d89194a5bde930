"""A tiny BSDS + saliency folder in the layout of bsds_sod, whose files are procedural scenes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
from fmtl_datasets.sources.procedural import ProceduralScenes
from PIL import Image

LANDSCAPE, PORTRAIT = (48, 72), (72, 48)


def write_bsds(root: Path, train: int = 6, val: int = 3) -> None:
    """Write images, saliency masks, the drawings of three to five annotators, their mean, and lists.

    Every third image is in portrait format, as in BSDS.

    Args:
        root: the data root; made where it does not exist.
        train, val: images of the lists ``train`` and ``val``.
    """
    folders = ("images", "saliency", "edge", "edge_annotators", "gt_sets")
    for folder in folders:
        (root / folder).mkdir(parents=True, exist_ok=True)
    ids = [str(100000 + 7 * index) for index in range(train + val)]
    for index, image_id in enumerate(ids):
        size = PORTRAIT if index % 3 == 2 else LANDSCAPE
        sample = ProceduralScenes(("saliency", "edge"), domain="outdoor", indices=[index], size=size)[0]
        drawings = annotators(np.asarray(sample["edge"]) == 1, 3 + index % 3, index)
        codes = sum(drawing.astype(np.uint16) << bit for bit, drawing in enumerate(drawings))
        Image.fromarray(np.asarray(sample["image"]).transpose(1, 2, 0)).save(root / "images" / f"{image_id}.jpg")
        Image.fromarray(np.asarray(sample["saliency"]) * np.uint8(255)).save(root / "saliency" / f"{image_id}.png")
        Image.fromarray(np.asarray(codes, dtype=np.uint16)).save(root / "edge_annotators" / f"{image_id}.png")
        Image.fromarray(np.rint(255 * drawings.mean(axis=0)).astype(np.uint8)).save(root / "edge" / f"{image_id}.png")
    (root / "gt_sets" / "train.txt").write_text("".join(f"{image_id}\n" for image_id in ids[:train]))
    (root / "gt_sets" / "val.txt").write_text("".join(f"{image_id}\n" for image_id in ids[train:]))


def annotators(edge: npt.NDArray[np.bool_], count: int, seed: int) -> npt.NDArray[np.bool_]:
    """Several people's drawings of one boundary map: some a pixel off, each with a part left out.

    Returns:
        (count, H, W) bool; none is empty unless the map is.
    """
    generator = np.random.default_rng(seed)
    drawings = []
    for number in range(count):
        drawing = np.roll(edge, 1, axis=1) if number % 3 == 1 else edge.copy()
        left = int(generator.integers(edge.shape[1] * 3 // 4))
        drawing[:, left : left + edge.shape[1] // 6] = False
        drawings.append(drawing if drawing.any() else edge)
    return np.stack(drawings)
