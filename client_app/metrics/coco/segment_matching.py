"""Matching the segments of two panoptic maps of one image (Kirillov et al. 2019, void and crowds as in panopticapi)."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from fmtl_datasets.shared.objects import PanopticSegments

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]
Counts = dict[str, Floats | Integers]


@dataclass(frozen=True)
class SegmentMap:
    """A panoptic map in numpy.

    Attributes:
        ids: (h, w) int64, the segment of each pixel, 0 for void.
        segment_ids: (s,) int64, each once and none 0.
        classes: (s,) int64, from 0.
        crowd: (s,) bool; of no meaning in a prediction.
    """

    ids: Integers
    segment_ids: Integers
    classes: Integers
    crowd: npt.NDArray[np.bool_]


def segment_map(segments: PanopticSegments) -> SegmentMap:
    """Return a panoptic label or prediction in numpy."""
    return SegmentMap(
        ids=segments.ids.cpu().numpy().astype(np.int64),
        segment_ids=segments.segment_ids.cpu().numpy().astype(np.int64),
        classes=segments.classes.cpu().numpy().astype(np.int64),
        crowd=segments.crowd.cpu().numpy().astype(np.bool_),
    )


def match_segments(predicted: SegmentMap, labelled: SegmentMap, num_classes: int) -> Counts:
    """Match the segments of one image and count them by class.

    Two segments of the same class are a pair if their IoU is above 0.5, which at most one can be. Void pixels of the
    label are left out of the union. A predicted segment without a pair is not counted as false if more than half of it
    lies on void and on crowds of its own class; a labelled crowd is never counted.

    Args:
        predicted: the prediction.
        labelled: the label, of the same size.
        num_classes: C, above every class.

    Returns:
        By class: `iou`, (C,) float64, the sum over matched pairs; (C,) int64 `true_positives`, matched pairs,
        `false_positives`, predicted segments without a pair, and `false_negatives`, labelled ones.

    Raises:
        ValueError: sizes differ, or a list of segments does not fit its map or the classes.
    """
    if predicted.ids.shape != labelled.ids.shape:
        raise ValueError(
            f"The predicted map is {predicted.ids.shape} and the labelled one {labelled.ids.shape} (height, width); "
            "give the prediction at the size of the label."
        )
    overlap = _overlaps(predicted, labelled)
    for role, segments, areas in (
        ("predicted", predicted, overlap.sum(axis=0)),
        ("labelled", labelled, overlap.sum(axis=1)),
    ):
        _check_classes(role, segments, num_classes)
        if not areas[1:].all():
            empty = segments.segment_ids[areas[1:] == 0]
            raise ValueError(
                f"The {role} segment {empty[0]} is listed but has no pixel; leave out segments that have vanished."
            )
    return _count(predicted, labelled, overlap, num_classes)


def _count(predicted: SegmentMap, labelled: SegmentMap, overlap: Integers, num_classes: int) -> Counts:
    """Count by class, given the pixels (1 + labelled, 1 + predicted) that two segments share, void first."""
    shared, on_void = overlap[1:, 1:], overlap[0, 1:]
    predicted_area, labelled_area = overlap[:, 1:].sum(axis=0), overlap[1:].sum(axis=1)
    same_class = labelled.classes[:, None] == predicted.classes[None]
    union = predicted_area[None] + labelled_area[:, None] - shared - on_void[None]
    # In whole numbers, so that an IoU of exactly one half is never a pair.
    pair = same_class & ~labelled.crowd[:, None] & (2 * shared > union)
    missed = ~pair.any(axis=1) & ~labelled.crowd
    on_crowd = (shared * (same_class & labelled.crowd[:, None])).sum(axis=0)
    false = ~pair.any(axis=0) & (2 * (on_void + on_crowd) <= predicted_area)
    rows, columns = np.nonzero(pair)
    pair_classes = labelled.classes[rows]
    iou = np.bincount(pair_classes, shared[rows, columns] / union[rows, columns], num_classes)
    return {
        "iou": np.asarray(iou, np.float64),
        "true_positives": np.bincount(pair_classes, minlength=num_classes),
        "false_positives": np.bincount(predicted.classes[false], minlength=num_classes),
        "false_negatives": np.bincount(labelled.classes[missed], minlength=num_classes),
    }


def _overlaps(predicted: SegmentMap, labelled: SegmentMap) -> Integers:
    """Return (1 + labelled segments, 1 + predicted segments) shared pixels; index 0 is void."""
    rows, columns = _positions("labelled", labelled), _positions("predicted", predicted)
    width = len(predicted.segment_ids) + 1
    counts = np.bincount((rows * width + columns).ravel(), minlength=(len(labelled.segment_ids) + 1) * width)
    return counts.reshape(-1, width)


def _positions(role: str, segments: SegmentMap) -> Integers:
    """Return (h, w), for each pixel 0 where it is void, else 1 + the position of its segment in the list."""
    known = np.concatenate([[0], segments.segment_ids])
    order = np.argsort(known, kind="stable")
    ordered = known[order]
    if (ordered[1:] == ordered[:-1]).any():
        raise ValueError(f"The {role} segments {sorted(segments.segment_ids.tolist())} hold an identifier twice, or 0.")
    found = np.searchsorted(ordered, segments.ids).clip(max=len(ordered) - 1)
    unknown = ordered[found] != segments.ids
    if unknown.any():
        raise ValueError(
            f"The {role} map has pixels of segment {segments.ids[unknown][0]}, which is not in its list of segments."
        )
    return np.asarray(order[found], dtype=np.int64)


def _check_classes(role: str, segments: SegmentMap, num_classes: int) -> None:
    outside = segments.classes[(segments.classes < 0) | (segments.classes >= num_classes)]
    if len(outside):
        raise ValueError(f"A {role} segment has the class {outside[0]}; expected 0 to {num_classes - 1}.")
