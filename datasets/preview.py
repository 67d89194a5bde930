"""A sample with its labels as one picture, to look at."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from datasets.conventions import TASKS, Sample

U8 = npt.NDArray[np.uint8]

_BONES = ((5, 7), (7, 9), (6, 8), (8, 10), (11, 13), (13, 15), (12, 14), (14, 16), (5, 6), (11, 12), (5, 11), (6, 12))
"""Pairs of COCO keypoints to join: arms, legs and trunk."""


def colourise(sample: Sample, *, columns: int = 4, zoom: int = 2) -> Image.Image:
    """Draw the image and every label of a sample side by side.

    Args:
        sample: uncollated sample (see ``datasets.conventions``); labels in the order of ``TASKS``.
        columns: tiles in a row.
        zoom: how many screen pixels one pixel takes, in each direction.

    Returns:
        An RGB picture. Ignored pixels are grey, invalid depth and normals black.
    """
    image = np.asarray(sample["image"]).transpose(1, 2, 0).astype(np.uint8)
    tiles = [image, *(label_picture(task, sample[task], image) for task in TASKS if task in sample)]
    tiles += [np.zeros_like(image)] * (-len(tiles) % columns)
    rows = [np.concatenate(tiles[i : i + columns], axis=1) for i in range(0, len(tiles), columns)]
    grid = Image.fromarray(np.concatenate(rows, axis=0))
    return grid.resize((grid.width * zoom, grid.height * zoom), Image.Resampling.NEAREST)


def label_picture(task: str, label: Any, image: U8) -> U8:
    """One label as an RGB picture.

    Args:
        task: one of ``TASKS``.
        label: its value in an uncollated sample.
        image: (H, W, 3) RGB, the background of the keypoints.

    Returns:
        (H, W, 3) uint8.
    """
    values = np.asarray(label)
    if task == "normals":
        coloured = (values.transpose(1, 2, 0) * np.array((1, -1, -1)) + 1) * 127.5
        return np.where(np.abs(values).sum(axis=0)[..., None] > 0, coloured, 0).astype(np.uint8)
    if task == "depth":
        near = np.where(values[0] > 0, 1.0 / np.maximum(values[0], 0.5), 0.0)
        return np.repeat((near / max(float(near.max()), 1e-6) * 255)[..., None], 3, axis=2).astype(np.uint8)
    if task == "keypoints":
        return _skeletons(values, image)
    if task in ("edge", "saliency"):
        grey = np.where(values == 255, 128, values * 255)
        return np.repeat(grey[..., None], 3, axis=2).astype(np.uint8)
    ids = np.where(values == 255, 0, values) if values.dtype == np.uint8 else values
    coloured = _colours(ids)
    if values.dtype == np.uint8:
        coloured[values == 255] = 128
    return coloured


def _colours(ids: npt.NDArray[Any]) -> U8:
    """A fixed colour per identifier; 0 is black. Multiplying by odd numbers spreads neighbouring ids apart."""
    ids = ids.astype(np.int64)
    spread = np.stack([(ids * factor) % 199 + 56 for factor in (67, 149, 103)], axis=-1)
    return np.where(ids[..., None] > 0, spread, 0).astype(np.uint8)


def _skeletons(people: npt.NDArray[Any], image: U8) -> U8:
    """Keypoints over a darkened image: green visible, red occluded."""
    out = (image * 0.4).astype(np.uint8)
    height, width = out.shape[:2]
    for joints in people:
        for a, b in _BONES:
            if joints[a, 2] > 0 and joints[b, 2] > 0:
                steps = np.linspace(joints[a, :2], joints[b, :2], 64).astype(np.int64)
                out[steps[:, 1].clip(0, height - 1), steps[:, 0].clip(0, width - 1)] = (90, 120, 220)
        for x, y, visibility in joints[joints[:, 2] > 0]:
            at = (min(max(int(y), 0), height - 1), min(max(int(x), 0), width - 1))
            out[at] = (0, 255, 0) if visibility == 2 else (255, 0, 0)
    return out
