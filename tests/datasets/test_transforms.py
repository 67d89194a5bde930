"""Joint transforms: image and labels stay together, and nothing but the given generator is random."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
import pytest
import torch
from torch import Generator, Tensor
from torchvision import tv_tensors

from datasets.conventions import TASKS, Sample
from datasets.transforms import (
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

H, W = 24, 32
KINDS: tuple[Literal["none", "flip", "reference"], ...] = ("none", "flip", "reference")


def seeded(seed: int) -> Generator:
    return Generator().manual_seed(seed)


def all_tasks(seed: int = 0) -> Sample:
    """A sample with all ten tasks and arbitrary content."""
    g = seeded(seed)

    def integers(high: int, *shape: int, dtype: torch.dtype = torch.uint8) -> Tensor:
        return torch.randint(high, shape, generator=g).to(dtype)

    normals = torch.nn.functional.normalize(torch.randn(3, H, W, generator=g), dim=0)
    points = torch.stack([integers(W, 2, 17), integers(H, 2, 17), integers(3, 2, 17)], dim=-1).float()
    points[..., :2] *= points[..., 2:] > 0
    return {
        "image": tv_tensors.Image(integers(256, 3, H, W)),
        "semseg": tv_tensors.Mask(integers(9, H, W)),
        "parts": tv_tensors.Mask(integers(7, H, W)),
        "saliency": tv_tensors.Mask(integers(2, H, W)),
        "normals": tv_tensors.Mask(normals),
        "edge": tv_tensors.Mask(integers(2, H, W)),
        "depth": tv_tensors.Mask(torch.rand(1, H, W, generator=g) * 5 + 1),
        "instance": tv_tensors.Mask(integers(4, H, W, dtype=torch.int32)),
        "keypoints": points,
        "stuff": tv_tensors.Mask(integers(5, H, W)),
        "panoptic": tv_tensors.Mask(integers(50, H, W, dtype=torch.int32) * 1000 + 3),
        "instance_classes": torch.tensor([4, 1, 7]),
    }


def marked(top: int, left: int, side: int) -> Sample:
    """Black image and empty labels, but for a square that all of them show."""
    square = torch.zeros(H, W)
    square[top : top + side, left : left + side] = 1
    sample: Sample = {"image": tv_tensors.Image((square * 255).to(torch.uint8).repeat(3, 1, 1))}
    for task in ("semseg", "parts", "saliency", "edge", "stuff"):
        sample[task] = tv_tensors.Mask(square.to(torch.uint8))
    for task in ("instance", "panoptic"):
        sample[task] = tv_tensors.Mask(square.to(torch.int32) * 70_001)
    sample["depth"] = tv_tensors.Mask(square[None] * 2)
    sample["normals"] = tv_tensors.Mask(torch.stack([square * 0, square * 0, -square]))
    middle = (side - 1) / 2
    sample["keypoints"] = torch.tensor([left + middle, top + middle, 2.0]).repeat(1, 17, 1)
    return sample


def shown(value: Tensor) -> Tensor:
    """Where a label or image shows the square."""
    plain = value.as_subclass(Tensor).float()
    plain = torch.where(plain == 255, 0, plain) if plain.ndim == 2 else plain
    return plain.abs().amax(0) > 1e-3 if plain.ndim == 3 else plain > 0


def assert_same(first: Sample, second: Sample) -> None:
    assert first.keys() == second.keys()
    for key in first:
        assert type(first[key]) is type(second[key]), key
        assert first[key].dtype == second[key].dtype, key
        assert torch.equal(first[key].as_subclass(Tensor), second[key].as_subclass(Tensor)), key


def test_the_sample_of_these_tests_has_all_ten_tasks() -> None:
    assert set(TASKS) <= set(all_tasks())


def test_flip_twice_is_the_identity_for_all_ten_tasks() -> None:
    sample = all_tasks()
    once = flip(sample)
    for task in TASKS:
        assert not torch.equal(once[task].as_subclass(Tensor), sample[task].as_subclass(Tensor)), task
    assert_same(flip(once), sample)


def test_flip_negates_normals_x_and_keeps_y_and_z() -> None:
    sample = all_tasks()
    expected = sample["normals"].numpy()[:, :, ::-1] * np.array([-1, 1, 1], dtype=np.float32)[:, None, None]
    assert np.array_equal(flip(sample)["normals"].numpy(), expected)


def test_flip_mirrors_keypoints_and_swaps_left_and_right() -> None:
    points = torch.zeros(1, 17, 3)
    points[0, 1] = torch.tensor([5.0, 7.0, 2.0])
    points[0, 16] = torch.tensor([0.0, 3.0, 1.0])
    flipped = flip({**all_tasks(), "keypoints": points})["keypoints"][0]
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
    for task in ("semseg", "instance", "panoptic"):
        assert scaled[task].dtype == sample[task].dtype
        assert set(scaled[task].unique().tolist()) <= set(sample[task].unique().tolist())
    assert torch.allclose(scaled["normals"].norm(dim=0), torch.ones(round(H * factor), round(W * factor)), atol=1e-5)


@pytest.mark.parametrize("factor", [0.5, 2.0])
def test_scaled_square_is_at_one_place_in_image_and_labels(factor: float) -> None:
    scaled = rescale(marked(8, 12, 8), factor)
    expected = torch.zeros(round(H * factor), round(W * factor), dtype=torch.bool)
    top, left, side = (round(number * factor) for number in (8, 12, 8))
    expected[top : top + side, left : left + side] = True
    for key in set(scaled) - {"keypoints", "image"}:
        assert torch.equal(shown(scaled[key]), expected), key
    assert torch.equal(scaled["image"][0] > 127, expected)
    middle = (side - 1) / 2
    assert scaled["keypoints"][0, 0].tolist() == [left + middle, top + middle, 2.0]


def test_cropped_and_padded_square_is_at_one_place_in_image_and_labels() -> None:
    moved = pad(crop(marked(8, 12, 4), Window(6, 10, 10, 12)), (20, 26))
    expected = torch.zeros(20, 26, dtype=torch.bool)
    expected[5 + 2 : 5 + 6, 7 + 2 : 7 + 6] = True
    for key in set(moved) - {"keypoints"}:
        assert torch.equal(shown(moved[key]), expected), key
    assert moved["keypoints"][0, 0].tolist() == [7 + 3.5, 5 + 3.5, 2.0]


def test_keypoint_outside_the_crop_becomes_unlabelled() -> None:
    cropped = crop(marked(8, 12, 4), Window(0, 0, 8, 8))
    assert cropped["keypoints"].abs().sum() == 0


def test_padding_uses_the_ignore_value_of_each_label() -> None:
    padded = pad(all_tasks(), (H + 4, W + 6))
    border = {
        key: value[..., 0, 0].flatten().tolist()
        for key, value in padded.items()
        if isinstance(value, tv_tensors.TVTensor)
    }
    for task in ("semseg", "parts", "saliency", "edge", "stuff"):
        assert border[task] == [255], task
    for task in ("depth", "instance", "panoptic"):
        assert border[task] == [0], task
    assert border["normals"] == border["image"] == [0, 0, 0]


def test_padding_of_a_larger_image_names_the_setting() -> None:
    with pytest.raises(ValueError, match=r"image-size = \[16, 64\] is smaller than an image of 24 x 32"):
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
        for key in set(result) - {"keypoints", "instance_classes"}:
            assert result[key].shape[-2:] == (H, W), key


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
    for task in ("semseg", "parts", "saliency", "stuff", "instance", "panoptic"):
        assert (batch[task].shape, batch[task].dtype) == ((2, H, W), torch.int64), task
    for key, channels in (("image", 3), ("normals", 3), ("depth", 1), ("edge", 1)):
        assert (batch[key].shape, batch[key].dtype) == ((2, channels, H, W), torch.float32), key
    assert [points.shape for points in batch["keypoints"]] == [(2, 17, 3)] * 2
    assert all(type(batch[key]) is Tensor for key in batch if key not in ("keypoints", "instance_classes"))


def test_batch_refuses_what_cannot_be_collated() -> None:
    ready = evaluation_transform((H, W), "imagenet")(all_tasks())
    with pytest.raises(ValueError, match="at least one sample"):
        to_batch([])
    with pytest.raises(ValueError, match="same keys"):
        to_batch([ready, {"image": ready["image"]}])
    with pytest.raises(ValueError, match="not normalised"):
        to_batch([all_tasks()])


def test_unknown_kind_lists_the_known_ones() -> None:
    with pytest.raises(ValueError, match="augment = 'strong' is not known; expected none, flip or reference"):
        training_transform("strong", (H, W), "half")  # type: ignore[arg-type]
