"""What detection heads train on, what they return, and how they behave at the edges."""

from dataclasses import replace
from typing import Any

import pytest
import torch
from errors import naming
from fmtl_datasets.shared.objects import Instances
from fmtl_datasets.sources.procedural.dataset import ProceduralScenes
from torch import Tensor
from torchvision.models.detection.roi_heads import keypoints_to_heatmap, project_masks_on_boxes

from client_app.model.coco.detection import DetectionPrediction
from client_app.model.coco.pasting import paste_masks
from client_app.model.coco.targets import detection_targets
from tests.support import coco_models as coco

PARTS = {
    "instance": {"objectness", "rpn_box_reg", "classifier", "box_reg", "mask"},
    "keypoints": {"objectness", "rpn_box_reg", "classifier", "box_reg", "keypoint"},
}
DETECTORS = tuple(PARTS)
SIZE = (64, 64)
SOME = coco.instances([(4, 6, 30, 40), (20, 10, 60, 50)], [0, 0])
NONE = coco.instances([])


def _prediction(task: str, *, train: bool, **changes: Any) -> DetectionPrediction:
    model = coco.model((task,), **changes)
    prediction = model.train(train)(coco.images())[task]
    assert isinstance(prediction, DetectionPrediction)
    return prediction


def _losses(prediction: DetectionPrediction, labels: list[Instances]) -> dict[str, float]:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return {name: float(loss.detach()) for name, loss in prediction.losses(labels).items()}


@pytest.mark.parametrize("task", DETECTORS)
def test_losses_have_the_published_parts_and_are_finite_float32_with_a_graph(task: str) -> None:
    losses = _prediction(task, train=True).losses([SOME, SOME])
    assert set(losses) == PARTS[task]
    for loss in losses.values():
        assert (loss.shape, loss.dtype, loss.requires_grad) == ((), torch.float32, True)
        assert bool(torch.isfinite(loss))


@pytest.mark.parametrize("task", DETECTORS)
def test_images_without_objects_are_all_background(task: str) -> None:
    prediction = _prediction(task, train=True)
    losses = prediction.losses([NONE, NONE])
    values = {name: float(loss.detach()) for name, loss in losses.items()}
    part = "mask" if task == "instance" else "keypoint"
    assert values["rpn_box_reg"] == values["box_reg"] == values[part] == 0.0
    assert values["objectness"] > 0
    assert values["classifier"] > 0
    torch.stack(list(losses.values())).sum().backward()  # the graph holds although nothing was matched


@pytest.mark.parametrize("task", DETECTORS)
def test_crowds_and_slivers_change_nothing(task: str) -> None:
    crowd = replace(coco.instances([(0, 0, 64, 32)]), crowd=torch.tensor([True]))
    sliver = coco.instances([(0, 10, 0.4, 30)])
    prediction = _prediction(task, train=True)
    plain = _losses(prediction, [SOME, NONE])
    assert plain == _losses(prediction, [SOME, crowd]) == _losses(prediction, [SOME, sliver])
    assert plain != _losses(prediction, [SOME, SOME])


def test_object_without_a_mask_pixel_is_not_trained_on() -> None:
    label = coco.instances([(4, 6, 30, 40), (20, 10, 60, 50)])
    assert label.masks is not None
    label.masks[1] = False
    (target,) = detection_targets([label], "masks", 1, SIZE)
    assert target["boxes"].tolist() == [[4, 6, 30, 40]]


def test_target_classes_count_from_one_because_zero_is_background() -> None:
    (target,) = detection_targets([coco.instances([(4, 6, 30, 40), (1, 1, 9, 9)], [2, 0])], "masks", 3, SIZE)
    assert target["labels"].tolist() == [3, 1]


