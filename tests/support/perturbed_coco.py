"""Annotations in COCO's formats, drawn at random, and predictions made from annotations by spoiling them."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from pycocotools import mask as mask_tools
from scipy.ndimage import binary_erosion

Json = dict[str, Any]

ROOT = Path(os.environ.get("FMTL_DATA_ROOT", Path(__file__).resolve().parents[3] / "shared" / "data"))
COCO = ROOT / "coco_mt200"
ANNOTATIONS = COCO / "annotations"
ABSENT = f"{COCO} is absent; set FMTL_DATA_ROOT to the folder that holds it"
KEYPOINTS = 17


def load(path: Path) -> Any:
    return json.loads(path.read_text())


def decoded(segmentation: Any, size: tuple[int, int]) -> npt.NDArray[np.bool_]:
    """Mask of a polygon list, plain or compressed run lengths, through pycocotools alone."""
    if isinstance(segmentation, list):
        segmentation = mask_tools.merge(mask_tools.frPyObjects(segmentation, *size))
    elif isinstance(segmentation["counts"], list):
        segmentation = mask_tools.frPyObjects(segmentation, *size)
    return mask_tools.decode(segmentation).astype(bool)


def encoded(mask: npt.NDArray[np.bool_]) -> Json:
    code = mask_tools.encode(np.asfortranarray(mask.astype(np.uint8)))
    return {"size": list(mask.shape), "counts": code["counts"].decode("ascii")}


def drawn_annotations(seed: int, images: int = 6, size: tuple[int, int] = (96, 120), classes: int = 4) -> Json:
    """Rectangles and ellipses with keypoints, a crowd now and then, an image without objects."""
    draw = np.random.default_rng(seed)
    rows, columns = np.mgrid[: size[0], : size[1]]
    annotations = []
    for image in range(images):
        for _ in range(0 if image == 1 else int(draw.integers(2, 8))):
            centre, radius = draw.uniform(0.1, 0.9, 2) * size, draw.uniform(3, 40, 2)
            offsets = np.abs(rows - centre[0]) / radius[0], np.abs(columns - centre[1]) / radius[1]
            mask = np.maximum(*offsets) < 1 if draw.random() < 0.5 else np.hypot(*offsets) < 1
            code = encoded(mask)
            visible = draw.integers(0, int(draw.choice([2, 3])), KEYPOINTS) * (draw.random() < 0.8)
            points = centre[::-1] + draw.integers(-8, 9, (KEYPOINTS, 2))
            keypoints = np.concatenate([points.round(), visible[:, None]], axis=1) * (visible > 0)[:, None]
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": 7 * image + 3,
                    "category_id": int(draw.integers(classes)) * 5 + 1,
                    "iscrowd": int(draw.random() < 0.1),
                    "area": int(mask.sum()),
                    "bbox": mask_tools.toBbox(code).tolist(),
                    "segmentation": code,
                    "keypoints": keypoints.ravel().tolist(),
                    "num_keypoints": int((visible > 0).sum()),
                }
            )
    return {
        "images": [{"id": 7 * n + 3, "height": size[0], "width": size[1]} for n in range(images)],
        "categories": [{"id": 5 * n + 1, "name": f"class {n}"} for n in range(classes)],
        "annotations": annotations,
    }


def spoiled_detections(truth: Json, seed: int) -> list[Json]:
    """A detector's guesses: eroded and shifted masks, moved boxes and keypoints, wrong classes, some twice, some not.

    Numbers are multiples of 1/4 and scores of 1/64 (so that some are equal), exact in float32.
    """
    draw = np.random.default_rng(seed)
    sizes = {image["id"]: (image["height"], image["width"]) for image in truth["images"]}
    classes = [category["id"] for category in truth["categories"]]
    found = []
    for annotation in truth["annotations"]:
        for _ in range(int(draw.choice([0, 1, 1, 1, 2]))):
            mask = decoded(annotation["segmentation"], sizes[annotation["image_id"]])
            mask = np.roll(mask, tuple(draw.integers(-4, 5, 2)), axis=(0, 1))
            mask = binary_erosion(mask, iterations=int(draw.integers(1, 3))) if draw.random() < 0.6 else mask
            box = np.array(annotation["bbox"]) + draw.integers(-24, 25, 4) / 4
            entry = {
                "image_id": annotation["image_id"],
                "category_id": annotation["category_id"] if draw.random() < 0.85 else int(draw.choice(classes)),
                "score": int(draw.integers(1, 65)) / 64,
                "bbox": [*box[:2].tolist(), *np.maximum(box[2:], 0.25).tolist()],
                "segmentation": encoded(mask),
            }
            if "keypoints" in annotation:
                points = np.array(annotation["keypoints"], dtype=float).reshape(-1, 3)
                centre = np.array(annotation["bbox"][:2]) + np.array(annotation["bbox"][2:]) // 2
                points[:, :2] = np.where(points[:, 2:] > 0, points[:, :2], centre)
                points[:, :2] += draw.integers(-12, 13, (len(points), 2)) / 4
                entry["keypoints"] = points.ravel().tolist()
            found.append(entry)
    return found


def results(found: list[Json], field: str) -> list[Json]:
    """The entries as a results file gives them: with one field of geometry."""
    return [{key: entry[key] for key in ("image_id", "category_id", "score", field)} for entry in found]


def spoiled_segments(ids: npt.NDArray[np.int64], segments: list[Json], classes: list[int], seed: int) -> Any:
    """A panoptic guess: the map moved, some segments void, cut in two or of another class, void and all else filled.

    Returns:
        The map (h, w) and its list of segments, each with at least one pixel.
    """
    draw = np.random.default_rng(seed)
    moved = np.roll(ids, tuple(draw.integers(-5, 6, 2)), axis=(0, 1))
    guess = np.zeros_like(ids)
    listed = []
    columns = np.arange(ids.shape[1])[None].repeat(ids.shape[0], 0)
    for segment in [*segments, {"id": 0, "category_id": int(draw.choice(classes))}]:
        mask = moved == segment["id"]
        if draw.random() < 0.15:
            continue
        parts = [mask]
        if draw.random() < 0.2 and mask.any():
            middle = np.quantile(columns[mask], draw.uniform(0.1, 0.9))
            parts = [mask & (columns <= middle), mask & (columns > middle)]
        for part in parts:
            if part.any():
                number = 1000 + 7 * len(listed)
                category = segment["category_id"] if draw.random() < 0.85 else int(draw.choice(classes))
                guess[part] = number
                listed.append({"id": number, "category_id": category})
    return guess, listed
