"""Instances and keypoints: COCO's results files against its annotation files."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from client_app.metrics.base import MetricUnavailable
from client_app.metrics.coco import BoxAP, InstanceAP, KeypointAP
from client_app.metrics.coco.average_precision import AveragePrecision, Entry
from fmtl.scoring.json_files import (
    HINTS,
    Annotation,
    AnnotationFile,
    Result,
    entry_place,
    parsed,
    read_json,
    require_format,
)
from fmtl.scoring.result import ScoreFileError, ScoreOptions, ScoreResult
from fmtl.scoring.run_lengths import MaskError, compressed_mask

Size = tuple[int, int]
FIELDS: Mapping[str | None, str] = {"masks": "segmentation", "keypoints": "keypoints", None: "bbox"}
"""Field of a COCO file that holds the geometry a metric compares."""


GEOMETRIES: Mapping[str, str | None] = {"segm": "masks", "keypoints": "keypoints", "bbox": None}


@dataclass(frozen=True)
class Objects:
    """The entries of a COCO file for one image, with their masks where those are compared."""

    entries: list[Annotation | Result]
    masks: list[bytes]


@dataclass(frozen=True)
class Truth:
    """An annotation file.

    Attributes:
        sizes: height and width of every image by its id, in order of the ids.
        categories: all category ids.
        objects: what is annotated, by image id.
    """

    sizes: Mapping[int, Size]
    categories: frozenset[int]
    objects: Mapping[int, Objects]


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
        ScoreFileError: a file is missing or malformed; the message names file, entry and field.
        ValueError: an unknown setting.
    """
    metric = _new_metric(task, options.iou)
    geometry = GEOMETRIES[metric.iou_type]
    truth = read_truth(ground_truth, geometry)
    found = read_results(predictions, truth, geometry)
    nothing = Objects([], [])
    for image_id, size in truth.sizes.items():
        metric.add_image(
            size,
            _entries(found.get(image_id, nothing), geometry, size),
            _entries(truth.objects.get(image_id, nothing), geometry, size),
        )
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


def _notes(truth: Truth, found: Mapping[int, Objects]) -> tuple[str, ...]:
    count = sum(len(objects.entries) for objects in found.values())
    labelled = [entry for objects in truth.objects.values() for entry in objects.entries]
    crowds = sum(isinstance(entry, Annotation) and entry.iscrowd == 1 for entry in labelled)
    notes = [f"{count} detections against {len(labelled)} annotated objects, {crowds} of them crowds."]
    absent = [image_id for image_id in truth.sizes if image_id not in found]
    if absent:
        shown = ", ".join(str(image_id) for image_id in absent[:5]) + (", ..." if len(absent) > 5 else "")
        notes.append(
            f"{len(absent)} of {len(truth.sizes)} images have no detection (image ids {shown}); this is legal, and "
            "their objects count as missed."
        )
    return tuple(notes)


def read_truth(path: Path, geometry: str | None) -> Truth:
    """Read an annotation file.

    Args:
        path: JSON file.
        geometry: "masks", "keypoints", or None for boxes alone.

    Raises:
        ScoreFileError: as in `score_detections`.
    """
    content = read_json(path, "ground truth")
    require_format(path, content, "annotations")
    file: AnnotationFile = parsed(path, content, AnnotationFile)
    for field, numbers in (
        ("images", [image.id for image in file.images]),
        ("categories", [category.id for category in file.categories]),
        ("annotations", [annotation.id for annotation in file.annotations]),
    ):
        require_each_once(path, field, numbers)
    sizes = {image.id: (image.height, image.width) for image in sorted(file.images, key=lambda image: image.id)}
    categories = frozenset(category.id for category in file.categories)
    objects = _by_image(path, "annotations", file.annotations, Truth(sizes, categories, {}), geometry)
    return Truth(sizes, categories, objects)


def read_results(path: Path, truth: Truth, geometry: str | None) -> dict[int, Objects]:
    """Read a results file; arguments and errors as in `read_truth`, and `truth` says what ids may occur."""
    content = read_json(path, "predictions")
    require_format(path, content, "results")
    results: list[Result] = parsed(path, content, list[Result])
    found = _by_image(path, "", results, truth, geometry)
    _refuse_repeated(path, results)
    return found


def require_each_once(path: Path, field: str, numbers: Sequence[int]) -> None:
    """Raise ScoreFileError if an id occurs twice."""
    seen: dict[int, int] = {}
    for index, number in enumerate(numbers):
        if number in seen:
            raise ScoreFileError(
                f"{path}, {field}[{index}]: the id {number} is that of {field}[{seen[number]}] too; give each its own."
            )
        seen[number] = index


def _by_image(
    path: Path, field: str, entries: Iterable[Annotation | Result], truth: Truth, geometry: str | None
) -> dict[int, Objects]:
    """Return entries and their masks by image id, in the order of the file."""
    found: defaultdict[int, Objects] = defaultdict(lambda: Objects([], []))
    for index, entry in enumerate(entries):
        place = f"{path}, {entry_place(field, index)}"
        _require_known(place, entry, truth)
        if getattr(entry, FIELDS[geometry]) is None:
            raise ScoreFileError(f"{place}: {FIELDS[geometry]} is missing. {HINTS[FIELDS[geometry]]}")
        objects = found[entry.image_id]
        if geometry == "masks":
            try:
                objects.masks.append(compressed_mask(entry.segmentation, truth.sizes[entry.image_id]))
            except MaskError as error:
                raise ScoreFileError(
                    f"{place}: the segmentation (image {entry.image_id}) {error}. {HINTS['segmentation']}"
                ) from error
        objects.entries.append(entry)
    return dict(found)


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


def _refuse_repeated(path: Path, results: Sequence[Result]) -> None:
    seen: dict[str, int] = {}
    for index, result in enumerate(results):
        key = repr(result)
        if key in seen:
            raise ScoreFileError(
                f"{path}, {entry_place('', index)}: the same detection of image {result.image_id} as entry "
                f"{seen[key]}. Write each once; were two files joined?"
            )
        seen[key] = index


def _entries(objects: Objects, geometry: str | None, size: Size) -> list[Entry]:
    """Return the entries of an image as the metric wants them."""
    masks: Sequence[bytes | None] = objects.masks or [None] * len(objects.entries)
    entries = []
    for entry, mask in zip(objects.entries, masks, strict=True):
        fields: Entry = {"category_id": entry.category_id, "bbox": entry.bbox or [0.0] * 4}
        if isinstance(entry, Annotation):
            fields |= {"area": entry.area, "iscrowd": entry.iscrowd}
        else:
            fields["score"] = entry.score
        if mask is not None:
            fields["segmentation"] = {"size": list(size), "counts": mask}
        if geometry == "keypoints" and entry.keypoints is not None:
            fields |= {"keypoints": entry.keypoints, "num_keypoints": sum(seen > 0 for seen in entry.keypoints[2::3])}
        entries.append(fields)
    return entries
