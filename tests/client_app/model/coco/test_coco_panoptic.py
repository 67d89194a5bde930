"""What the panoptic head trains on, and how instances and classes become segments."""

from typing import Any

import numpy as np
import pytest
import torch
from errors import naming
from fmtl_datasets.shared.objects import PanopticSegments
from torch import Tensor

from client_app.model.coco.panoptic import STUFF_AREA_SHARE, PanopticPrediction, PanopticSettings, merge, stuff_map
from client_app.pictures.detections import Detections
from tests.support import coco_models as coco

THINGS = 3
SIDE = 64


def _found(*objects: tuple[float, int, tuple[int, int, int, int]]) -> Detections:
    """Detections from score, class and (top, left, bottom, right), best first."""
    masks = torch.zeros((len(objects), SIDE, SIDE), dtype=torch.bool)
    for mask, (_, _, (top, left, bottom, right)) in zip(masks, objects, strict=True):
        mask[top:bottom, left:right] = True
    return Detections(
        size=(SIDE, SIDE),
        boxes=torch.zeros(len(objects), 4),
        classes=torch.tensor([kind for _, kind, _ in objects], dtype=torch.int64),
        scores=torch.tensor([score for score, _, _ in objects]),
        masks=masks,
    )


def _classes(value: int = 0) -> Tensor:
    return torch.full((SIDE, SIDE), value, dtype=torch.int64)


def _areas(segments: PanopticSegments) -> dict[tuple[int, int], int]:
    """Pixels of each (identifier, class)."""
    pairs = zip(segments.segment_ids.tolist(), segments.classes.tolist(), strict=True)
    return {(identifier, kind): int((segments.ids == identifier).sum()) for identifier, kind in pairs}


def test_better_instances_take_pixels_first_and_stuff_gets_what_is_left() -> None:
    detections = _found((0.9, 2, (0, 0, 20, 20)), (0.8, 0, (10, 0, 30, 20)))
    merged = merge(detections, _classes(2), THINGS)
    # Stuff index 2 is the second class after the things.
    assert _areas(merged) == {(1, 2): 400, (2, 0): 200, (3, 4): SIDE * SIDE - 600}
    assert int(merged.ids[15, 5]) == 1


def test_weak_and_covered_instances_are_left_out() -> None:
    detections = _found(
        (0.9, 0, (0, 0, 20, 20)), (0.8, 1, (0, 0, 20, 30)), (0.7, 2, (0, 0, 8, 8)), (0.49, 2, (40, 40, 60, 60))
    )
    # The second is covered by two thirds, the third wholly, the fourth is below the score.
    assert _areas(merge(detections, _classes(), THINGS)) == {(1, 0): 400}


def test_instance_covered_by_exactly_half_stays() -> None:
    detections = _found((0.9, 0, (0, 0, 20, 20)), (0.8, 1, (0, 0, 20, 40)))
    assert _areas(merge(detections, _classes(), THINGS)) == {(1, 0): 400, (2, 1): 400}


def test_pixels_that_only_the_semantic_head_calls_things_are_void() -> None:
    merged = merge(_found(), _classes(0), THINGS)
    assert len(merged) == 0
    assert not merged.ids.any()


def test_limit_of_stuff_is_the_published_one_on_a_coco_image_and_shrinks_with_the_image() -> None:
    assert round(STUFF_AREA_SHARE * 640 * 480, 6) == 4096
    limit = int(np.ceil(STUFF_AREA_SHARE * SIDE * SIDE))
    classes = _classes(1)
    classes.view(-1)[:limit] = 2
    classes.view(-1)[limit : 2 * limit - 1] = 3
    assert [kind for _, kind in _areas(merge(_found(), classes, THINGS))] == [THINGS, THINGS + 1]


def test_area_of_stuff_is_counted_without_what_instances_take() -> None:
    classes = _classes()
    classes[:10, :10] = 1
    assert [kind for _, kind in _areas(merge(_found(), classes, THINGS))] == [THINGS]
    assert [kind for _, kind in _areas(merge(_found((0.9, 2, (0, 0, 10, 9))), classes, THINGS))] == [2]


def test_semantic_target_has_one_class_for_things_and_ignores_void_and_crowds() -> None:
    ids = torch.tensor([[0, 10, 10], [20, 30, 40]])
    label = coco.segments(ids, {10: 2, 20: 3, 30: 6, 40: 0}, crowd=(40,))
    assert stuff_map(label, THINGS).tolist() == [[255, 0, 0], [1, 4, 255]]


def _prediction(*, train: bool) -> PanopticPrediction:
    model = coco.model(("panoptic",))
    prediction: Any = model.train(train)(coco.images())["panoptic"]
    return prediction


def _label() -> PanopticSegments:
    ids = torch.ones(SIDE, SIDE)
    ids[8:40, 10:30] = 2
    ids[:4] = 0
    return coco.segments(ids, {1: 5, 2: 1})


def test_losses_are_those_of_instances_and_of_pixels() -> None:
    losses = _prediction(train=True).losses([_label(), _label()])
    assert set(losses) == {"objectness", "rpn_box_reg", "classifier", "box_reg", "mask", "semantic"}
    assert all(loss.dtype == torch.float32 and loss.requires_grad for loss in losses.values())
    assert all(bool(torch.isfinite(loss)) for loss in losses.values())


def test_image_that_is_all_void_has_no_semantic_loss_and_a_graph() -> None:
    void = coco.segments(torch.zeros(SIDE, SIDE), {})
    losses = _prediction(train=True).losses([void, void])
    assert float(losses["semantic"].detach()) == 0.0
    torch.stack(list(losses.values())).sum().backward()


def test_segments_never_overlap_and_every_identifier_is_in_the_map() -> None:
    for segments in _prediction(train=False).segments():
        assert segments.size == (SIDE, SIDE)
        assert set(torch.unique(segments.ids).tolist()) - {0} == set(segments.segment_ids.tolist())
        assert not segments.crowd.any()


def test_panoptic_class_out_of_range_is_refused() -> None:
    wrong = coco.segments(torch.ones(SIDE, SIDE), {1: 7})
    with pytest.raises(ValueError, match=naming("panoptic", "7")):
        _prediction(train=True).losses([_label(), wrong])


@pytest.mark.parametrize(("classes", "things"), [(5, 5), (5, 0), (5, 6)])
def test_head_without_things_or_without_stuff_is_refused(classes: int, things: int) -> None:
    with pytest.raises(ValueError, match=naming(things, classes, "panoptic")):
        PanopticSettings(classes, things, 32.0)
