"""What an odsF value depends on beside the data: published values differ by these settings as much as by models."""

from dataclasses import dataclass
from typing import Literal, get_args

Comparison = Literal[">=", ">"]
Rounding = Literal["truncate", "round", "none"]

STANDARD_THRESHOLDS = 99
PASCAL_MAX_DISTANCE = 0.0075


@dataclass(frozen=True)
class EdgeProtocol:
    """Settings of the boundary evaluation; the defaults are the benchmark pipeline for PASCAL-Context.

    The first four are the knobs by which re-implementations differ (a user measured 1 point between two of them).

    Attributes:
        smoothing: smooth the probability with a triangle filter of radius 1 before suppression.
        nms_radius: how far, in pixels, non-maximum suppression looks along the gradient; 0 leaves out suppression,
            smoothing and border fade.
        comparison: whether a pixel exactly at the threshold is predicted (">=") or not (">").
        rounding: how 255 * probability becomes the 8-bit value that goes into suppression: "truncate" (numpy's cast,
            what saving a PNG does in the PyTorch code bases), "round", or "none" (nothing is stored in 8 bits, neither
            before nor after suppression). What suppression returns is rounded, as MATLAB's uint8 does.
        max_distance: furthest allowed match as a fraction of the image diagonal: 0.0075 for PASCAL-Context and BSDS,
            0.011 for NYUD-v2.
        thresholds: how many, equally spaced in (0, 1). 99 is the benchmark; any other number reports another metric
            name (see `metric_name`) because the values cannot be compared.
        thin_ground_truth: thin the annotation first; right for label-map boundaries, a no-op for thin drawings.
        workers: processes that share the images; 0 computes in the calling process, as needed inside a Ray actor.

    Raises:
        ValueError: a setting is out of range.
    """

    smoothing: bool = True
    nms_radius: int = 4
    comparison: Comparison = ">="
    rounding: Rounding = "truncate"
    max_distance: float = PASCAL_MAX_DISTANCE
    thresholds: int = STANDARD_THRESHOLDS
    thin_ground_truth: bool = True
    workers: int = 0

    def __post_init__(self) -> None:
        """Check every setting, naming the one that is wrong."""
        checks = (
            ("nms_radius", self.nms_radius >= 0, "0 (no suppression) or a radius in pixels; the benchmark uses 4"),
            ("comparison", self.comparison in get_args(Comparison), "one of " + ", ".join(get_args(Comparison))),
            ("rounding", self.rounding in get_args(Rounding), "one of " + ", ".join(get_args(Rounding))),
            ("max_distance", 0 < self.max_distance < 1, "a fraction of the diagonal, for example 0.0075 or 0.011"),
            ("thresholds", 1 <= self.thresholds <= 254, "1 to 254; 99 is the benchmark"),
            ("workers", self.workers >= 0, "0 (in this process) or a number of processes"),
        )
        for name, valid, expected in checks:
            if not valid:
                raise ValueError(f"Edge setting {name} = {getattr(self, name)!r} is not possible; expected {expected}.")

    @property
    def metric_name(self) -> str:
        """The name to report: "odsF" for 99 thresholds, else for example "odsF@9", which is never comparable."""
        return "odsF" if self.thresholds == STANDARD_THRESHOLDS else f"odsF@{self.thresholds}"
