"""Panoptic quality, with its two factors, over all classes, things and stuff."""

from collections.abc import Mapping, Sequence

import numpy as np
from fmtl_datasets.shared.objects import PanopticSegments

from client_app.metrics.base import Metric, MetricUnavailable
from client_app.metrics.coco.segment_matching import Floats, SegmentMap, match_segments, segment_map
from client_app.pictures.detections import PanopticOutput


class PanopticQuality(Metric):
    """PQ in percent: sum of IoU over matched segments / (TP + FP/2 + FN/2) for each class, mean over classes.

    Classes that are neither labelled nor predicted are left out of the mean, as in panopticapi. PQ = SQ x RQ holds for
    each class, not for the means.

    Args:
        num_classes: things and stuff together.
        num_things: how many of them, the first ones, are things.

    Raises:
        ValueError: a setting outside these values.
    """

    name = "PQ"
    higher_is_better = True

    def __init__(self, num_classes: int, num_things: int) -> None:
        if not 0 <= num_things <= num_classes or num_classes < 1:
            raise ValueError(
                f"num_classes = {num_classes} and num_things = {num_things}: expected at least one class, and from 0 "
                "to that many things."
            )
        super().__init__()
        zeros = np.zeros(num_classes, dtype=np.int64)
        self._add(iou=zeros.astype(np.float64), true_positives=zeros, false_positives=zeros, false_negatives=zeros)
        self.num_classes = num_classes
        self.num_things = num_things

    def update(self, prediction: PanopticOutput, label: Sequence[PanopticSegments]) -> None:
        """Add one batch: the output of a panoptic head, and the label of each image.

        Raises:
            ValueError: another number or size of images, or segments that do not fit their map.
        """
        found = prediction.segments()
        if len(found) != len(label):
            raise ValueError(f"PQ: the model gave segments of {len(found)} images, but there are {len(label)} labels.")
        for predicted, labelled in zip(found, label, strict=True):
            self.add_image(segment_map(predicted), segment_map(labelled))

    def add_image(self, predicted: SegmentMap, labelled: SegmentMap) -> None:
        """Add one image; errors as in `match_segments`."""
        self._add(**match_segments(predicted, labelled, self.num_classes))

    def class_quality(self) -> dict[str, Floats]:
        """Return "PQ", "SQ" and "RQ" for each class (C,), percent; NaN for a class neither labelled nor predicted.

        SQ of a class without a matched pair is 0.
        """
        pairs = self.counter("true_positives").astype(np.float64)
        weight = pairs + (self.counter("false_positives") + self.counter("false_negatives")) / 2
        seen = weight > 0
        iou = self.counter("iou")
        segmentation = np.divide(iou, pairs, out=np.where(seen, 0.0, np.nan), where=pairs > 0)
        recognition = np.divide(pairs, weight, out=np.full_like(weight, np.nan), where=seen)
        quality = np.divide(iou, weight, out=np.full_like(weight, np.nan), where=seen)
        return {"PQ": 100.0 * quality, "SQ": 100.0 * segmentation, "RQ": 100.0 * recognition}

    def compute(self) -> float:
        """Return PQ over all classes in percent.

        Raises:
            MetricUnavailable: no segment that counts was labelled.
        """
        value = self.details()["PQ"]
        assert value is not None
        return value

    def details(self) -> Mapping[str, float | None]:
        """Return PQ, SQ and RQ over all classes, over things ("PQ_th" and so on) and over stuff ("PQ_st"), in percent.

        Raises:
            MetricUnavailable: no segment that counts was labelled.
        """
        if not (self.counter("true_positives").any() or self.counter("false_negatives").any()):
            raise MetricUnavailable("PQ: the labels hold no segment that counts (crowds and void do not).")
        quality = self.class_quality()
        things, stuff = slice(0, self.num_things), slice(self.num_things, None)
        parts = (("", slice(None)), ("_th", things), ("_st", stuff))
        return {f"{key}{ending}": _mean(values[part]) for ending, part in parts for key, values in quality.items()}


def _mean(values: Floats) -> float | None:
    """Return the mean over classes that were seen, None without any."""
    seen = values[~np.isnan(values)]
    return float(seen.mean()) if len(seen) else None
