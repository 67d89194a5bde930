"""Derived labels: derived once, never mixed up, never believed when damaged, never in the way of another process."""

from __future__ import annotations

import logging
import multiprocessing
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from errors import naming
from fmtl_datasets.shared.label_cache import Derivation, LabelCache

LABEL = np.arange(12, dtype=np.uint8).reshape(3, 4)
EDGE = Derivation("edge", 1)


class Deriving:
    """Gives a label and counts how often it is asked to."""

    def __init__(self, label: npt.NDArray[Any] = LABEL) -> None:
        self.label = label
        self.calls = 0

    def __call__(self, source: Path) -> npt.NDArray[Any]:
        self.calls += 1
        assert source.is_file()
        return self.label.copy()


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "data" / "1.mat"
    path.parent.mkdir()
    path.write_bytes(b"annotation")
    return path


def kept_files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


@pytest.mark.parametrize("label", [LABEL, LABEL > 5, np.array([15, -1]), np.zeros((2, 0), np.float32)])
def test_a_label_is_derived_once_and_comes_back_as_it_was(
    tmp_path: Path, source: Path, label: npt.NDArray[Any]
) -> None:
    derive = Deriving(label)
    first = LabelCache(tmp_path / "cache", source.parent).get(EDGE, "1", source, derive)
    again = LabelCache(tmp_path / "cache", source.parent).get(EDGE, "1", source, derive)
    assert derive.calls == 1
    assert again.dtype == first.dtype == label.dtype
    np.testing.assert_array_equal(again, label)
    again[...] = 0


def test_without_a_folder_a_label_is_derived_at_every_access_and_nothing_is_written(
    tmp_path: Path, source: Path
) -> None:
    derive = Deriving()
    cache = LabelCache(None, source.parent)
    for _ in range(3):
        np.testing.assert_array_equal(cache.get(EDGE, "1", source, derive), LABEL)
    assert derive.calls == 3
    assert kept_files(tmp_path) == [source]


def test_two_data_roots_never_mix(tmp_path: Path, source: Path) -> None:
    other = tmp_path / "elsewhere" / "data" / "1.mat"
    other.parent.mkdir(parents=True)
    other.write_bytes(b"annotation")
    for path, label in ((source, LABEL), (other, LABEL + 100)):
        LabelCache(tmp_path / "cache", path.parent).get(EDGE, "1", path, Deriving(label))
    kept = LabelCache(tmp_path / "cache", source.parent).get(EDGE, "1", source, Deriving(LABEL + 7))
    np.testing.assert_array_equal(kept, LABEL)


@pytest.mark.parametrize(
    "other", [Derivation("edge", 2), Derivation("parts", 1), Derivation("edge", 1, "3,4"), Derivation("edge", 1, "3")]
)
def test_another_derivation_version_or_setting_is_another_label(
    tmp_path: Path, source: Path, other: Derivation
) -> None:
    cache = LabelCache(tmp_path / "cache", source.parent)
    for derivation, label in ((EDGE, LABEL), (Derivation("edge", 1, "5"), LABEL + 50), (other, LABEL + 100)):
        cache.get(derivation, "1", source, Deriving(label))
    np.testing.assert_array_equal(cache.get(EDGE, "1", source, Deriving(LABEL + 7)), LABEL)
    np.testing.assert_array_equal(cache.get(other, "1", source, Deriving(LABEL + 7)), LABEL + 100)


@pytest.mark.parametrize("damage", ["empty", "short", "every byte"])
def test_a_damaged_file_is_derived_anew_and_repaired(tmp_path: Path, source: Path, damage: str) -> None:
    cache = LabelCache(tmp_path / "cache", source.parent)
    cache.get(EDGE, "1", source, Deriving())
    (path,) = kept_files(tmp_path / "cache")
    whole = path.read_bytes()
    contents = {"empty": [b""], "short": [whole[:end] for end in range(1, len(whole))]}.get(damage)
    contents = contents or [whole[:i] + bytes([whole[i] ^ 4]) + whole[i + 1 :] for i in range(len(whole))]
    for content in contents:
        path.write_bytes(content)
        derive = Deriving()
        np.testing.assert_array_equal(cache.get(EDGE, "1", source, derive), LABEL)
        assert derive.calls == 1
        np.testing.assert_array_equal(cache.get(EDGE, "1", source, derive), LABEL)
        assert derive.calls == 1


