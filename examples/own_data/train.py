"""Train on eight images made here: labels, description, check, one round; argument: a folder (else a new one)."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image

import fmtl

DESCRIPTION = """
name: discs
images: images
split: {validation: 0.3, seed: 0}
tasks:
  semseg: {folder: labels/semseg, classes: [background, disc]}
"""
SCENARIO = """
name: own-data
description: One client with images of its own, one with procedural scenes.
defaults: {image-size: [32, 32], encoder: mobilenetv3_small_050, decoder-width: 8, batch-size: 2}
clients:
  - {name: mine, dataset: folder, data-root: DATA, tasks: [semseg]}
  - {name: other, dataset: procedural, tasks: [depth], train-images: 4, validation-images: 2}
"""


def write_data(root: Path) -> None:
    """Write eight images of a bright disc on noise, the labels of its pixels, and fmtl-data.yaml."""
    draw = np.random.default_rng(0)
    rows, columns = np.mgrid[:32, :32]
    (root / "images").mkdir(parents=True)
    (root / "labels/semseg").mkdir(parents=True)
    for number in range(8):
        disc = np.hypot(rows - draw.integers(8, 24), columns - draw.integers(8, 24)) < 6
        image = draw.integers(0, 128, (32, 32, 3), dtype=np.uint8) + 100 * disc[..., None].astype(np.uint8)
        Image.fromarray(image).save(root / "images" / f"{number}.png")
        Image.fromarray(disc.astype(np.uint8)).save(root / "labels/semseg" / f"{number}.png")
    (root / "fmtl-data.yaml").write_text(DESCRIPTION, encoding="utf-8")


def main() -> None:
    """Make the data, check it, and train one round on it."""
    out = Path(sys.argv[1] if len(sys.argv) > 1 else tempfile.mkdtemp(prefix="fmtl-own-data-")).absolute()
    write_data(out / "data")
    check = ["fmtl", "data", "check", "folder", str(out / "data"), "--workers", "1", "--out", str(out / "check")]
    subprocess.run([sys.executable, "-m", *check], check=True)
    (out / "scenario.yaml").write_text(SCENARIO.replace("DATA", str(out / "data")), encoding="utf-8")
    config = {"strategy": "fedavg", "scenario": str(out / "scenario.yaml"), "num-server-rounds": 1}
    print(fmtl.run(config, out / "run")["status"], "in", out)


if __name__ == "__main__":
    main()
