"""Instances and keypoints: COCO's results files against its annotation files."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec
from fmtl_datasets.sources.coco.format import (
    HINTS,
    NOTHING,
    Annotation,
    Category,
    Image,
    Result,
    decode_all,
    decode_segmentation,
    entry_place,
)
from fmtl_datasets.sources.coco.masks import SegmentationError, compressed_mask

from client_app.metrics.base import MetricUnavailable
from client_app.metrics.coco.average_precision import GEOMETRY, AveragePrecision, BoxAP, Entry, InstanceAP, KeypointAP
from fmtl.scoring.coco_files import read_annotation_lists, read_results_list, require_each_once
from fmtl.scoring.result import ScoreFileError, ScoreOptions, ScoreResult

Size = tuple[int, int]
Objects = Mapping[int, Sequence[Entry]]
"""Objects as the metric takes them, by image id, in the order of the file."""


ABSENT = (None, NOTHING, msgspec.Raw(b"null"))
"""What a field that is compared may not be."""


@dataclass(frozen=True)
class Truth:
    """An annotation file.

    Attributes:
        sizes: height and width of every image by its id, in order of the ids.
        categories: all category ids.
        objects: what is annotated.
    """

    sizes: Mapping[int, Size]
    categories: frozenset[int]
    objects: Objects


def score_detections(task: str, predictions: Path, ground_truth: Path, options: ScoreOptions) -> ScoreResult:
    """Score a COCO results file.

    Args:
        task: instance or keypoints.
        predictions: JSON list of {image_id, category_id, score, and segmentation, bbox or keypoints}.
        ground_truth: annotation JSON; all its images count.
        options: `iou` says what of an instance is compared.

    Returns:
        AP with the other numbers of COCO's table. An image without predictions is legal: its objects are missed.

    Raises:
        DataFileError: a file is missing or malformed; the message names file, entry and field.
        ValueError: an unknown setting.
    """
    metric = _new_metric(task, options.iou)
    geometry = GEOMETRY[metric.iou_type]
    truth = read_truth(ground_truth, geometry)
    found = read_results(predictions, truth, geometry)
    for image_id, size in truth.sizes.items():
        metric.add_image(size, found.get(image_id, ()), truth.objects.get(image_id, ()))
    value: float | None = None
    reason: str | None = None
    details: Mapping[str, float | None] = {}
    try:
        details = metric.summary()
        value = details["AP"]
    except MetricUnavailable as error:
        reason = str(error)
    return ScoreResult(
        task, metric.name, metric.unit, True, value, reason, len(truth.sizes), details, _notes(truth, found)
    )


def _new_metric(task: str, iou: str) -> AveragePrecision:
    if task == "keypoints":
        return KeypointAP()
    if iou not in ("segm", "bbox"):
        raise ValueError(f"--iou {iou} is not possible; expected segm (masks) or bbox (boxes).")
    return InstanceAP() if iou == "segm" else BoxAP()


def _notes(truth: Truth, found: Objects) -> tuple[str, ...]:
    count = sum(map(len, found.values()))
    labelled = [entry for entries in truth.objects.values() for entry in entries]
    crowds = sum(entry["iscrowd"] for entry in labelled)
    notes = [f"{count} detections against {len(labelled)} annotated objects, {crowds} of them crowds."]
    absent = [image_id for image_id in truth.sizes if image_id not in found]
    if absent:
        shown = ", ".join(str(image_id) for image_id in absent[:5]) + (", ..." if len(absent) > 5 else "")
        notes.append(
            f"{len(absent)} of {len(truth.sizes)} images have no detection (image ids {shown}); this is legal, and "
            "their objects count as missed."
        )
    return tuple(notes)


def read_truth(path: Path, geometry: str) -> Truth:
    """Read an annotation file.

    Args:
        path: JSON file.
        geometry: what is compared: segmentation, keypoints or bbox.

    Raises:
        DataFileError: as in `score_detections`.
    """
    lists = read_annotation_lists(path, "ground truth", "annotations")
    images = list(decode_all(path, "images", lists.images, Image))
    categories = [category.id for category in decode_all(path, "categories", lists.categories, Category)]
    annotations = list(decode_all(path, "annotations", lists.annotations, Annotation))
    require_each_once(path, "images", [image.id for image in images])
    require_each_once(path, "categories", categories)
    require_each_once(path, "annotations", [annotation.id for annotation in annotations])
    sizes = {image.id: (image.height, image.width) for image in sorted(images, key=lambda image: image.id)}
    truth = Truth(sizes, frozenset(categories), {})
    return Truth(sizes, truth.categories, _by_image(path, "annotations", annotations, truth, geometry))


def read_results(path: Path, truth: Truth, geometry: str) -> Objects:
    """Read a results file; arguments and errors as in `read_truth`, and `truth` says what ids may occur."""
    results = list(decode_all(path, "", read_results_list(path), Result))
    found = _by_image(path, "", results, truth, geometry)
    seen: dict[bytes, int] = {}
    for index, result in enumerate(results):
        first = seen.setdefault(msgspec.json.encode(result), index)
        if first != index:
            raise ScoreFileError(
                f"{path}, {entry_place('', index)}: the same detection as entry {first}. Write each once; were two "
                "files joined?"
            )
    return found


def _by_image(
    path: Path, list_name: str, entries: Iterable[Annotation | Result], truth: Truth, geometry: str
) -> Objects:
    found: defaultdict[int, list[Entry]] = defaultdict(list)
    for index, entry in enumerate(entries):
        place = entry_place(list_name, index)
        _require_known(f"{path}, {place}", entry, truth)
        if getattr(entry, geometry) in ABSENT:
            instead = " For boxes alone pass --iou bbox." if geometry == "segmentation" else ""
            raise ScoreFileError(f"{path}, {place}: {geometry} is missing. {HINTS[geometry]}{instead}")
        fields: Entry = {"category_id": entry.category_id, "bbox": list(entry.bbox or (0.0,) * 4)}
        if isinstance(entry, Annotation):
            fields |= {"area": entry.area, "iscrowd": int(entry.iscrowd)}
        else:
            fields["score"] = entry.score
        if geometry == "segmentation":
            fields["segmentation"] = _mask(path, place, entry, truth.sizes[entry.image_id])
        if geometry == "keypoints" and entry.keypoints is not None:
            fields |= {"keypoints": entry.keypoints, "num_keypoints": sum(seen > 0 for seen in entry.keypoints[2::3])}
        found[entry.image_id].append(fields)
    return dict(found)


def _mask(path: Path, place: str, entry: Annotation | Result, size: Size) -> Entry:
    """Return the mask of an entry as compressed run lengths, read by the same rules as in a data set."""
    segmentation = decode_segmentation(path, place, entry.segmentation)
    if isinstance(entry, Result) and not segmentation:
        raise ScoreFileError(f"{path}, {place}: segmentation is empty. For boxes alone pass --iou bbox.")
    try:
        return {"size": list(size), "counts": compressed_mask(segmentation, size)}
    except SegmentationError as error:
        raise ScoreFileError(f"{path}, {place} (image {entry.image_id}): {error}. {HINTS['segmentation']}") from error


def _require_known(place: str, entry: Annotation | Result, truth: Truth) -> None:
    if entry.image_id not in truth.sizes:
        raise ScoreFileError(
            f"{place}: image_id {entry.image_id} is not among the {len(truth.sizes)} images of the ground truth. Leave "
            "out other images, or give the ground truth they belong to."
        )
    if entry.category_id not in truth.categories:
        known = ", ".join(str(number) for number in sorted(truth.categories)[:8])
        raise ScoreFileError(
            f"{place}: category_id {entry.category_id} is not among the {len(truth.categories)} categories of the "
            f"ground truth ({known}{', ...' if len(truth.categories) > 8 else ''}). Write the ids of that file, not "
            "indices of a model's outputs."
        )
