"""Panoptic segmentation: JSON with segments and PNG with their pixels, on both sides."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from fmtl_datasets.sources.coco.format import Category, PanopticAnnotation, decode_all

from client_app.metrics.base import MetricUnavailable
from client_app.metrics.coco.panoptic import PanopticQuality
from client_app.metrics.coco.segment_matching import Integers, SegmentMap
from fmtl.scoring.coco_files import read_annotation_lists, require_each_once
from fmtl.scoring.image_files import read_image
from fmtl.scoring.result import ScoreFileError, ScoreOptions, ScoreResult


@dataclass(frozen=True)
class Side:
    """One side of the comparison: a panoptic JSON file and the folder of its PNG files."""

    path: Path
    folder: Path
    categories: list[Category]
    annotations: list[PanopticAnnotation]
    positions: Mapping[int, int]
    """Place in the file's annotations by image id."""


def score_panoptic(predictions: Path, ground_truth: Path, options: ScoreOptions) -> ScoreResult:
    """Score panoptic maps.

    Args:
        predictions: panoptic JSON file.
        ground_truth: panoptic JSON file with categories that say which are things; every image in it is scored.
        options: folders of the PNG files, where they are not beside the JSON files under the same name.

    Returns:
        PQ, with SQ, RQ and their values over things and stuff.

    Raises:
        ScoreFileError: a file is missing or malformed, an image has no prediction, or JSON and PNG do not fit together.
    """
    truth = _side(ground_truth, "ground truth", options.truth_folder)
    classes, num_things = _class_indices(truth)
    found = _side(predictions, "predictions", options.prediction_folder)
    _require_same_images(found, truth)
    metric = PanopticQuality(len(classes), num_things)
    for image_id, position in truth.positions.items():
        labelled = _read_map(truth, position, classes)
        predicted = _read_map(found, found.positions[image_id], classes)
        if predicted.ids.shape != labelled.ids.shape:
            raise ScoreFileError(
                f"{_png(found, image_id)} has {predicted.ids.shape[0]} rows and {predicted.ids.shape[1]} columns, but "
                f"its ground truth {_png(truth, image_id)} has {labelled.ids.shape[0]} and {labelled.ids.shape[1]}. "
                "Save predictions at the size of the ground truth."
            )
        metric.add_image(predicted, labelled)
    value: float | None = None
    reason: str | None = None
    details: Mapping[str, float | None] = {}
    try:
        details = metric.details()
        value = details["PQ"]
    except MetricUnavailable as error:
        reason = str(error)
    images = len(truth.positions)
    return ScoreResult("panoptic", metric.name, metric.unit, True, value, reason, images, details, _notes(metric))


def _notes(metric: PanopticQuality) -> tuple[str, ...]:
    seen = ~np.isnan(metric.class_quality()["PQ"])
    things, stuff = int(seen[: metric.num_things].sum()), int(seen[metric.num_things :].sum())
    return (f"The means are over the classes that are labelled or predicted: {things} things and {stuff} stuff.",)


def _side(path: Path, role: str, folder: Path | None) -> Side:
    lists = read_annotation_lists(path, role, "panoptic")
    categories = list(decode_all(path, "categories", lists.categories, Category))
    annotations = list(decode_all(path, "annotations", lists.annotations, PanopticAnnotation))
    folder = folder if folder is not None else path.with_suffix("")
    if not folder.is_dir():
        option = "--truth-folder" if role == "ground truth" else "--prediction-folder"
        raise ScoreFileError(
            f"The folder {folder} with the PNG files of {path} does not exist; put it beside the JSON file under the "
            f"same name, or pass {option}."
        )
    positions: dict[int, int] = {}
    for index, annotation in enumerate(annotations):
        if annotation.image_id in positions:
            raise ScoreFileError(
                f"{path}, annotations[{index}]: image_id {annotation.image_id} is that of "
                f"annotations[{positions[annotation.image_id]}] too; keep one annotation for each image."
            )
        positions[annotation.image_id] = index
    return Side(path, folder, categories, annotations, positions)


