"""Tasks with a value for every pixel: a folder of predictions against a folder of ground truth."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from client_app.metrics.base import Metric, MetricUnavailable
from client_app.metrics.edge.counts import EdgeImage
from client_app.metrics.edge.ods import OdsF
from client_app.metrics.max_f import MaxF
from client_app.metrics.mean_iou import MeanIoU
from client_app.metrics.pixel_errors import DepthRMSE, MeanAngle
from fmtl.scoring.image_files import (
    IMAGE_SUFFIXES,
    read_annotators,
    read_classes,
    read_depth,
    read_eight_bits,
    read_mask,
    read_normals,
)
from fmtl.scoring.result import ScoreFileError, ScoreOptions, ScoreResult

IGNORE_LABEL = 255
PARTS_CLASSES = 7
CLASS_LABELS = ("semseg", "parts", "stuff")
SUFFIXES: Mapping[str, tuple[str, ...]] = {
    "semseg": (".png",),
    "parts": (".png",),
    "stuff": (".png",),
    "saliency": (".png",),
    "normals": (*IMAGE_SUFFIXES, ".npy"),
    "depth": (".png", ".npy"),
    "edge": (".png", ".mat"),
}
"""File name endings that are read for each task."""


def files_by_stem(folder: Path, suffixes: tuple[str, ...], role: str) -> dict[str, Path]:
    """Return the files of a folder by name without ending, sorted.

    Args:
        folder: to look in, not below.
        suffixes: endings that count, in lower case.
        role: "predictions" or "ground truth", for messages.

    Raises:
        ScoreFileError: no such folder, no such file in it, or two files that differ in their ending only.
    """
    if not folder.is_dir():
        found_instead = "is a file; expected a folder" if folder.is_file() else "does not exist"
        raise ScoreFileError(f"The folder of {role} {folder} {found_instead}.")
    found: dict[str, Path] = {}
    for path in sorted(folder.iterdir()):
        if path.suffix.lower() not in suffixes or path.name.startswith("."):
            continue
        if path.stem in found:
            raise ScoreFileError(f"{found[path.stem]} and {path} are both {role} of {path.stem}; keep one.")
        found[path.stem] = path
    if not found:
        raise ScoreFileError(f"{folder} holds no {role}: expected files ending in {', '.join(suffixes)}.")
    return found


def pair_files(task: str, predictions: Path, ground_truth: Path) -> tuple[list[tuple[Path, Path]], tuple[str, ...]]:
    """Pair prediction and ground truth by name without ending.

    Returns:
        (prediction, ground truth) of every ground-truth file, and the names of predictions without ground truth.

    Raises:
        ScoreFileError: a ground-truth file has no prediction, or as in `files_by_stem`.
    """
    truths = files_by_stem(ground_truth, SUFFIXES[task], "ground truth")
    prediction_suffixes = tuple(suffix for suffix in SUFFIXES[task] if suffix != ".mat")
    predicted = files_by_stem(predictions, prediction_suffixes, "predictions")
    missing = [truth for stem, truth in truths.items() if stem not in predicted]
    if missing:
        others = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
        raise ScoreFileError(
            f"There is no prediction for {missing[0]}{others}; expected {missing[0].stem} with one of "
            f"{', '.join(prediction_suffixes)} in {predictions}."
        )
    extra = tuple(path.name for stem, path in predicted.items() if stem not in truths)
    return [(predicted[stem], truth) for stem, truth in truths.items()], extra


def score_directory(
    task: str, predictions: Path, ground_truth: Path, options: ScoreOptions | None = None
) -> ScoreResult:
    """Score all files of a folder.

    Args:
        task: semseg, parts, stuff, saliency, normals, depth or edge.
        predictions: folder of prediction files, named like the ground truth.
        ground_truth: folder of ground-truth files; every one is scored.
        options: None for the defaults.

    Returns:
        The score; a value that cannot be computed is None, with the reason.

    Raises:
        ScoreFileError: files are missing, differ in size, or do not hold what the task needs.
        ValueError: an unknown task, or a setting that the task needs.
    """
    options = options if options is not None else ScoreOptions()
    if task not in SUFFIXES:
        raise ValueError(f"Task {task!r} cannot be scored from files; expected one of {', '.join(SUFFIXES)}.")
    if not (math.isfinite(options.depth_scale) and options.depth_scale > 0):
        raise ValueError(
            f"--depth-scale {options.depth_scale:g} is not possible; expected units per metre, a finite number above 0."
        )
    metric = _new_metric(task, options)
    pairs, extra = pair_files(task, predictions, ground_truth)
    if isinstance(metric, OdsF):
        metric.add_images(_edge_images(pairs, options.ignore))
    else:
        read = _reader(task, options)
        for prediction_path, truth_path in pairs:
            prediction, label = read(prediction_path, truth_path)
            _require_same_size(prediction_path, truth_path, prediction.shape[-2:], label.shape[-2:])
            if isinstance(metric, MeanIoU):
                metric.add_classes(prediction, label)
            else:
                metric.update(prediction[None], label[None])
    return _result(task, metric, len(pairs), extra)


def _new_metric(task: str, options: ScoreOptions) -> Metric:
    if task == "edge":
        return OdsF(options.edge)
    if task in CLASS_LABELS:
        return MeanIoU(_class_count(task, options))
    others: Mapping[str, Callable[[], Metric]] = {"saliency": MaxF, "normals": MeanAngle, "depth": DepthRMSE}
    return others[task]()


def _class_count(task: str, options: ScoreOptions) -> int:
    if options.num_classes is not None:
        return options.num_classes
    if task == "parts":
        return PARTS_CLASSES
    example = "54 for COCO's stuff with one class for all things" if task == "stuff" else "40 for NYUD-v2"
    raise ValueError(f"Scoring {task} needs the number of classes: pass --num-classes, for example {example}.")


def _reader(task: str, options: ScoreOptions) -> Callable[[Path, Path], tuple[Tensor, Tensor]]:
    """Return the function that reads one pair: (C, H, W) or classes (H, W), and the label as the metric takes it."""
    if task in CLASS_LABELS:
        ignore = IGNORE_LABEL if options.ignore is None else options.ignore
        return partial(_read_classes, num_classes=_class_count(task, options), ignore=ignore)
    if task == "saliency":
        return partial(_read_saliency, ignore=options.ignore)
    if task == "normals":
        return lambda prediction, truth: (
            torch.from_numpy(read_normals(prediction)),
            torch.from_numpy(read_normals(truth)),
        )
    scale = options.depth_scale
    return lambda prediction, truth: (
        torch.from_numpy(read_depth(prediction, scale))[None],
        torch.from_numpy(read_depth(truth, scale))[None],
    )


def _read_classes(prediction: Path, truth: Path, *, num_classes: int, ignore: int) -> tuple[Tensor, Tensor]:
    label = torch.from_numpy(read_classes(truth))
    label[label == ignore] = IGNORE_LABEL
    predicted = torch.from_numpy(read_classes(prediction))
    _require_same_size(prediction, truth, predicted.shape, label.shape)
    for path, classes in ((truth, label[label != IGNORE_LABEL]), (prediction, predicted[label != IGNORE_LABEL])):
        if classes.numel() and int(classes.max()) >= num_classes:
            raise ScoreFileError(
                f"{path} has the class {int(classes.max())}; expected 0 to {num_classes - 1} where the ground truth is "
                "known. Check --num-classes and --ignore."
            )
    return predicted, label


def _read_saliency(prediction: Path, truth: Path, *, ignore: int | None) -> tuple[Tensor, Tensor]:
    probability = torch.from_numpy(read_eight_bits(prediction).astype(np.float64)) / 255.0
    # The metric takes logits; the tiny push keeps a value exactly at a threshold above it after log and softmax.
    logit = torch.logit(probability, eps=1e-9) + 1e-9
    return torch.stack([torch.zeros_like(logit), logit]), torch.from_numpy(read_mask(truth, ignore))


def _edge_images(pairs: list[tuple[Path, Path]], ignore: int | None) -> Iterator[EdgeImage]:
    for prediction_path, truth_path in pairs:
        probability = read_eight_bits(prediction_path)
        annotators, valid = read_annotators(truth_path, ignore)
        _require_same_size(prediction_path, truth_path, probability.shape, annotators.shape[1:])
        yield EdgeImage(probability, annotators, valid)


def _require_same_size(prediction: Path, truth: Path, found: tuple[int, ...], expected: tuple[int, ...]) -> None:
    if tuple(found) != tuple(expected):
        raise ScoreFileError(
            f"{prediction} has {found[0]} rows and {found[1]} columns, but its ground truth {truth} has {expected[0]} "
            f"and {expected[1]}. Save predictions at the size of the ground truth."
        )


def _result(task: str, metric: Metric, images: int, extra: tuple[str, ...]) -> ScoreResult:
    value: float | None = None
    reason: str | None = None
    details: dict[str, float | None] = {}
    try:
        value = metric.compute()
        if isinstance(metric, OdsF):
            best = metric.best()
            details = {"threshold": best.threshold, "precision": best.precision, "recall": best.recall}
        elif isinstance(metric, MeanIoU):
            details = _class_details(metric)
    except MetricUnavailable as error:
        reason = str(error)
    direction = metric.higher_is_better
    return ScoreResult(
        task, metric.name, metric.unit, direction, value, reason, images, details, _class_notes(metric), extra
    )


def _class_details(metric: MeanIoU) -> dict[str, float | None]:
    """Return mIoU over the classes that are labelled or predicted anywhere, beside the one over all classes."""
    return {"mIoU of classes seen": float(np.nanmean(metric.class_iou()))}


def _class_notes(metric: Metric) -> tuple[str, ...]:
    if not isinstance(metric, MeanIoU):
        return ()
    seen = int((~np.isnan(metric.class_iou())).sum())
    return (f"{seen} of {metric.num_classes} classes are labelled or predicted; mIoU counts the others as 0.",)
