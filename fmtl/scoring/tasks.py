"""Which files each task is scored from."""

from __future__ import annotations

from pathlib import Path

from fmtl_datasets.shared.conventions import TASKS

from fmtl.scoring.dense import score_directory
from fmtl.scoring.detections import score_detections
from fmtl.scoring.panoptic import score_panoptic
from fmtl.scoring.result import ScoreOptions, ScoreResult


def score(task: str, predictions: Path, ground_truth: Path, options: ScoreOptions | None = None) -> ScoreResult:
    """Score files of any task.

    Args:
        task: one of `fmtl_datasets.shared.conventions.TASKS`.
        predictions: a results file in COCO's format (instance, keypoints), a panoptic JSON file, or else a folder.
        ground_truth: an annotation file in COCO's format, a panoptic JSON file, or else a folder.
        options: None for the defaults.

    Returns:
        The score; a value that cannot be computed is None, with the reason.

    Raises:
        ScoreFileError: files are missing, do not fit together, or do not hold what the task needs.
        ValueError: an unknown task, or a setting that the task needs.
    """
    options = options if options is not None else ScoreOptions()
    if task not in TASKS:
        raise ValueError(f"Task {task!r} cannot be scored from files; expected one of {', '.join(TASKS)}.")
    if task in ("instance", "keypoints"):
        return score_detections(task, predictions, ground_truth, options)
    if task == "panoptic":
        return score_panoptic(predictions, ground_truth, options)
    return score_directory(task, predictions, ground_truth, options)
