"""Counts of objects, known packages, and the order of findings."""

from __future__ import annotations

import numpy as np
from fmtl_datasets.shared.conventions import TASKS
from fmtl_datasets.sources.procedural import ProceduralScenes

from fmtl.data.facts import unexpected_counts
from fmtl.data.findings import KINDS, Finding
from fmtl.data.tally import ObjectTally

HEIGHT, WIDTH = 48, 64


def test_object_counts_of_parts_add_up() -> None:
    scenes = ProceduralScenes(["keypoints"], domain="outdoor", indices=range(4), size=(HEIGHT, WIDTH))
    whole, first, second = (ObjectTally(np.zeros(1, int), np.zeros(1, int), np.zeros(17, int)) for _ in range(3))
    for index in range(4):
        whole.add(scenes[index]["keypoints"])
        (first if index < 2 else second).add(scenes[index]["keypoints"])
    assert second.facts() != whole.facts()
    first.merge(second)
    assert first.facts() == whole.facts()
    assert whole.facts()["objects_with_keypoints"] > 0


def test_objects_are_counted_by_class_with_crowds_apart() -> None:
    scenes = ProceduralScenes(TASKS, domain="outdoor", indices=[0], size=(HEIGHT, WIDTH))
    label = scenes[0]["instance"]
    crowd = label.crowd.clone()
    crowd[0] = True
    tally = ObjectTally(np.zeros(8, int), np.zeros(8, int), np.zeros(17, int))
    tally.add(label)
    tally.add(type(label)(**{**vars(label), "crowd": crowd}))
    assert int(tally.objects.sum()) == 2 * len(label) - 1
    assert tally.crowds == 1
    assert tally.images.max() == 2


def test_known_packages_are_recognised_and_others_measured_against_the_usual_one() -> None:
    assert unexpected_counts("nyud", {"train": 795, "val": 654, "train_mini": 200}) == {}
    assert unexpected_counts("coco", {"train2017": 100, "val2017": 100}) == {}
    assert unexpected_counts("folder", {"train": 3}) == {}
    assert unexpected_counts("nyud", {"train": 795, "val": 10}) == {
        "val": "10 images; 654 are expected in the official split"
    }


def test_findings_are_sorted_by_kind_and_serious_ones_come_first() -> None:
    kinds = list(KINDS)
    blocking = [KINDS[kind].blocks for kind in kinds]
    assert blocking == sorted(blocking, reverse=True)
    late, early = Finding(kind="other-count", what="b"), Finding(kind="missing-file", what="a")
    assert sorted([late, early], key=lambda finding: finding.order) == [early, late]