def _class_indices(truth: Side) -> tuple[dict[int, int], int]:
    """Return a class index by category id, things first, and the number of things."""
    categories = truth.categories
    if not categories:
        raise ScoreFileError(f"{truth.path} has no categories; expected a list with id and isthing of each.")
    require_each_once(truth.path, "categories", [category.id for category in categories])
    for index, category in enumerate(categories):
        if category.isthing is None:
            raise ScoreFileError(
                f"{truth.path}, categories[{index}]: isthing is missing; write 1 for things and 0 for stuff."
            )
    things = [category.id for category in categories if category.isthing]
    stuff = [category.id for category in categories if not category.isthing]
    return {number: index for index, number in enumerate([*things, *stuff])}, len(things)


def _require_same_images(found: Side, truth: Side) -> None:
    missing = [image_id for image_id in truth.positions if image_id not in found.positions]
    if missing:
        others = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
        raise ScoreFileError(
            f"{found.path} has no annotation for image {missing[0]}{others} of the ground truth. Every image needs a "
            "prediction; one without segments has an all-black PNG and an empty segments_info."
        )
    for image_id, index in found.positions.items():
        if image_id not in truth.positions:
            raise ScoreFileError(
                f"{found.path}, annotations[{index}]: image_id {image_id} is not in the ground truth {truth.path}. "
                "Leave out other images, or give the ground truth they belong to."
            )


def _png(side: Side, image_id: int) -> Path:
    return side.folder / side.annotations[side.positions[image_id]].file_name


def _read_map(side: Side, position: int, classes: Mapping[int, int]) -> SegmentMap:
    annotation = side.annotations[position]
    place = f"{side.path}, annotations[{position}] (image {annotation.image_id})"
    for segment in annotation.segments_info:
        if segment.category_id not in classes:
            raise ScoreFileError(
                f"{place}: segment {segment.id} has category_id {segment.category_id}, which is not among the "
                f"{len(classes)} categories of the ground truth. Write the ids of that file."
            )
    ids = _read_ids(side.folder / annotation.file_name, place)
    _require_same_segments(place, side.folder / annotation.file_name, ids, annotation)
    segments = annotation.segments_info
    return SegmentMap(
        ids=ids,
        segment_ids=np.array([segment.id for segment in segments], dtype=np.int64),
        classes=np.array([classes[segment.category_id] for segment in segments], dtype=np.int64),
        crowd=np.array([bool(segment.iscrowd) for segment in segments], dtype=np.bool_),
    )


def _read_ids(path: Path, place: str) -> Integers:
    """Return the segment of each pixel (h, w): red + 256 green + 256^2 blue."""
    if not path.is_file():
        raise ScoreFileError(f"{path} does not exist, but {place} names it.")
    pixels = read_image(path)
    if pixels.ndim != 3 or pixels.shape[2] != 3 or pixels.dtype != np.uint8:
        raise ScoreFileError(
            f"{path} holds {pixels.dtype} of shape {pixels.shape}; expected an 8-bit RGB PNG with the id of a segment "
            "as red + 256 green + 65536 blue."
        )
    return pixels.astype(np.int64) @ np.array([1, 256, 256**2], dtype=np.int64)


def _require_same_segments(place: str, png: Path, ids: Integers, annotation: PanopticAnnotation) -> None:
    listed = [segment.id for segment in annotation.segments_info]
    for number in listed:
        if listed.count(number) > 1:
            raise ScoreFileError(f"{place}: segment {number} is listed twice; give each segment an id of its own.")
    drawn = set(np.unique(ids).tolist()) - {0}
    if drawn - set(listed):
        raise ScoreFileError(
            f"{png} has pixels of segment {min(drawn - set(listed))}, which {place} does not list. List every segment, "
            "and make pixels without one black."
        )
    if set(listed) - drawn:
        raise ScoreFileError(
            f"{place} lists segment {min(set(listed) - drawn)}, which has no pixel in {png}. Leave out segments that "
            "are covered by others."
        )
