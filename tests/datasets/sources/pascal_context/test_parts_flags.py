"""Which images a parts client trains on: those that show people, or as the published code does, the wrong ones.

In the tiny data set the images at positions 2, 5, 8 and 11 of the training list show nobody.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from fmtl_datasets.registry import open_dataset
from fmtl_datasets.scenarios.scenario import ClientEntry
from fmtl_datasets.shared.source import Indices, SourceSettings
from fmtl_datasets.sources.pascal_context.people import flagged_as_published, with_people, with_people_as_published
from fmtl_datasets.sources.pascal_context.source import PascalContextSource
from tiny_pascal_context import standing_person, write_human_parts, write_pascal_context

PART = np.array([2, 5, 8, 0, 1, 3], dtype=np.int64)
"""Three images without people, then three with; its positions 2 and 5 are not flagged."""


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pascal")
    write_pascal_context(folder, train=12, val=4)
    return folder


def own(root: Path) -> PascalContextSource:
    return PascalContextSource(SourceSettings(root))


def as_published(root: Path) -> PascalContextSource:
    return PascalContextSource(SourceSettings(root, parts_flags="reference"))


def supervised(source: PascalContextSource, tasks: tuple[str, ...], image_list: str, indices: Indices) -> list[bool]:
    samples = source.open(tasks, image_list, indices)
    return [bool((samples[position]["parts"] != 255).any()) for position in range(len(samples))]


def test_a_parts_client_trains_on_its_images_with_people(root: Path) -> None:
    assert own(root).usable("train", PART, ("parts",)).tolist() == [0, 1, 3]
    assert own(root).usable("val", np.arange(4), ("parts",)).tolist() == [0, 1, 3]


def test_clients_with_other_tasks_keep_every_image(root: Path) -> None:
    for source in (own(root), as_published(root)):
        for tasks in (("semseg",), ("parts", "edge"), ("normals", "parts")):
            assert source.usable("train", PART, tasks).tolist() == PART.tolist()


def test_parts_are_supervised_wherever_there_are_people(root: Path) -> None:
    assert supervised(own(root), ("semseg", "parts"), "train", PART) == [False, False, False, True, True, True]
    assert supervised(own(root), ("parts",), "train", PART) == [False, False, False, True, True, True]


def test_a_person_with_an_empty_mask_does_not_count_and_one_without_parts_does(tmp_path: Path) -> None:
    write_pascal_context(tmp_path, train=2, val=1)
    person = standing_person((64, 80), 2, 10, 40, has_parts=False)
    write_human_parts(tmp_path / "human_parts" / "2008_000002.mat", [person])
    person.mask[:] = False
    write_human_parts(tmp_path / "human_parts" / "2008_000003.mat", [person])
    assert own(tmp_path).usable("train", np.arange(2), ("parts",)).tolist() == [0]


def test_the_published_code_deletes_the_wrong_images_of_a_parts_client(root: Path) -> None:
    kept = as_published(root).usable("train", PART, ("parts",))
    # It deletes positions 2 and 5: image 8, which shows nobody, and image 3, which shows two people.
    assert kept.tolist() == [2, 5, 0, 1]
    assert supervised(as_published(root), ("parts",), "train", kept) == [False, False, True, True]


def test_the_published_code_ignores_the_parts_of_the_wrong_images_of_a_client_with_several_tasks(root: Path) -> None:
    assert supervised(as_published(root), ("semseg", "parts"), "train", PART) == [False] * 3 + [True, True, False]
    moved = np.array([0, 1, 3, 4, 6, 7])
    assert supervised(as_published(root), ("parts", "edge"), "train", moved) == [True, True, False, True, True, False]


def test_the_other_labels_are_untouched_by_the_published_flags(root: Path) -> None:
    for tasks in (("semseg", "parts"), ("parts", "edge")):
        right, wrong = (source.open(tasks, "train", PART) for source in (own(root), as_published(root)))
        for position in range(len(PART)):
            for key in ("image", *(task for task in tasks if task != "parts")):
                assert (right[position][key] == wrong[position][key]).all()


def test_validation_is_not_affected(root: Path) -> None:
    shuffled = np.array([2, 3, 0, 1])
    for tasks in (("parts",), ("semseg", "parts")):
        expected = supervised(own(root), tasks, "val", shuffled)
        assert expected == [False, True, True, True]
        assert supervised(as_published(root), tasks, "val", shuffled) == expected


def test_a_whole_list_in_its_order_is_not_affected(root: Path) -> None:
    whole = np.arange(12)
    assert as_published(root).usable("train", whole, ("parts",)).tolist() == [0, 1, 3, 4, 6, 7, 9, 10]
    for tasks in (("parts",), ("semseg", "parts")):
        right, wrong = (supervised(source, tasks, "train", whole) for source in (own(root), as_published(root)))
        assert right == wrong


def test_the_switch_is_named_in_the_summary(root: Path) -> None:
    assert "published" not in own(root).summary
    assert "parts flags as in the published code" in as_published(root).summary


@pytest.mark.parametrize("share", [0.3, 0.5, 0.8])
def test_correct_supervision_falls_from_a_share_of_the_images_to_its_square(share: float) -> None:
    draws = np.random.default_rng(7)
    flags = draws.random(20_000) < share
    clients = np.array_split(draws.permutation(len(flags)), 4)

    def shows_people(position: int) -> bool:
        return bool(flags[position])

    for part in clients:
        size = len(part)
        right = with_people(part, shows_people)
        assert flags[right].all()
        assert len(right) / size == pytest.approx(share, abs=0.03)
        kept = with_people_as_published(part, shows_people)
        assert len(kept) / size == pytest.approx(share, abs=0.03)
        assert flags[kept].sum() / size == pytest.approx(share**2, abs=0.03)
        read = np.array(list(flagged_as_published(size, shows_people)))
        assert (read & flags[part]).sum() / size == pytest.approx(share**2, abs=0.03)


def test_a_scenario_reaches_both_kinds_of_flags(root: Path) -> None:
    counts = {}
    for flags in ("own", "reference"):
        entry = ClientEntry.model_validate(
            {
                "name": "a",
                "dataset": "pascal_context",
                "data-root": str(root),
                "tasks": ["semseg", "parts"],
                "image-size": [64, 80],
                "fit": "pad",
                "encoder": "x",
                "parts-flags": flags,
            }
        )
        for split in ("train", "validation"):
            samples = open_dataset(entry, split)  # type: ignore[arg-type]
            counts[flags, split] = sum(
                bool((samples[position]["parts"] != 255).any()) for position in range(len(samples))
            )
    assert counts["own", "train"] == 8
    assert counts["reference", "train"] < 8
    assert counts["own", "validation"] == counts["reference", "validation"] == 3
