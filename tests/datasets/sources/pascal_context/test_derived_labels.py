"""Labels derived from MATLAB files: kept beside the run, the same as without a cache, and the data set left alone."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from errors import naming
from fmtl_datasets.shared.source import SourceSettings
from fmtl_datasets.sources.pascal_context import dataset
from fmtl_datasets.sources.pascal_context.source import PascalContextSource
from tiny_pascal_context import write_pascal_context

Picture = dict[str, tuple[bytes | None, int, int]]


def picture_of(folder: Path) -> Picture:
    """Content, rights and time of change of everything in a folder."""
    return {
        str(path.relative_to(folder)): (
            path.read_bytes() if path.is_file() else None,
            path.stat().st_mode,
            path.stat().st_mtime_ns,
        )
        for path in (folder, *sorted(folder.rglob("*")))
    }


@pytest.fixture
def root(tmp_path: Path) -> Path:
    write_pascal_context(tmp_path / "data", train=6, val=2)
    return tmp_path / "data"


@pytest.fixture
def read_only(root: Path) -> Iterator[Path]:
    folders = [root, *(path for path in root.rglob("*") if path.is_dir())]
    for folder in folders:
        folder.chmod(0o555)
    yield root
    for folder in folders:
        folder.chmod(0o755)


def use_everything(source: PascalContextSource) -> None:
    for image_list in source.lists:
        samples = source.open(source.tasks, image_list)
        for position in range(len(samples)):
            samples[position]
        source.usable(image_list, np.arange(len(samples)), ("parts",))
        list(source.files(image_list, source.tasks))


@pytest.mark.parametrize("has_cache", [False, True])
def test_the_data_set_is_left_byte_for_byte_as_it_was(tmp_path: Path, root: Path, has_cache: bool) -> None:
    before = picture_of(root)
    cache = tmp_path / "cache" if has_cache else None
    for flags in ("own", "reference"):
        use_everything(PascalContextSource(SourceSettings(root, cache, parts_flags=flags)))  # type: ignore[arg-type]
    assert picture_of(root) == before


def test_a_data_set_that_nobody_may_write_to_is_used(tmp_path: Path, read_only: Path) -> None:
    if os.access(read_only, os.W_OK):
        # The superuser may write anywhere: that nothing is written is what the test above sees.
        assert os.geteuid() == 0
    before = picture_of(read_only)
    use_everything(PascalContextSource(SourceSettings(read_only, tmp_path / "cache")))
    use_everything(PascalContextSource(SourceSettings(read_only)))
    assert picture_of(read_only) == before


def test_each_label_is_derived_once(tmp_path: Path, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    use_everything(PascalContextSource(SourceSettings(root, tmp_path / "cache")))

    def refuse(*arguments: object) -> None:
        raise AssertionError("derived a second time")

    for name in ("parts_label", "_edge_label", "object_classes", "read_label_map"):
        monkeypatch.setattr(dataset, name, refuse)
    use_everything(PascalContextSource(SourceSettings(root, tmp_path / "cache")))
    with pytest.raises(AssertionError, match=naming("second")):
        use_everything(PascalContextSource(SourceSettings(root)))


def test_a_kept_label_is_the_derived_one(tmp_path: Path, root: Path) -> None:
    fresh = PascalContextSource(SourceSettings(root))
    use_everything(PascalContextSource(SourceSettings(root, tmp_path / "cache")))
    kept = PascalContextSource(SourceSettings(root, tmp_path / "cache"))
    for position in range(6):
        first, second = (source.open(source.tasks, "train")[position] for source in (fresh, kept))
        for key, value in first.items():
            assert value.dtype == second[key].dtype
            assert (value == second[key]).all()
    everything = np.arange(6)
    assert (
        kept.usable("train", everything, ("parts",)).tolist() == fresh.usable("train", everything, ("parts",)).tolist()
    )


def test_other_class_lists_do_not_meet_the_normals_of_the_first_ones(tmp_path: Path, root: Path) -> None:
    settings = SourceSettings(root, tmp_path / "cache")
    before = PascalContextSource(settings).open(("normals",), "train")[0]["normals"]
    (root / "json" / "nyu_classes.json").write_text('{"floor": 11}')
    after = PascalContextSource(settings).open(("normals",), "train")[0]["normals"]
    assert 0 < (after != 0).sum() < (before != 0).sum()


def test_a_cache_inside_the_data_set_is_refused(root: Path) -> None:
    with pytest.raises(ValueError, match=naming("inside")):
        PascalContextSource(SourceSettings(root, root / "cache"))
