"""A tiny folder data set with a ``fmtl-data.yaml``, whose files are procedural scenes.

The layout is that of docs/your-own-data.md, so that the YAML of the page fits these files.
"""

from __future__ import annotations

import json
import struct
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from fmtl_datasets.shared.conventions import TASKS, Sample
from fmtl_datasets.shared.objects import Instances, PanopticSegments
from fmtl_datasets.sources.procedural import KEYPOINT_NAMES, ProceduralScenes
from fmtl_datasets.sources.procedural.classes import PART_CLASSES, SEMSEG_CLASSES, STUFF_CLASSES, THING_CLASSES
from PIL import Image
from pycocotools import mask as coco_masks

Array = npt.NDArray[Any]
Json = dict[str, Any]

CLASS_NAMES = {"semseg": SEMSEG_CLASSES, "parts": PART_CLASSES, "stuff": STUFF_CLASSES}
FIRST_STUFF_CATEGORY = len(THING_CLASSES) + 1
UNITS_PER_METRE = 1000


def write_folder(
    root: Path, tasks: Sequence[str], train: int = 6, val: int = 3, size: tuple[int, int] = (64, 80)
) -> None:
    """Write images, labels, lists and the description of a folder data set.

    Args:
        root: the data root; made where it does not exist.
        tasks: labels to write, of ``TASKS``.
        train, val: images of the lists ``train`` and ``validation``.
        size: height and width of the images in pixels.
    """
    ids = image_ids(train + val)
    samples = scenes(tasks, train + val, size)
    for image_id, sample in zip(ids, samples, strict=True):
        save_png(root / "images" / f"{image_id}.png", np.asarray(sample["image"]).transpose(1, 2, 0))
        for task in tasks:
            if task in ("instance", "keypoints"):
                continue
            save_png(root / "labels" / task / f"{image_id}.png", _stored(task, sample[task]))
    for task in tasks:
        if task in ("instance", "keypoints", "panoptic"):
            _write_json(root, task, ids, [sample[task] for sample in samples])
    (root / "train.txt").write_text("".join(f"{image_id}\n" for image_id in ids[:train]))
    (root / "validation.txt").write_text("".join(f"{image_id}\n" for image_id in ids[train:]))
    (root / "fmtl-data.yaml").write_text(description(tasks))


def image_ids(count: int) -> list[str]:
    """Names of the images: in two subfolders, to show that ids may have slashes."""
    return [f"room{index % 2 + 1}/scene{index:04d}" for index in range(count)]


def scenes(tasks: Sequence[str], count: int, size: tuple[int, int]) -> list[Sample]:
    """The samples that the files are made from: what reading them should give again."""
    dataset = ProceduralScenes(tuple(tasks), domain="indoor", indices=range(count), size=size)
    return [dataset[index] for index in range(count)]


def description(tasks: Sequence[str]) -> str:
    """The text of ``fmtl-data.yaml``."""
    lines = ["name: tiny", "images: images", "lists: {train: train.txt, validation: validation.txt}", "tasks:"]
    for task in sorted(tasks, key=TASKS.index):
        if task in CLASS_NAMES:
            names = ", ".join(CLASS_NAMES[task])
            lines.append(f"  {task}: {{folder: labels/{task}, classes: [{names}], ignore: 255}}")
        elif task == "depth":
            lines.append(f"  depth: {{folder: labels/depth, units-per-metre: {UNITS_PER_METRE}}}")
        elif task == "panoptic":
            lines.append("  panoptic: {annotations: labels/panoptic.json, folder: labels/panoptic}")
        elif task in ("instance", "keypoints"):
            lines.append(f"  {task}: {{annotations: labels/{json_name(task)}}}")
        else:
            lines.append(f"  {task}: {{folder: labels/{task}}}")
    return "\n".join(lines) + "\n"


def json_name(task: str) -> str:
    """File name of the annotations of an object task."""
    return "instances.json" if task == "instance" else f"{task}.json"


