"""Decoding once: resizing rules, and samples that cannot damage what is kept."""

from __future__ import annotations

import torch
from fmtl_datasets.shared.conventions import Sample
from fmtl_datasets.shared.memory import InMemory
from fmtl_datasets.shared.nearest import nearest_pixels
from fmtl_datasets.shared.objects import Instances, PanopticSegments
from fmtl_datasets.transforms.resizing import Resized, resize_edges, resize_sample
from torch import Tensor
from torchvision import tv_tensors


class Counted:
    """One sample of 8 x 12 pixels that counts how often it is decoded."""

    name = "counted"
    tasks = ("semseg", "normals", "edge", "depth")
    num_classes = {"semseg": 4}

    def __init__(self) -> None:
        self.decoded = 0

    def __len__(self) -> int:
        return 1

    def __getitem__(self, index: int) -> Sample:
        self.decoded += 1
        g = torch.Generator().manual_seed(index)
        return {
            "image": tv_tensors.Image(torch.randint(256, (3, 8, 12), generator=g).to(torch.uint8)),
            "semseg": tv_tensors.Mask(torch.randint(4, (8, 12), generator=g).to(torch.uint8)),
            "normals": tv_tensors.Mask(torch.nn.functional.normalize(torch.randn(3, 8, 12, generator=g), dim=0)),
            "edge": tv_tensors.Mask(torch.randint(2, (8, 12), generator=g).to(torch.uint8)),
            "depth": tv_tensors.Mask(torch.rand(1, 8, 12, generator=g) * 9),
        }


def test_each_image_is_decoded_once() -> None:
    source = Counted()
    kept = InMemory(source)
    for _ in range(3):
        kept[0]
    assert source.decoded == 1
    assert (len(kept), kept.name, kept.tasks, kept.num_classes) == (1, "counted", Counted.tasks, {"semseg": 4})


def test_kept_sample_equals_the_source_but_for_half_precision_normals() -> None:
    kept, fresh = InMemory(Counted())[0], Counted()[0]
    for key in ("image", "semseg", "edge", "depth"):
        assert torch.equal(kept[key], fresh[key]), key
        assert type(kept[key]) is type(fresh[key])
    cosine = (kept["normals"].double() * fresh["normals"].double()).sum(0).clamp(max=1)
    assert torch.rad2deg(torch.arccos(cosine)).max() < 0.03
    assert torch.allclose(kept["normals"].norm(dim=0), torch.ones(8, 12), atol=1e-6)


def test_invalid_normals_stay_zero() -> None:
    class Flat(Counted):
        def __getitem__(self, index: int) -> Sample:
            return {"normals": tv_tensors.Mask(torch.zeros(3, 2, 2))}

    assert InMemory(Flat())[0]["normals"].abs().sum() == 0


def test_changing_a_sample_in_place_does_not_change_what_is_kept() -> None:
    kept = InMemory(Counted())
    before = kept[0]
    changed = kept[0]
    for value in changed.values():
        value.zero_()
    assert all(torch.equal(kept[0][key], before[key]) for key in before)


def test_changing_an_object_label_in_place_does_not_change_what_is_kept() -> None:
    class People(Counted):
        def __getitem__(self, index: int) -> Sample:
            masks = torch.ones(1, 4, 4, dtype=torch.bool)
            box, one = torch.tensor([[0.0, 0.0, 4.0, 4.0]]), torch.tensor([1])
            people = Instances((4, 4), box, one, one.float(), one > 0, masks, torch.ones(1, 17, 3))
            return {"keypoints": people, "panoptic": PanopticSegments(masks[0].int(), one, one, one > 0)}

    kept = InMemory(People())
    for label in kept[0].values():
        for part in vars(label).values():
            if isinstance(part, Tensor):
                part.zero_()
    for label in kept[0].values():
        assert all(part.any() for part in vars(label).values() if isinstance(part, Tensor))


def test_resized_data_set_gives_every_label_the_same_size() -> None:
    sample = Resized(Counted(), (4, 6))[0]
    assert {key: tuple(value.shape) for key, value in sample.items()} == {
        "image": (3, 4, 6),
        "semseg": (4, 6),
        "normals": (3, 4, 6),
        "edge": (4, 6),
        "depth": (1, 4, 6),
    }


def test_resizing_keeps_metric_depth() -> None:
    sample = {"image": tv_tensors.Image(torch.zeros(3, 8, 8, dtype=torch.uint8))}
    depth = tv_tensors.Mask(torch.full((1, 8, 8), 3.25))
    assert resize_sample({**sample, "depth": depth}, (4, 4))["depth"].unique().tolist() == [3.25]


def test_thin_edge_survives_a_reduction_that_nearest_pixels_would_lose() -> None:
    edge = torch.zeros(12, 12, dtype=torch.uint8)
    edge[:, 5] = 1
    assert nearest_pixels(edge, (4, 4)).sum() == 0
    assert resize_edges(edge, (4, 4)).tolist() == [[0, 1, 0, 0]] * 4


def test_pooled_edge_is_ignored_only_where_all_of_it_is() -> None:
    edge = torch.tensor([[255, 255, 255, 0, 255, 1], [255, 255, 255, 255, 255, 255]], dtype=torch.uint8)
    assert resize_edges(edge, (1, 3)).tolist() == [[255, 0, 1]]


def test_enlarged_edge_covers_the_same_place() -> None:
    edge = torch.tensor([[0, 1], [0, 0]], dtype=torch.uint8)
    assert resize_edges(edge, (4, 4))[:2].tolist() == [[0, 0, 1, 1]] * 2


def test_labels_are_taken_from_pixel_centres_and_identifiers_stay_exact() -> None:
    label = torch.tensor([[16_777_217, 2, 3, 4, 5, 6]], dtype=torch.int32)
    assert nearest_pixels(label, (1, 2)).tolist() == [[2, 5]]
    assert nearest_pixels(label, (1, 12))[0, :2].tolist() == [16_777_217] * 2


def test_resized_image_and_labels_show_a_square_at_one_place() -> None:
    square = torch.zeros(16, 24)
    square[4:12, 8:16] = 1
    sample = {
        "image": tv_tensors.Image((square * 255).to(torch.uint8).repeat(3, 1, 1)),
        "semseg": tv_tensors.Mask(square.to(torch.uint8)),
        "edge": tv_tensors.Mask(square.to(torch.uint8)),
        "keypoints": Instances(
            size=(16, 24),
            boxes=torch.tensor([[8.0, 4.0, 16.0, 12.0]]),
            classes=torch.tensor([0]),
            areas=torch.tensor([64.0]),
            crowd=torch.tensor([False]),
            masks=square[None] > 0,
            keypoints=torch.tensor([11.5, 7.5, 2.0]).repeat(1, 17, 1),
        ),
        "panoptic": PanopticSegments(
            (square * 70_001).int(), torch.tensor([70_001]), torch.tensor([3]), torch.tensor([False])
        ),
    }
    small = resize_sample(sample, (8, 12))
    expected = torch.zeros(8, 12, dtype=torch.bool)
    expected[2:6, 4:8] = True
    people, segments = small["keypoints"], small["panoptic"]
    for value in (small["image"][0] > 127, small["semseg"] > 0, small["edge"] > 0, people.masks[0], segments.ids > 0):
        assert torch.equal(value.as_subclass(Tensor), expected)
    assert people.keypoints[0, 0].tolist() == [5.5, 3.5, 2.0]
    assert people.boxes.tolist() == [[4.0, 2.0, 8.0, 6.0]]
    assert (people.size, segments.size, people.areas.tolist()) == ((8, 12), (8, 12), [16.0])
