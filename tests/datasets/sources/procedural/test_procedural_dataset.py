"""Drawing is reproducible, arguments are checked, and the scenes are varied."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from fmtl_datasets.shared.conventions import TASKS
from fmtl_datasets.sources.procedural import PART_CLASSES, SEMSEG_CLASSES, STUFF_CLASSES, ProceduralScenes
from fmtl_datasets.sources.procedural.classes import DOMAINS, Domain
from torchvision import tv_tensors

ROOT = Path(__file__).resolve().parents[4]

DIGEST = """
import hashlib
import torch
from fmtl_datasets.shared.conventions import TASKS
from fmtl_datasets.sources.procedural import ProceduralScenes
data = ProceduralScenes(TASKS, domain="outdoor", indices=[4, 9], seed=3, size=(64, 96))
for i in range(2):
    total = hashlib.sha256()
    for key, value in sorted(data[i].items()):
        parts = {"": value} if isinstance(value, torch.Tensor) else vars(value)
        for name, part in sorted(parts.items()):
            total.update(f"{key} {name}".encode())
            total.update(part.numpy().tobytes() if isinstance(part, torch.Tensor) else repr(part).encode())
    print(total.hexdigest())
"""


def parts(value: Any) -> dict[str, Any]:
    """A label itself, or the attributes of an object label."""
    return {"": value} if isinstance(value, torch.Tensor) else dict(vars(value))


def digest(sample: dict[str, Any]) -> str:
    total = hashlib.sha256()
    for key, value in sorted(sample.items()):
        for name, part in sorted(parts(value).items()):
            total.update(f"{key} {name}".encode())
            total.update(part.numpy().tobytes() if isinstance(part, torch.Tensor) else repr(part).encode())
    return total.hexdigest()


def test_another_process_draws_the_same_bytes() -> None:
    other = subprocess.run([sys.executable, "-c", DIGEST], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    data = ProceduralScenes(TASKS, domain="outdoor", indices=[4, 9], seed=3, size=(64, 96))
    assert other.split() == [digest(data[i]) for i in range(2)]


@pytest.mark.parametrize("domain", DOMAINS)
def test_order_of_access_and_cache_change_nothing(domain: Domain) -> None:
    forth = ProceduralScenes(TASKS, domain=domain, indices=range(4), cache_bytes=0)
    back = ProceduralScenes(TASKS, domain=domain, indices=[3, 2, 1, 0])
    expected = [digest(forth[i]) for i in range(4)]
    assert [digest(back[3 - i]) for i in range(4)] == expected
    assert [digest(back[3 - i]) for i in range(4)] == expected


def test_a_label_does_not_depend_on_the_tasks_asked_for() -> None:
    whole = ProceduralScenes(TASKS, domain="indoor", indices=[11])[0]
    for task in TASKS:
        alone = ProceduralScenes([task], domain="indoor", indices=[11])[0]
        assert torch.equal(alone["image"], whole["image"])
        assert digest({task: alone[task]}) == digest({task: whole[task]})


def test_only_what_was_asked_for_is_given() -> None:
    data = ProceduralScenes(["depth", "semseg"], domain="indoor", indices=range(2))
    assert set(data[0]) == {"image", "depth", "semseg"}
    assert data.tasks == ("depth", "semseg")
    assert len(data) == 2


def test_seed_index_and_domain_change_the_scene() -> None:
    base = ProceduralScenes([], domain="indoor", indices=[0, 1], seed=0)
    other_seed = ProceduralScenes([], domain="indoor", indices=[0], seed=1)
    other_domain = ProceduralScenes([], domain="outdoor", indices=[0], seed=0)
    pictures = {digest(base[0]), digest(base[1]), digest(other_seed[0]), digest(other_domain[0])}
    assert len(pictures) == 4


def test_types_and_shapes_follow_the_conventions() -> None:
    sample = ProceduralScenes(TASKS, domain="outdoor", indices=[2], size=(48, 80))[0]
    assert isinstance(sample["image"], tv_tensors.Image)
    expected = {
        "image": ((3, 48, 80), torch.uint8),
        "semseg": ((48, 80), torch.uint8),
        "parts": ((48, 80), torch.uint8),
        "saliency": ((48, 80), torch.uint8),
        "normals": ((3, 48, 80), torch.float32),
        "edge": ((48, 80), torch.uint8),
        "depth": ((1, 48, 80), torch.float32),
        "stuff": ((48, 80), torch.uint8),
    }
    for key, (shape, dtype) in expected.items():
        assert tuple(sample[key].shape) == shape, key
        assert sample[key].dtype == dtype, key
        assert key == "image" or isinstance(sample[key], tv_tensors.Mask)
    assert set(sample) == {"image", *TASKS}


def test_object_labels_follow_the_conventions() -> None:
    data = ProceduralScenes(TASKS, domain="outdoor", indices=[2], size=(48, 80))
    sample, (n, p) = data[0], (len(data[0]["instance"]), len(data[0]["keypoints"]))
    things, people, segments = sample["instance"], sample["keypoints"], sample["panoptic"]
    assert n > p > 0
    assert things.size == people.size == segments.size == (48, 80)
    expected = {
        "boxes": (things.boxes, (n, 4), torch.float32),
        "classes": (things.classes, (n,), torch.int64),
        "areas": (things.areas, (n,), torch.float32),
        "crowd": (things.crowd, (n,), torch.bool),
        "masks": (things.masks, (n, 48, 80), torch.bool),
        "boxes of people": (people.boxes, (p, 4), torch.float32),
        "keypoints": (people.keypoints, (p, 17, 3), torch.float32),
        "ids": (segments.ids, (48, 80), torch.int32),
        "segment ids": (segments.segment_ids, (len(segments),), torch.int64),
        "classes of segments": (segments.classes, (len(segments),), torch.int64),
    }
    for name, (tensor, shape, dtype) in expected.items():
        assert (tuple(tensor.shape), tensor.dtype) == (shape, dtype), name
    assert things.keypoints is None
    assert people.classes.tolist() == [0] * p
    assert not torch.cat([things.crowd, people.crowd, segments.crowd]).any()
    counts = data.num_classes
    assert things.classes.max() < counts["instance"] == counts["panoptic-things"]
    assert segments.classes.max() < counts["panoptic"]


def test_changing_a_sample_leaves_the_cache_alone() -> None:
    data = ProceduralScenes(["semseg"], domain="indoor", indices=[5])
    before = digest(data[0])
    data[0]["semseg"].fill_(9)
    assert digest(data[0]) == before
    assert isinstance(data[0]["semseg"], tv_tensors.Mask)


def test_changing_an_object_label_leaves_the_cache_alone() -> None:
    data = ProceduralScenes(["instance", "keypoints", "panoptic"], domain="indoor", indices=[5])
    before = digest(data[0])
    for label in data[0].values():
        for part in parts(label).values():
            if isinstance(part, torch.Tensor):
                part.zero_()
    assert digest(data[0]) == before


def test_the_cache_keeps_within_its_bytes() -> None:
    one = 3 * 32 * 32
    data = ProceduralScenes([], domain="indoor", indices=range(6), size=(32, 32), cache_bytes=2 * one)
    for i in range(6):
        data[i]
    assert sorted(data._cache) == [4, 5]
    assert data._room == 0


def test_the_same_scene_is_seen_at_any_size() -> None:
    small = ProceduralScenes(["depth"], domain="indoor", indices=[1], size=(64, 64))[0]["depth"]
    large = ProceduralScenes(["depth"], domain="indoor", indices=[1], size=(128, 128))[0]["depth"]
    assert abs(float(small.median() - large.median())) < 0.1


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"tasks": ["semseg", "colour"]}, "colour"),
        ({"domain": "space"}, "space"),
        ({"indices": [0, -3]}, "-3"),
        ({"seed": -1}, "seed"),
        ({"size": (8, 128)}, "size"),
        ({"cache_bytes": -1}, "cache_bytes"),
    ],
)
def test_impossible_arguments_are_named(change: dict[str, Any], named: str) -> None:
    arguments: dict[str, Any] = {"tasks": ["semseg"], "domain": "indoor", "indices": [0]} | change
    with pytest.raises(ValueError, match=named):
        ProceduralScenes(arguments.pop("tasks"), **arguments)


def test_a_position_outside_the_data_set_is_an_index_error() -> None:
    data = ProceduralScenes([], domain="indoor", indices=[3])
    with pytest.raises(IndexError):
        data[1]


@pytest.fixture(scope="module")
def many() -> dict[str, list[dict[str, Any]]]:
    tasks = ["semseg", "parts", "stuff", "edge", "saliency", "depth", "keypoints"]
    return {
        domain: [ProceduralScenes(tasks, domain=domain, indices=[i], size=(64, 64), seed=1)[0] for i in range(200)]  # type: ignore[arg-type]
        for domain in DOMAINS
    }


@pytest.mark.parametrize("domain", DOMAINS)
def test_every_class_appears_and_none_takes_over(many: dict[str, list[dict[str, Any]]], domain: str) -> None:
    for task, names in (("semseg", SEMSEG_CLASSES), ("parts", PART_CLASSES), ("stuff", STUFF_CLASSES)):
        labels = np.stack([sample[task].numpy() for sample in many[domain]])
        share = np.bincount(labels.ravel(), minlength=len(names)) / labels.size
        assert len(share) == len(names)
        assert (share > 0.0004).all(), dict(zip(names, share, strict=True))
        assert task == "parts" or share.max() < 0.5
        images = np.array([(labels == k).any(axis=(1, 2)).mean() for k in range(len(names))])
        assert (images > 0.15).all(), dict(zip(names, images, strict=True))


@pytest.mark.parametrize("domain", DOMAINS)
def test_edges_salient_things_and_people_have_sane_shares(many: dict[str, list[dict[str, Any]]], domain: str) -> None:
    edge = np.mean([sample["edge"].numpy().mean() for sample in many[domain]])
    salient = np.array([sample["saliency"].numpy().mean() for sample in many[domain]])
    people = np.array([len(sample["keypoints"]) for sample in many[domain]])
    assert 0.03 < edge < 0.2
    assert 0.005 < salient.mean() < 0.3
    assert (salient > 0).mean() > 0.95
    assert 0.8 < people.mean() < 4


def test_the_domains_differ_in_colour_and_depth(many: dict[str, list[dict[str, Any]]]) -> None:
    def warmth(sample: dict[str, Any]) -> float:
        red, _, blue = sample["image"].numpy().reshape(3, -1).astype(float).mean(axis=1)
        return float((red - blue) / (red + blue))

    indoor, outdoor = ([warmth(sample) for sample in many[domain]] for domain in ("indoor", "outdoor"))
    pooled = np.sqrt((np.var(indoor) + np.var(outdoor)) / 2)
    assert (np.mean(indoor) - np.mean(outdoor)) / pooled > 1.0
    far = {domain: np.mean([float(sample["depth"].max()) for sample in many[domain]]) for domain in DOMAINS}
    assert far["outdoor"] > 1.5 * far["indoor"]
