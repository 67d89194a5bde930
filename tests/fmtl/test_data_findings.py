"""Known packages, and the order of findings."""

from __future__ import annotations

from fmtl.data.findings import KINDS, Finding, unexpected_counts


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