def test_keypoint_target_is_the_middle_of_its_pixel() -> None:
    # A box over pixels 8 to 15 in both directions has one heat-map cell for each pixel at 8 cells a side.
    label = coco.instances([(8, 8, 16, 16)])
    assert label.keypoints is not None
    label.keypoints[0, 0] = torch.tensor([11.0, 13.0, 2.0])
    (target,) = detection_targets([label], "keypoints", 1, SIZE)
    cells, valid = keypoints_to_heatmap(target["keypoints"], target["boxes"], 8)
    assert bool(valid[0, 0])
    assert divmod(int(cells[0, 0]), 8) == (13 - 8, 11 - 8)


@pytest.mark.parametrize("task", DETECTORS)
def test_detections_have_the_announced_form_and_order(task: str) -> None:
    prediction = _prediction(task, train=False)
    for found in prediction.detections():
        assert found.size == SIZE
        assert 0 < len(found) <= 100
        assert found.boxes.shape == (len(found), 4)
        assert bool((found.boxes >= 0).all())
        assert bool((found.boxes <= 64).all())
        assert bool((found.scores[:-1] >= found.scores[1:]).all())
        assert 0 <= int(found.classes.min()) <= int(found.classes.max()) < (3 if task == "instance" else 1)
        assert (found.masks is None) == (task != "instance")
        assert (found.keypoints is None) == (task != "keypoints")
        if found.masks is not None:
            assert (found.masks.shape, found.masks.dtype) == ((len(found), *SIZE), torch.bool)
        if found.keypoints is not None:
            assert found.keypoints.shape == (len(found), 17, 3)


def test_found_keypoints_are_pixel_indices() -> None:
    """Every heat map, 56 cells a side, gets its peak in the middle of the cell in row 20 and column 30."""
    model = coco.model(("keypoints",)).eval()
    row, column = torch.meshgrid(torch.arange(56.0), torch.arange(56.0), indexing="ij")
    peak = -((row - 20) ** 2 + (column - 30) ** 2) / 50
    model.heads["keypoints"].roi_heads.keypoint_predictor.register_forward_hook(
        lambda module, arguments, output: peak.expand_as(output).clone()
    )
    errors = []
    with torch.no_grad():
        for found in model(coco.images())["keypoints"].detections():
            assert found.keypoints is not None
            sides = found.boxes[:, 2:] - found.boxes[:, :2]
            # A coordinate of 0.5 in a box whose edge is at 0 lies in the middle of pixel 0.
            expected = found.boxes[:, :2] + sides * torch.tensor([30.5, 20.5]) / 56 - 0.5
            errors.append((found.keypoints[:, 0, :2] - expected)[sides.min(dim=1).values >= 8])
    error = torch.cat(errors)
    assert len(error) > 20
    assert float(error.abs().max()) < 0.6  # heat maps are read at whole pixels
    assert float(error.mean().abs()) < 0.2


@pytest.mark.parametrize("task", DETECTORS)
def test_wrong_mode_is_named(task: str) -> None:
    with pytest.raises(RuntimeError, match=r"model.train\(\)"):
        _prediction(task, train=False).losses([SOME, SOME])
    with pytest.raises(RuntimeError, match=r"model.eval\(\)"):
        _prediction(task, train=True).detections()


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ([SOME], "2 images"),
        ([SOME, coco.instances([(1, 1, 9, 9)], size=(32, 64))], "32x64"),
        ([SOME, replace(SOME, masks=None)], "masks"),
        ([SOME, coco.instances([(1, 1, 9, 9)], [3])], "class 3"),
        ([SOME, coco.instances([(1, 1, 9, 9)], [-1])], "class -1"),
    ],
)
def test_labels_that_do_not_fit_are_refused(labels: list[Instances], message: str) -> None:
    with pytest.raises(ValueError, match=naming(message)):
        _prediction("instance", train=True).losses(labels)


