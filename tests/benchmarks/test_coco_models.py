"""The benchmark of the COCO tasks' models runs and counts what torchvision publishes."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest


def _lines(*arguments: str) -> list[str]:
    script = Path(__file__).resolve().parents[2] / "benchmarks/coco_models.py"
    done = subprocess.run([sys.executable, str(script), *arguments], capture_output=True, check=True, text=True)
    return done.stdout.splitlines()


@pytest.mark.long
def test_parameters_are_counted_by_part() -> None:
    rows = {line.split(" | ")[0].removeprefix("| "): line for line in _lines("--steps", "0") if line.startswith("| ")}
    assert set(rows) == {"task", "instance", "keypoints", "stuff", "panoptic"}
    # torchvision publishes 59 137 258 parameters for Keypoint R-CNN on ResNet-50-FPN. Its trunk has as many as ours
    # but for 53 120 of batch norms, which are frozen there.
    counts = [int(cell.replace(",", "").strip(" |")) for cell in rows["keypoints"].split(" | ")[1:]]
    assert sum(counts) == 59_137_258 + 53_120


@pytest.mark.long
def test_steps_are_timed() -> None:
    small = ("--encoder", "mobilenetv2_035", "--width", "8", "--step-encoder", "mobilenetv2_035", "--step-width", "8")
    lines = _lines(*small, "--size", "64", "64", "--steps", "1", "--threads", "1")
    assert any(line.startswith("mobilenetv2_035, decoder width 8, 64x64, batch 2") for line in lines)
    assert sum(line.startswith("| panoptic") for line in lines) == 2
