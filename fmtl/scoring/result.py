"""How files are scored, and what is found."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

from fmtl_datasets.shared.source import DataFileError

from client_app.metrics.edge.protocol import EdgeProtocol


class ScoreFileError(DataFileError):
    """A file to score is missing, unreadable, or does not hold what the task needs; the message names it."""


@dataclass(frozen=True)
class ScoreOptions:
    """How files are read and scored.

    Attributes:
        num_classes: classes of semseg and stuff (needed) and parts (7 if None).
        ignore: ground-truth value of pixels to leave out; None for 255 in class labels and for none in the 0 / 255
            masks of saliency and edge.
        depth_scale: units of a 16-bit depth PNG per metre.
        edge: settings of odsF.
        iou: what of an instance is compared: its mask (segm) or its box (bbox).
        prediction_folder: folder of a panoptic prediction's PNG files; None for the JSON file's path without ending.
        truth_folder: the same for the ground truth.
    """

    num_classes: int | None = None
    ignore: int | None = None
    depth_scale: float = 1000.0
    edge: EdgeProtocol = field(default_factory=EdgeProtocol)
    iou: str = "segm"
    prediction_folder: Path | None = None
    truth_folder: Path | None = None


@dataclass(frozen=True)
class ScoreResult:
    """What scoring found.

    Attributes:
        task: task name.
        metric: metric name, for example "mIoU".
        unit: of `value`.
        higher_is_better: direction of the metric.
        value: the score; None where it could not be computed.
        missing_reason: why `value` is None; None where it is not.
        images: number of images in the ground truth.
        details: further numbers by name, None for one without a value (edge: threshold, precision and recall at the
            best threshold as fractions; instance, keypoints, panoptic and mIoU: in percent).
        notes: what a reader of the score should know, as sentences.
        extra_predictions: names of prediction files without ground truth; they are not scored.
    """

    task: str
    metric: str
    unit: str
    higher_is_better: bool
    value: float | None
    missing_reason: str | None
    images: int
    details: Mapping[str, float | None] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    extra_predictions: tuple[str, ...] = ()

    def as_json(self) -> dict[str, object]:
        """Return the result as values that JSON can hold."""
        return {
            **asdict(self),
            "details": dict(self.details),
            "notes": list(self.notes),
            "extra_predictions": list(self.extra_predictions),
        }
