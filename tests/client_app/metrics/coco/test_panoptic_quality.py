"""PQ: hand cases, the void and crowd rules, and a restatement with sets of pixels."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from errors import naming
from fmtl_datasets.shared.objects import PanopticSegments
from perturbed_coco import Json, spoiled_segments

from client_app.metrics.base import MetricUnavailable
from client_app.metrics.coco.panoptic import PanopticQuality

Ids = npt.NDArray[np.int64]
Pair = tuple[PanopticSegments, PanopticSegments]
THINGS, CLASSES = 3, 5


class Output:
    """What a panoptic head returns, as far as a metric sees it."""

    def __init__(self, found: Sequence[PanopticSegments]) -> None:
        self.found = list(found)

    def segments(self) -> list[PanopticSegments]:
        return self.found


def segments(ids: Any, classes: dict[int, int], crowd: Sequence[int] = ()) -> PanopticSegments:
    return PanopticSegments(
        ids=torch.as_tensor(np.asarray(ids), dtype=torch.int32),
        segment_ids=torch.tensor(list(classes), dtype=torch.int64),
        classes=torch.tensor(list(classes.values()), dtype=torch.int64),
        crowd=torch.tensor([number in crowd for number in classes], dtype=torch.bool),
    )


def quality(found: PanopticSegments, truth: PanopticSegments) -> PanopticQuality:
    metric = PanopticQuality(CLASSES, THINGS)
    metric.update(Output([found]), [truth])
    return metric


def restated(pairs: Sequence[Pair], classes: int) -> Ids:
    """Sum of IoU, pairs, false and missed segments per class (classes, 4), with sets of pixels, one rule at a time."""
    table = np.zeros((classes, 4))
    for found, truth in pairs:
        guesses, objects = pixel_sets(found), pixel_sets(truth)
        crowds = {int(n) for n, crowd in zip(truth.segment_ids, truth.crowd, strict=True) if crowd}
        void = set(np.flatnonzero(truth.ids.numpy().ravel() == 0).tolist())
        matched_guesses, matched_objects = set(), set()
        for a, (guess_class, guess) in guesses.items():
            for b, (object_class, pixels) in objects.items():
                if b in crowds or guess_class != object_class:
                    continue
                iou = len(guess & pixels) / len((guess | pixels) - (void & guess))
                if iou > 0.5:
                    matched_guesses.add(a)
                    matched_objects.add(b)
                    table[guess_class] += [iou, 1, 0, 0]
        for b, (object_class, _) in objects.items():
            if b not in matched_objects and b not in crowds:
                table[object_class, 3] += 1
        for a, (guess_class, guess) in guesses.items():
            excused = set(void).union(*(objects[b][1] for b in crowds if objects[b][0] == guess_class))
            if a not in matched_guesses and len(guess & excused) / len(guess) <= 0.5:
                table[guess_class, 2] += 1
    return table


def pixel_sets(label: PanopticSegments) -> dict[int, tuple[int, set[int]]]:
    flat = label.ids.numpy().ravel()
    return {
        int(number): (int(kind), set(np.flatnonzero(flat == int(number)).tolist()))
        for number, kind in zip(label.segment_ids, label.classes, strict=True)
    }


def means(table: Any, chosen: slice = slice(None)) -> list[float]:
    """PQ, SQ and RQ in percent of rows (sum of IoU, pairs, false, missed), over the classes that were seen."""
    rows = [(iou, tp, fp, fn) for iou, tp, fp, fn in table[chosen] if tp + fp + fn > 0]
    pq = [iou / (tp + fp / 2 + fn / 2) for iou, tp, fp, fn in rows]
    sq = [iou / tp if tp else 0.0 for iou, tp, _, _ in rows]
    rq = [tp / (tp + fp / 2 + fn / 2) for _, tp, fp, fn in rows]
    return [100 * sum(values) / len(rows) for values in (pq, sq, rq)]


def drawn_label(seed: int, crowds: bool) -> tuple[PanopticSegments, list[Json]]:
    """Rectangles over each other with void between them; stuff is one segment per class."""
    draw = np.random.default_rng(seed)
    ids = np.zeros((60, 80), dtype=np.int64)
    for number in range(1, 13):
        top, left = draw.integers(0, 50), draw.integers(0, 70)
        ids[top : top + draw.integers(5, 40), left : left + draw.integers(5, 40)] = number * 300
    classes = {int(n): int(n) // 300 % THINGS for n in np.unique(ids) if n}
    for kind, number in enumerate(sorted(classes)[:2]):
        classes[number] = THINGS + kind
    crowd = [n for n in classes if crowds and classes[n] < THINGS and draw.random() < 0.3]
    one_each = {classes[n]: n for n in crowd}
    label = segments(ids, classes, list(one_each.values()))
    return label, [{"id": n, "category_id": kind} for n, kind in classes.items()]


def spoiled(label: PanopticSegments, listed: list[Json], classes: int, seed: int) -> PanopticSegments:
    guess, found = spoiled_segments(label.ids.numpy().astype(np.int64), listed, list(range(classes)), seed)
    return segments(guess, {entry["id"]: entry["category_id"] for entry in found})


def test_a_hand_case() -> None:
    """One thing found with IoU 0.75, one missed, one false; stuff found exactly."""
    truth = segments([[1] * 4, [2] * 4, [3] * 4], {1: 0, 2: 0, 3: 4})
    found = segments([[5, 5, 5, 7], [8, 8, 0, 0], [9] * 4], {5: 0, 7: 1, 8: 0, 9: 4})
    metric = quality(found, truth)
    # Class 0: TP 0.75, and segment 8 has IoU 2/4, not above one half: one false, one missed. Class 1: one false.
    details = metric.details()
    assert details["PQ"] == pytest.approx(100 * (0.75 / 2 + 0 + 1) / 3)
    assert details["SQ"] == pytest.approx(100 * (0.75 + 0 + 1) / 3)
    assert details["RQ"] == pytest.approx(100 * (1 / 2 + 0 + 1) / 3)
    assert details["PQ_th"] == pytest.approx(100 * 0.75 / 2 / 2)
    assert details["PQ_st"] == 100.0
    assert metric.compute() == details["PQ"]


def test_void_is_left_out_of_the_union_and_excuses_segments_that_lie_on_it() -> None:
    truth = segments([[1, 1, 0, 0, 0, 0]], {1: 0})
    assert quality(segments([[4, 4, 4, 4, 4, 0]], {4: 0}), truth).compute() == 100.0
    mostly_on_void = segments([[0, 4, 4, 4, 0, 0]], {4: 1})
    assert quality(mostly_on_void, truth).counter("false_positives").sum() == 0
    half_on_void = segments([[0, 4, 4, 0, 0, 0]], {4: 1})
    assert quality(half_on_void, truth).counter("false_positives").sum() == 1


def test_a_crowd_is_neither_missed_nor_found_and_excuses_its_own_class_only() -> None:
    truth = segments([[1, 1, 1, 1, 2, 2]], {1: 0, 2: 1}, crowd=[1])
    same_class = quality(segments([[4, 4, 4, 4, 5, 5]], {4: 0, 5: 1}), truth)
    assert same_class.details()["PQ"] == 100.0
    assert same_class.counter("true_positives").tolist() == [0, 1, 0, 0, 0]
    other_class = quality(segments([[4, 4, 4, 4, 5, 5]], {4: 2, 5: 1}), truth)
    assert other_class.counter("false_positives").tolist() == [0, 0, 1, 0, 0]


@pytest.mark.parametrize("crowds", [True, False])
def test_equal_to_a_restatement_with_sets_of_pixels(crowds: bool) -> None:
    metric = PanopticQuality(CLASSES, THINGS)
    pairs = []
    for seed in range(25):
        truth, listed = drawn_label(seed, crowds)
        pairs.append((spoiled(truth, listed, CLASSES, seed + 100), truth))
    for start in range(0, 25, 4):
        batch = pairs[start : start + 4]
        metric.update(Output([found for found, _ in batch]), [truth for _, truth in batch])
    table = restated(pairs, CLASSES)
    counters = ("iou", "true_positives", "false_positives", "false_negatives")
    np.testing.assert_allclose(np.stack([metric.counter(name) for name in counters], axis=1), table, atol=1e-9)
    assert table.all(), "a column or class that never occurs would not be tested"
    details = list(metric.details().values())
    parts = (slice(None), slice(0, THINGS), slice(THINGS, None))
    np.testing.assert_allclose(details, np.concatenate([means(table, part) for part in parts]), atol=1e-9)


def test_streaming_equals_one_update() -> None:
    truth, listed = drawn_label(1, crowds=True)
    found = [spoiled(truth, listed, CLASSES, seed) for seed in range(4)]
    whole = PanopticQuality(CLASSES, THINGS)
    whole.update(Output(found), [truth] * 4)
    streamed = PanopticQuality(CLASSES, THINGS)
    streamed.update(Output(found[:1]), [truth])
    streamed.update(Output(found[1:]), [truth] * 3)
    assert streamed.compute() == pytest.approx(whole.compute(), abs=1e-12)


def test_nothing_labelled_has_no_score() -> None:
    metric = PanopticQuality(CLASSES, THINGS)
    with pytest.raises(MetricUnavailable, match=naming("segment")):
        metric.compute()
    metric.update(Output([segments([[1, 1]], {1: 0})]), [segments([[0, 0]], {})])
    with pytest.raises(MetricUnavailable, match=naming("segment")):
        metric.compute()
    only_crowd = quality(segments([[1, 1]], {1: 0}), segments([[1, 1]], {1: 0}, crowd=[1]))
    with pytest.raises(MetricUnavailable, match="crowds"):
        only_crowd.compute()


def test_nothing_predicted_scores_zero_and_unseen_parts_have_no_value() -> None:
    metric = quality(segments([[0, 0]], {}), segments([[1, 1]], {1: 0}))
    assert metric.compute() == 0.0
    assert metric.details()["PQ_st"] is None


@pytest.mark.parametrize(
    ("found", "message"),
    [
        (segments([[1, 2]], {1: 0}), "segment 2, which is not in its list"),
        (segments([[1, 1]], {1: 0, 2: 0}), "segment 2 is listed but has no pixel"),
        (segments([[1, 1]], {1: CLASSES}), f"class {CLASSES}"),
        (segments([[1, 1, 1]], {1: 0}), "size of the label"),
        (PanopticSegments(*(torch.tensor(v) for v in ([[1, 1]], [1, 1], [0, 0], [False, False]))), "twice"),
    ],
)
def test_segments_that_do_not_fit_are_named(found: PanopticSegments, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        quality(found, segments([[1, 1]], {1: 0}))
    with pytest.raises(ValueError, match="2 labels"):
        PanopticQuality(CLASSES, THINGS).update(Output([found]), [found, found])


@pytest.mark.parametrize(("classes", "things"), [(0, 0), (5, 6), (5, -1)])
def test_impossible_class_counts_are_refused(classes: int, things: int) -> None:
    with pytest.raises(ValueError, match="num_things"):
        PanopticQuality(classes, things)
