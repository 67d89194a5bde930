"""Labels of one COCO image from its annotations."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TypeVar

import numpy as np
import numpy.typing as npt
import torch
from fmtl_datasets.shared.conventions import IGNORE
from fmtl_datasets.shared.objects import NUM_KEYPOINTS, Instances, PanopticSegments
from fmtl_datasets.shared.source import DataFileError
from fmtl_datasets.sources.coco.annotation_files import NUM_THINGS, PANOPTIC_CLASSES, STUFF_CLASSES, THING_CLASSES
from fmtl_datasets.sources.coco.format import (
    BoxedAnnotation,
    PanopticAnnotation,
    PersonAnnotation,
    Segment,
    decode_segmentation,
)
from fmtl_datasets.sources.coco.masks import Mask, SegmentationError, draw_mask
from PIL import Image, UnidentifiedImageError
from torchvision import tv_tensors

Size = tuple[int, int]
Boxed = TypeVar("Boxed", BoxedAnnotation, PersonAnnotation)


def instances(
    annotations: list[BoxedAnnotation], size: Size, path: Path, classes: Mapping[int, int] = THING_CLASSES
) -> Instances:
    """Return the things of an image with their masks.

    Boxes are those annotated, cut at the border of the image; objects whose box has no area are left out, as
    torchvision's and detectron2's COCO readers do (a box regression has no target for them).

    Args:
        annotations: those of an instances file for the image.
        size: height and width of the image in pixels.
        path: the file, for messages.
        classes: class index by category.

    Raises:
        DataFileError: a segmentation is damaged; the message names the annotation.
    """
    kept, boxes = _with_boxes(annotations, size)
    # Filled one by one: with many objects in a large image, a second copy would not fit into memory.
    masks = np.empty((len(kept), *size), dtype=bool)
    for place, annotation in enumerate(kept):
        masks[place] = _mask(annotation, size, path)
    return Instances(
        size=size,
        boxes=boxes,
        classes=torch.tensor([classes[annotation.category_id] for annotation in kept], dtype=torch.int64),
        areas=_areas(kept),
        crowd=_crowd(kept),
        masks=torch.from_numpy(masks),
    )


def people(annotations: list[PersonAnnotation], size: Size) -> Instances:
    """Return the people of an image with their keypoints, all of class 0 and without masks.

    Args:
        annotations: those of a person_keypoints file for the image.
        size: height and width of the image in pixels.
    """
    kept, boxes = _with_boxes(annotations, size)
    points = np.array([annotation.keypoints for annotation in kept], dtype=np.float32)
    points = points.reshape(len(kept), NUM_KEYPOINTS, 3)
    points[points[..., 2] == 0] = 0
    return Instances(
        size=size,
        boxes=boxes,
        classes=torch.zeros(len(kept), dtype=torch.int64),
        areas=_areas(kept),
        crowd=_crowd(kept),
        keypoints=torch.from_numpy(points),
    )


def stuff_from_masks(annotations: list[BoxedAnnotation], size: Size, path: Path) -> tv_tensors.Mask:
    """Return a stuff map of 92 classes, the last one for everything that is a thing; the rest is ignored.

    Args:
        annotations: those of a stuff file for the image.
        size: height and width of the image in pixels.
        path: the file, for messages.

    Raises:
        DataFileError: a segmentation is damaged; the message names the annotation.
    """
    classes = np.full(size, IGNORE, dtype=np.uint8)
    for annotation in annotations:
        classes[_mask(annotation, size, path) > 0] = STUFF_CLASSES[annotation.category_id]
    return tv_tensors.Mask(torch.from_numpy(classes))


def stuff_from_segments(segments: PanopticSegments) -> tv_tensors.Mask:
    """Return a stuff map of 54 classes: 0 for every thing, crowds too, then the stuff; void is ignored.

    Args:
        segments: the panoptic label of the image.
    """
    stuff = torch.full(segments.ids.shape, IGNORE, dtype=torch.uint8)
    for number, index in zip(segments.segment_ids.tolist(), segments.classes.tolist(), strict=True):
        stuff[segments.ids == number] = 0 if index < NUM_THINGS else index - NUM_THINGS + 1
    return tv_tensors.Mask(stuff)


def panoptic(
    annotation: PanopticAnnotation,
    map_path: Path,
    size: Size,
    path: Path,
    classes: Mapping[int, int] = PANOPTIC_CLASSES,
) -> PanopticSegments:
    """Return the segments of an image.

    Args:
        annotation: that of a panoptic file for the image.
        map_path: its map, a PNG whose colour gives the segment: red + 256 green + 65536 blue, 0 for void.
        size: height and width of the image in pixels.
        path: the file, for messages.
        classes: class index by category, things first.

    Raises:
        DataFileError: the map cannot be read, has another size, or does not have the segments of the annotation.
    """
    codes = read_pixels(map_path, "RGB")
    if codes.shape[:2] != size:
        raise DataFileError(f"{map_path}: the map has {codes.shape[:2]} pixels, its image {size}; fetch it again.")
    ids = codes[..., 0].astype(np.int32) + 256 * codes[..., 1].astype(np.int32) + 65536 * codes[..., 2].astype(np.int32)
    segments = annotation.segments_info
    listed = np.array([segment.id for segment in segments], dtype=np.int64)
    # Few pixels differ from their left neighbour, and only those are sorted.
    drawn = np.unique(np.concatenate([ids[:, 0], ids[:, 1:][ids[:, 1:] != ids[:, :-1]]]))
    _same_segments(listed, drawn[drawn > 0], map_path, path)
    return PanopticSegments(
        ids=torch.from_numpy(ids),
        segment_ids=torch.from_numpy(listed),
        classes=torch.tensor([classes[segment.category_id] for segment in segments], dtype=torch.int64),
        crowd=_crowd(segments),
    )


def read_pixels(path: Path, mode: str) -> npt.NDArray[np.uint8]:
    """Decode an image file.

    Args:
        path: the file.
        mode: colour mode of Pillow to convert to.

    Returns:
        (h, w, 3) uint8.

    Raises:
        DataFileError: it cannot be decoded.
    """
    try:
        with Image.open(path) as image:
            return np.array(image.convert(mode))
    except (OSError, ValueError, SyntaxError, UnidentifiedImageError) as error:
        raise DataFileError(f"{path} cannot be read as an image: {error}. Fetch this file again.") from error


def _same_segments(listed: npt.NDArray[np.int64], drawn: npt.NDArray[np.int64], map_path: Path, path: Path) -> None:
    for ids, others, there, absent in (
        (drawn, listed, f"{map_path} shows", f"which {path.name} does not list for it"),
        (listed, drawn, f"{path} lists", f"which its map {map_path.name} does not show"),
    ):
        lost = np.setdiff1d(ids, others)
        if len(lost):
            raise DataFileError(
                f"{there} segment {lost[0]}, {absent} ({len(lost)} such segments). File and maps have to come from the "
                f"same archive; unpack both again."
            )


def _mask(annotation: BoxedAnnotation, size: Size, path: Path) -> Mask:
    segmentation = decode_segmentation(path, f"annotation {annotation.id}", annotation.segmentation)
    try:
        return draw_mask(segmentation, size)
    except SegmentationError as error:
        raise DataFileError(f"{path}: annotation {annotation.id}: {error}.") from error


def _with_boxes(annotations: list[Boxed], size: Size) -> tuple[list[Boxed], torch.Tensor]:
    """Return the annotations whose box has an area inside the image, and their boxes (n, 4)."""
    boxes = np.array([annotation.bbox for annotation in annotations], dtype=np.float64).reshape(-1, 4)
    boxes[:, 2:] += boxes[:, :2]
    boxes = boxes.clip(0, np.array([size[1], size[0], size[1], size[0]]))
    seen = np.all(boxes[:, 2:] > boxes[:, :2], axis=1)
    kept = [annotation for annotation, is_seen in zip(annotations, seen.tolist(), strict=True) if is_seen]
    return kept, torch.from_numpy(boxes[seen].astype(np.float32))


def _areas(annotations: Sequence[BoxedAnnotation | PersonAnnotation]) -> torch.Tensor:
    return torch.tensor([annotation.area for annotation in annotations], dtype=torch.float32)


def _crowd(annotations: Sequence[BoxedAnnotation | PersonAnnotation | Segment]) -> torch.Tensor:
    return torch.tensor([bool(annotation.iscrowd) for annotation in annotations], dtype=torch.bool)