def test_a_source_file_that_has_changed_gives_a_new_label(tmp_path: Path, source: Path) -> None:
    cache = LabelCache(tmp_path / "cache", source.parent)
    cache.get(EDGE, "1", source, Deriving())
    source.write_bytes(b"another annotation")
    np.testing.assert_array_equal(cache.get(EDGE, "1", source, Deriving(LABEL + 1)), LABEL + 1)
    np.testing.assert_array_equal(cache.get(EDGE, "1", source, Deriving(LABEL + 2)), LABEL + 1)


def _derive_all(folder: Path, root: Path, count: int) -> list[int]:
    cache = LabelCache(folder, root)
    source = root / "1.mat"
    large = np.random.default_rng(0).integers(0, 7, (100, 100), dtype=np.uint8)
    return [int(cache.get(EDGE, str(i), source, lambda _, i=i: large + np.uint8(i)).sum()) for i in range(count)]


def test_several_processes_derive_the_same_labels_at_the_same_time(tmp_path: Path, source: Path) -> None:
    arguments = (tmp_path / "cache", source.parent, 60)
    expected = _derive_all(tmp_path / "alone", source.parent, 60)
    with multiprocessing.get_context("fork").Pool(4) as pool:
        results = [pool.apply_async(_derive_all, arguments) for _ in range(4)]
        assert [result.get(300) for result in results] == [expected] * 4
    assert {path.suffix for path in kept_files(tmp_path / "cache")} == {".label"}
    assert len(kept_files(tmp_path / "cache")) == 60


def test_a_label_kept_while_another_process_keeps_the_same_one_is_kept(
    tmp_path: Path, source: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def overtaken(path: Path, target: Path) -> Path:
        monkeypatch.undo()
        LabelCache(tmp_path / "cache", source.parent).get(EDGE, "1", source, Deriving())
        return path.replace(target)

    monkeypatch.setattr(Path, "replace", overtaken)
    LabelCache(tmp_path / "cache", source.parent).get(EDGE, "1", source, Deriving())
    assert not caplog.records
    assert [path.suffix for path in kept_files(tmp_path / "cache")] == [".label"]


def test_a_full_or_locked_folder_costs_time_and_says_so_once(
    tmp_path: Path, source: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "cache").write_text("a file where the folder should be")
    cache = LabelCache(tmp_path / "cache", source.parent)
    derive = Deriving()
    with caplog.at_level(logging.WARNING):
        for image_id in ("1", "2"):
            np.testing.assert_array_equal(cache.get(EDGE, image_id, source, derive), LABEL)
    assert derive.calls == 2
    said = [record.getMessage() for record in caplog.records if "cannot be kept" in record.getMessage()]
    assert len(said) == 1
    assert str(tmp_path / "cache") in said[0]


def test_a_write_that_fails_half_way_leaves_nothing(
    tmp_path: Path, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(path: Path, target: Path) -> Path:
        raise OSError("No space left on device")

    monkeypatch.setattr(Path, "replace", full)
    cache = LabelCache(tmp_path / "cache", source.parent)
    np.testing.assert_array_equal(cache.get(EDGE, "1", source, Deriving()), LABEL)
    assert kept_files(tmp_path / "cache") == []


def test_what_cannot_be_derived_is_not_kept(tmp_path: Path, source: Path) -> None:
    def fail(path: Path) -> npt.NDArray[Any]:
        raise ValueError(f"{path}: is damaged")

    cache = LabelCache(tmp_path / "cache", source.parent)
    with pytest.raises(ValueError, match=naming("1.mat")):
        cache.get(EDGE, "1", source, fail)
    assert not (tmp_path / "cache").exists()


@pytest.mark.parametrize("inside", [".", "cache", "deep/../cache"])
def test_a_folder_inside_the_data_set_is_refused(source: Path, inside: str) -> None:
    with pytest.raises(ValueError, match=naming("inside")):
        LabelCache(source.parent / inside, source.parent)


@pytest.mark.parametrize("image_id", ["../1", "a/b", ""])
def test_an_id_that_is_a_path_is_refused(tmp_path: Path, source: Path, image_id: str) -> None:
    with pytest.raises(ValueError, match=naming("name")):
        LabelCache(tmp_path / "cache", source.parent).get(EDGE, image_id, source, Deriving())
