"""Joint transforms: image and labels stay together, and nothing but the given generator is random."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
import pytest
import torch
from errors import naming
from fmtl_datasets.shared.conventions import OBJECT_TASKS, TASKS, Sample
from fmtl_datasets.shared.objects import Instances, ObjectLabel, PanopticSegments
from fmtl_datasets.transforms.transforms import (
    Window,
    crop,
    draw_window,
    evaluation_transform,
    flip,
    mark_ignored,
    pad,
    rescale,
    to_batch,
    training_transform,
)
from torch import Generator, Tensor
from torchvision import tv_tensors
from torchvision.ops import masks_to_boxes

H, W = 24, 32
KINDS: tuple[Literal["none", "flip", "reference"], ...] = ("none", "flip", "reference")


def seeded(seed: int) -> Generator:
    return Generator().manual_seed(seed)


def objects(masks: Tensor, classes: Tensor, keypoints: Tensor | None = None) -> Instances:
    """Objects with these masks, each with at least one pixel; with keypoints they are people without masks."""
    return Instances(
        size=(masks.shape[1], masks.shape[2]),
        boxes=masks_to_boxes(masks) + torch.tensor([0, 0, 1, 1]),
        classes=classes,
        areas=masks.flatten(1).sum(1).float(),
        crowd=torch.arange(len(masks)) % 2 == 1,
        masks=masks if keypoints is None else None,
        keypoints=keypoints,
    )


def all_tasks(seed: int = 0) -> Sample:
    """A sample with all ten tasks and arbitrary content."""
    g = seeded(seed)

    def integers(high: int, *shape: int, dtype: torch.dtype = torch.uint8) -> Tensor:
        return torch.randint(high, shape, generator=g).to(dtype)

    normals = torch.nn.functional.normalize(torch.randn(3, H, W, generator=g), dim=0)
    points = torch.stack([integers(W, 2, 17), integers(H, 2, 17), integers(3, 2, 17)], dim=-1).float()
    points[..., :2] *= points[..., 2:] > 0
    segments = PanopticSegments(
        ids=(integers(50, H, W, dtype=torch.int32) + 1) * 70_001,
        segment_ids=torch.arange(1, 51) * 70_001,
        classes=torch.randint(9, (50,), generator=g),
        crowd=integers(2, 50).bool(),
    )
    return {
        "image": tv_tensors.Image(integers(256, 3, H, W)),
        "semseg": tv_tensors.Mask(integers(9, H, W)),
        "parts": tv_tensors.Mask(integers(7, H, W)),
        "saliency": tv_tensors.Mask(integers(2, H, W)),
        "normals": tv_tensors.Mask(normals),
        "edge": tv_tensors.Mask(integers(2, H, W)),
        "depth": tv_tensors.Mask(torch.rand(1, H, W, generator=g) * 5 + 1),
        "instance": objects(integers(2, 3, H, W).bool(), torch.tensor([4, 1, 7])),
        "keypoints": objects(integers(2, 2, H, W).bool(), torch.tensor([0, 0]), points),
        "stuff": tv_tensors.Mask(integers(5, H, W)),
        "panoptic": segments,
    }


def marked(top: int, left: int, side: int) -> Sample:
    """Black image and empty labels, but for a square that all of them show."""
    square = torch.zeros(H, W)
    square[top : top + side, left : left + side] = 1
    sample: Sample = {"image": tv_tensors.Image((square * 255).to(torch.uint8).repeat(3, 1, 1))}
    for task in ("semseg", "parts", "saliency", "edge", "stuff"):
        sample[task] = tv_tensors.Mask(square.to(torch.uint8))
    sample["instance"] = objects(square[None] > 0, torch.tensor([3]))
    ids = square.to(torch.int32) * 70_001
    sample["panoptic"] = PanopticSegments(ids, torch.tensor([70_001]), torch.tensor([3]), torch.tensor([False]))
    sample["depth"] = tv_tensors.Mask(square[None] * 2)
    sample["normals"] = tv_tensors.Mask(torch.stack([square * 0, square * 0, -square]))
    middle = (side - 1) / 2
    points = torch.tensor([left + middle, top + middle, 2.0]).repeat(1, 17, 1)
    sample["keypoints"] = objects(square[None] > 0, torch.tensor([0]), points)
    return sample


def shown(value: Any) -> Tensor:
    """Where a label or image shows the square; people show the pixels whose centre is in the box."""
    if isinstance(value, PanopticSegments):
        return value.ids > 0
    if isinstance(value, Instances) and value.masks is not None:
        # A scaled box has fractions of pixels, its mask has not.
        tight = masks_to_boxes(value.masks) + torch.tensor([0, 0, 1, 1])
        assert len(value) == 0 or (tight - value.boxes).abs().max() <= 0.5
        return value.masks.any(0)
    if isinstance(value, Instances):
        rows, columns = torch.arange(value.size[0])[:, None] + 0.5, torch.arange(value.size[1]) + 0.5
        left, top, right, bottom = value.boxes.T[:, :, None, None]
        return ((columns >= left) & (columns < right) & (rows >= top) & (rows < bottom)).any(0)
    plain = value.as_subclass(Tensor).float()
    plain = torch.where(plain == 255, 0, plain) if plain.ndim == 2 else plain
    return plain.abs().amax(0) > 1e-3 if plain.ndim == 3 else plain > 0


def tensors(value: Any) -> dict[str, Tensor]:
    """The tensors of a label of any kind."""
    if not isinstance(value, ObjectLabel):
        return {"": value.as_subclass(Tensor)}
    return {name: part for name, part in vars(value).items() if isinstance(part, Tensor)}


def same(first: Any, second: Any) -> bool:
    mine, others = tensors(first), tensors(second)
    return mine.keys() == others.keys() and all(torch.equal(mine[name], others[name]) for name in mine)


def assert_same(first: Sample, second: Sample) -> None:
    assert first.keys() == second.keys()
    for key in first:
        assert type(first[key]) is type(second[key]), key
        assert same(first[key], second[key]), key
        assert [part.dtype for part in tensors(first[key]).values()] == [
            part.dtype for part in tensors(second[key]).values()
        ], key
        assert not isinstance(first[key], ObjectLabel) or first[key].size == second[key].size


def test_flip_twice_is_the_identity_for_all_ten_tasks() -> None:
    sample = all_tasks()
    once = flip(sample)
    for task in TASKS:
        assert not same(once[task], sample[task]), task
    assert_same(flip(once), sample)


def test_flip_negates_normals_x_and_keeps_y_and_z() -> None:
    sample = all_tasks()
    expected = sample["normals"].numpy()[:, :, ::-1] * np.array([-1, 1, 1], dtype=np.float32)[:, None, None]
    assert np.array_equal(flip(sample)["normals"].numpy(), expected)


def test_flip_mirrors_keypoints_and_swaps_left_and_right() -> None:
    points = torch.zeros(1, 17, 3)
    points[0, 1] = torch.tensor([5.0, 7.0, 2.0])
    points[0, 16] = torch.tensor([0.0, 3.0, 1.0])
    person = objects(torch.ones(1, H, W, dtype=torch.bool), torch.tensor([0]), points)
    flipped = flip({**all_tasks(), "keypoints": person})["keypoints"].keypoints[0]
    assert flipped[2].tolist() == [W - 1 - 5.0, 7.0, 2.0]
    assert flipped[15].tolist() == [W - 1.0, 3.0, 1.0]
    assert flipped[1].tolist() == flipped[0].tolist() == [0.0, 0.0, 0.0]


@pytest.mark.parametrize("factor", [0.5, 1.5, 2.0])
def test_scaling_divides_depth_and_keeps_labels_exact(factor: float) -> None:
    sample = all_tasks()
    scaled = rescale(sample, factor)
    assert scaled["image"].shape == (3, round(H * factor), round(W * factor))
    assert torch.isin(scaled["depth"] * factor, sample["depth"]).float().mean() > 0.6
    assert scaled["depth"].max() * factor == pytest.approx(float(sample["depth"].max()), rel=0.05)
    for before, after in (
        (sample["semseg"], scaled["semseg"]),
        (sample["instance"].masks, scaled["instance"].masks),
        (sample["panoptic"].ids, scaled["panoptic"].ids),
    ):
        assert before.dtype == after.dtype
        assert set(after.unique().tolist()) <= set(before.unique().tolist())
    assert scaled["panoptic"].segment_ids.tolist() == scaled["panoptic"].ids.unique().tolist()
    assert torch.allclose(scaled["instance"].areas, sample["instance"].areas * factor**2)
    assert torch.allclose(scaled["normals"].norm(dim=0), torch.ones(round(H * factor), round(W * factor)), atol=1e-5)


@pytest.mark.parametrize("factor", [0.5, 2.0])
def test_scaled_square_is_at_one_place_in_image_and_labels(factor: float) -> None:
    scaled = rescale(marked(8, 12, 8), factor)
    expected = torch.zeros(round(H * factor), round(W * factor), dtype=torch.bool)
    top, left, side = (round(number * factor) for number in (8, 12, 8))
    expected[top : top + side, left : left + side] = True
    for key in set(scaled) - {"image"}:
        assert torch.equal(shown(scaled[key]), expected), key
    assert torch.equal(scaled["image"][0] > 127, expected)
    middle = (side - 1) / 2
    assert scaled["keypoints"].keypoints[0, 0].tolist() == [left + middle, top + middle, 2.0]


def test_cropped_and_padded_square_is_at_one_place_in_image_and_labels() -> None:
    moved = pad(crop(marked(8, 12, 4), Window(6, 10, 10, 12)), (20, 26))
    expected = torch.zeros(20, 26, dtype=torch.bool)
    expected[5 + 2 : 5 + 6, 7 + 2 : 7 + 6] = True
    for key in moved:
        assert torch.equal(shown(moved[key]), expected), key
    assert moved["keypoints"].keypoints[0, 0].tolist() == [7 + 3.5, 5 + 3.5, 2.0]


def test_keypoint_outside_the_crop_becomes_unlabelled() -> None:
    sample = marked(8, 12, 4)
    sample["keypoints"].keypoints[0, 3] = torch.tensor([12.0, 8.0, 2.0])
    cropped = crop(sample, Window(0, 0, 9, 13))["keypoints"]
    assert cropped.keypoints[0, 3].tolist() == [12.0, 8.0, 2.0]
    assert cropped.keypoints.abs().sum() == 22.0


def test_objects_outside_the_crop_are_dropped() -> None:
    cropped = crop(marked(8, 12, 4), Window(0, 0, 8, 8))
    assert [len(cropped[task]) for task in sorted(OBJECT_TASKS)] == [0, 0, 0]
    assert cropped["instance"].masks.shape == (0, 8, 8)
    assert cropped["panoptic"].ids.unique().tolist() == [0]


def test_padding_uses_the_ignore_value_of_each_label() -> None:
    padded = pad(all_tasks(), (H + 4, W + 6))
    border = {
        key: value[..., 0, 0].flatten().tolist()
        for key, value in padded.items()
        if isinstance(value, tv_tensors.TVTensor)
    }
    for task in ("semseg", "parts", "saliency", "edge", "stuff"):
        assert border[task] == [255], task
    assert border["depth"] == [0]
    assert padded["panoptic"].ids[0, 0] == 0
    assert not padded["instance"].masks[:, 0, 0].any()
    assert border["normals"] == border["image"] == [0, 0, 0]


def test_padding_of_a_larger_image_names_the_setting() -> None:
    with pytest.raises(ValueError, match=naming("image-size", "[16, 64]", "24 x 32")):
        pad(all_tasks(), (16, 64))


def one_class_but_for_a_corner() -> Sample:
    sample = all_tasks()
    labels = torch.zeros(H, W, dtype=torch.uint8)
    labels[:8, :8] = 1
    sample["semseg"] = tv_tensors.Mask(labels)
    return sample


def test_crop_avoids_windows_filled_by_one_class_only_where_semseg_is_a_task() -> None:
    def balanced(sample: Sample, seed: int) -> bool:
        window = draw_window(sample, (8, 8), seeded(seed))
        labels = one_class_but_for_a_corner()["semseg"]
        cut = labels[window.top : window.top + 8, window.left : window.left + 8].float().mean()
        return bool(0.25 < cut < 0.75)

    sample = one_class_but_for_a_corner()
    without = {key: value for key, value in sample.items() if key != "semseg"}
    with_semseg = sum(balanced(sample, seed) for seed in range(100))
    assert with_semseg > 3 * sum(balanced(without, seed) for seed in range(100)) > 0


def test_crop_gives_up_after_ten_retries() -> None:
    sample = {**all_tasks(), "semseg": tv_tensors.Mask(torch.zeros(H, W, dtype=torch.uint8))}
    used, expected = seeded(0), seeded(0)
    draw_window(sample, (8, 8), used)
    for _ in range(11):
        torch.randint(H - 8 + 1, (), generator=expected)
        torch.randint(W - 8 + 1, (), generator=expected)
    assert torch.equal(used.get_state(), expected.get_state())


@pytest.mark.parametrize("kind", KINDS)
def test_training_chain_gives_the_wanted_size_for_every_task(kind: Literal["none", "flip", "reference"]) -> None:
    transform = training_transform(kind, (H, W), "imagenet")
    for seed in range(8):
        result = transform(all_tasks(seed), seeded(seed))
        assert result["image"].dtype == torch.float32
        for key, value in result.items():
            shape = value.size if isinstance(value, ObjectLabel) else value.shape[-2:]
            assert shape == (H, W), key
        assert result["instance"].masks.shape[-2:] == (H, W)


@pytest.mark.parametrize("kind", KINDS)
def test_equal_generator_states_give_equal_samples(kind: Literal["none", "flip", "reference"]) -> None:
    transform = training_transform(kind, (H, W), "half")
    assert_same(transform(all_tasks(), seeded(5)), transform(all_tasks(), seeded(5)))
    different = [
        not torch.equal(transform(all_tasks(), seeded(s))["image"], transform(all_tasks(), seeded(0))["image"])
        for s in range(1, 9)
    ]
    assert any(different) == (kind != "none")


def test_global_random_state_is_neither_read_nor_changed() -> None:
    transform = training_transform("reference", (H, W), "imagenet")
    before = torch.get_rng_state()
    first = transform(all_tasks(), seeded(1))
    assert torch.equal(before, torch.get_rng_state())
    torch.manual_seed(99)
    assert_same(first, transform(all_tasks(), seeded(1)))


def test_input_sample_is_left_unchanged() -> None:
    sample = all_tasks()
    for seed in range(4):
        training_transform("reference", (H, W), "imagenet")(sample, seeded(seed))
    assert_same(sample, all_tasks())


def test_reference_chain_keeps_image_and_labels_together() -> None:
    transform = training_transform("reference", (H, W), "half")
    seen = 0
    for seed in range(40):
        result = transform(marked(6, 8, 12), seeded(seed))
        inside = shown(result["instance"])
        valid = result["semseg"] != 255
        bright = result["image"].mean(0) > result["image"].mean(0)[valid].mean()
        if inside[valid].float().mean() > 0.1 and not inside[valid].all():
            seen += 1
            assert (bright == inside)[valid].float().mean() > 0.9
            assert torch.equal(shown(result["depth"]), inside)
    assert seen > 20


def test_reference_scale_is_between_half_and_double() -> None:
    transform = training_transform("reference", (2 * H, 2 * W), "half")
    depths = [float(transform(marked(0, 0, W), seeded(seed))["depth"].max()) for seed in range(60)]
    assert 1.0 <= min(depths) < 1.1
    assert 3.0 < max(depths) <= 4.0


def test_evaluation_normalises_and_pads_and_nothing_else() -> None:
    sample = all_tasks()
    result = evaluation_transform((H + 2, W + 2), "half")(sample)
    assert torch.allclose(result["image"][:, 1:-1, 1:-1], sample["image"].float() / 128 - 1)
    assert torch.equal(result["semseg"][1:-1, 1:-1], sample["semseg"])
    assert torch.equal(result["depth"][:, 1:-1, 1:-1], sample["depth"])


@pytest.mark.parametrize("background", [0, 255])
def test_parts_of_an_image_without_persons_are_ignored(background: int) -> None:
    empty = {"parts": tv_tensors.Mask(torch.full((4, 4), background, dtype=torch.uint8))}
    assert mark_ignored(empty)["parts"].unique().tolist() == [255]
    with_person = {"parts": tv_tensors.Mask(torch.eye(4, dtype=torch.uint8))}
    assert mark_ignored(with_person)["parts"].unique().tolist() == [0, 1]


def test_batch_has_the_agreed_shapes_and_types() -> None:
    transform = evaluation_transform((H, W), "imagenet")
    batch: dict[str, Any] = to_batch([transform(all_tasks(0)), transform(all_tasks(1))])
    for task in ("semseg", "parts", "saliency", "stuff"):
        assert (batch[task].shape, batch[task].dtype) == ((2, H, W), torch.int64), task
    for key, channels in (("image", 3), ("normals", 3), ("depth", 1), ("edge", 1)):
        assert (batch[key].shape, batch[key].dtype) == ((2, channels, H, W), torch.float32), key
    assert [people.keypoints.shape for people in batch["keypoints"]] == [(2, 17, 3)] * 2
    for task in OBJECT_TASKS:
        assert [label.size for label in batch[task]] == [(H, W)] * 2, task
    assert all(type(batch[key]) is Tensor for key in batch if key not in OBJECT_TASKS)


def test_batch_refuses_what_cannot_be_collated() -> None:
    ready = evaluation_transform((H, W), "imagenet")(all_tasks())
    with pytest.raises(ValueError, match=naming("sample")):
        to_batch([])
    with pytest.raises(ValueError, match=naming("keys")):
        to_batch([ready, {"image": ready["image"]}])
    with pytest.raises(ValueError, match=naming("normalised")):
        to_batch([all_tasks()])


def test_unknown_kind_lists_the_known_ones() -> None:
    with pytest.raises(ValueError, match=naming("augment", "strong", "none", "flip", "reference")):
        training_transform("strong", (H, W), "half")  # type: ignore[arg-type]