@pytest.mark.parametrize("task", DETECTORS)
def test_late_layers_run_in_the_autocast_of_the_forward_pass_and_losses_in_float32(task: str) -> None:
    model = coco.model((task,)).train()
    seen: list[torch.dtype] = []
    model.heads[task].rpn.head.conv.register_forward_hook(lambda module, arguments, output: seen.append(output.dtype))
    boxes: list[torch.dtype] = []
    model.heads[task].roi_heads.box_head.register_forward_pre_hook(
        lambda module, arguments: boxes.append(arguments[0].dtype)
    )
    with torch.autocast("cpu", dtype=torch.bfloat16):
        prediction = model(coco.images())[task]
    losses = prediction.losses([SOME, SOME])
    assert set(seen) == {torch.bfloat16}
    assert set(boxes) == {torch.float32}
    assert {loss.dtype for loss in losses.values()} == {torch.float32}
    assert all(bool(torch.isfinite(loss)) for loss in losses.values())


def test_coordinates_stay_exact_under_autocast() -> None:
    """In bfloat16 coordinates above 256 are even numbers; proposals of untrained layers lie on the anchors."""
    model = coco.model(("instance",), size=(64, 512)).train()
    head = model.heads["instance"].rpn
    proposals: list[Tensor] = []
    head.register_forward_hook(lambda module, arguments, output: proposals.extend(output[0]))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        prediction = model(coco.images(size=(64, 512)))["instance"]
    label = coco.instances([(300, 3, 391, 61)], size=(64, 512))
    prediction.losses([label, label])
    right = torch.cat(proposals)[:, 2]
    inside = right[(right > 256) & (right < 511)]
    assert len(inside) > 100
    assert float((inside % 2 != 0).float().mean()) > 0.5


@pytest.mark.parametrize("task", DETECTORS)
def test_heads_work_in_channels_last_layout(task: str) -> None:
    model = coco.model((task,))
    expected = _losses(model.train()(coco.images())[task], [SOME, SOME])
    model = coco.model((task,))
    model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    images = coco.images().contiguous(memory_format=torch.channels_last)
    assert _losses(model.train()(images)[task], [SOME, SOME]) == pytest.approx(expected, rel=2e-2)
    with torch.no_grad():
        assert len(model.eval()(images)[task].detections()) == 2


def test_pooling_follows_the_image_size_of_each_batch() -> None:
    model = coco.model(("instance",), encoder="vit_tiny_patch16_224", size=(64, 64)).eval()
    pooling = model.heads["instance"].roi_heads.box_roi_pool
    with torch.no_grad():
        model(coco.images())["instance"].detections()
    assert pooling.scales == [1 / 16, 1 / 16, 1 / 16, 1 / 32]


@pytest.mark.parametrize(("side", "lowest"), [(96, 0.9), (256, 0.88)])
def test_mask_that_is_its_target_is_pasted_where_it_was(side: int, lowest: float) -> None:
    scenes = ProceduralScenes(("instance",), domain="indoor", indices=range(4), size=(side, side))
    for index in range(len(scenes)):
        label = scenes[index]["instance"]
        label = label.select((label.boxes[:, 2:] - label.boxes[:, :2]).min(dim=1).values >= 4)
        targets = project_masks_on_boxes(label.masks, label.boxes, torch.arange(len(label)), 28)[:, None]
        pasted = paste_masks(targets, label.boxes, label.size)
        overlap = (pasted & label.masks).flatten(1).sum(1) / (pasted | label.masks).flatten(1).sum(1)
        assert float(overlap.min()) > lowest
        assert float(overlap.mean()) > 0.95


def test_masks_at_the_border_and_of_less_than_a_pixel_are_pasted() -> None:
    boxes = torch.tensor([[0.0, 0.0, 64.0, 32.0], [63.6, 10.2, 63.9, 10.4], [2.0, 3.0, 5.0, 9.0]])
    masks = paste_masks(torch.ones(3, 1, 28, 28), boxes, (32, 64))
    assert masks.flatten(1).sum(1).tolist() == [32 * 64, 1, 3 * 6]
    assert bool(masks[2, 3:9, 2:5].all())
    assert not paste_masks(torch.zeros(3, 1, 28, 28), boxes, (32, 64)).any()
    assert paste_masks(torch.ones(0, 1, 28, 28), torch.zeros(0, 4), (32, 64)).shape == (0, 32, 64)