def _stored(task: str, label: Any) -> Array:
    """The label as its PNG file holds it."""
    if task == "panoptic":
        ids = label.ids.numpy().astype(np.int64)
        return np.stack([ids & 255, ids >> 8 & 255, ids >> 16], axis=-1).astype(np.uint8)
    values = np.asarray(label)
    if task in ("saliency", "edge"):
        return (values * 255).astype(np.uint8)
    if task == "normals":
        return np.rint((values.transpose(1, 2, 0) + 1) * 65535 / 2).astype(np.uint16)
    if task == "depth":
        return np.rint(values[0] * UNITS_PER_METRE).astype(np.uint16)
    return values


def save_png(path: Path, pixels: Array) -> None:
    """Write a PNG; three channels of 16 bits, which Pillow cannot write, too."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if pixels.ndim == 3 and pixels.dtype == np.uint16:
        path.write_bytes(_png_rgb16(pixels))
    else:
        Image.fromarray(pixels).save(path)


def _png_rgb16(pixels: Array) -> bytes:
    height, width, _ = pixels.shape
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in pixels)
    header = struct.pack(">IIBBBBB", width, height, 16, 2, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(rows)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in chunks
    )


def _write_json(root: Path, task: str, ids: Sequence[str], labels: Sequence[Any]) -> None:
    content: Json = {"images": [], "annotations": [], "categories": _categories(task)}
    for number, (image_id, label) in enumerate(zip(ids, labels, strict=True), start=1):
        height, width = label.size
        content["images"].append({"id": number, "file_name": f"{image_id}.png", "height": height, "width": width})
        if task == "panoptic":
            content["annotations"].append(_panoptic_annotation(number, image_id, label))
        else:
            content["annotations"] += _object_annotations(number, label, len(content["annotations"]))
    path = root / "labels" / json_name(task)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))


def _categories(task: str) -> list[Json]:
    if task == "keypoints":
        return [{"id": 1, "name": "person", "keypoints": list(KEYPOINT_NAMES), "skeleton": []}]
    things = [{"id": number, "name": name, "isthing": 1} for number, name in enumerate(THING_CLASSES, start=1)]
    if task == "instance":
        return things
    stuff = enumerate(STUFF_CLASSES[1:], start=FIRST_STUFF_CATEGORY)
    return things + [{"id": number, "name": name, "isthing": 0} for number, name in stuff]


def _object_annotations(image: int, label: Instances, already: int) -> list[Json]:
    annotations = []
    for index in range(len(label)):
        left, top, right, bottom = label.boxes[index].tolist()
        annotation: Json = {
            "id": already + index + 1,
            "image_id": image,
            "category_id": int(label.classes[index]) + 1,
            "bbox": [left, top, right - left, bottom - top],
            "area": float(label.areas[index]),
            "iscrowd": 0,
        }
        if label.masks is not None:
            code = coco_masks.encode(np.asfortranarray(label.masks[index].numpy().astype(np.uint8)))
            annotation["segmentation"] = {"size": code["size"], "counts": code["counts"].decode("ascii")}
        if label.keypoints is not None:
            points = label.keypoints[index]
            annotation["keypoints"] = [round(float(value), 2) for value in points.flatten()]
            annotation["num_keypoints"] = int((points[:, 2] > 0).sum())
        annotations.append(annotation)
    return annotations


def _panoptic_annotation(image: int, image_id: str, label: PanopticSegments) -> Json:
    ids = label.ids.numpy()
    segments = []
    for segment, category in zip(label.segment_ids.tolist(), label.classes.tolist(), strict=True):
        rows, columns = np.nonzero(ids == segment)
        left, top = int(columns.min()), int(rows.min())
        segments.append(
            {
                "id": segment,
                "category_id": category + 1,
                "area": len(rows),
                "bbox": [left, top, int(columns.max()) - left + 1, int(rows.max()) - top + 1],
                "iscrowd": 0,
            }
        )
    return {"image_id": image, "file_name": f"{image_id}.png", "segments_info": segments}
