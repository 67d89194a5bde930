"""A disk that is nearly full: refused at a start, and named once by a coordinator that runs."""

from __future__ import annotations

import shutil
from collections import namedtuple
from pathlib import Path

import pytest
from errors import naming

from fmtl.network.disk_space import DiskWatch, require_space
from fmtl.network.errors import NetworkSetupError

_Usage = namedtuple("_Usage", "total used free")
MIB = 2**20


def _leave(monkeypatch: pytest.MonkeyPatch, free: int) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda path: _Usage(10**12, 10**12 - free, free))


def test_a_nearly_full_disk_is_refused_with_what_is_free(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "new" / "runs"
    _leave(monkeypatch, 256 * MIB)
    require_space(folder)
    _leave(monkeypatch, 256 * MIB - 1)
    with pytest.raises(NetworkSetupError, match=naming("255 MiB", "/new/runs", "256 MiB")):
        require_space(folder)


def test_a_disk_that_fills_up_is_named_once_and_again_when_it_has_space(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []
    watch = DiskWatch(tmp_path, said.append)
    for free in (500, 128, 127, 90, 200, 0, 255, 256, 300):
        _leave(monkeypatch, free * MIB)
        watch.look()
    assert [line.partition(".")[0] for line in said] == [
        f"Error: only 127 MiB are free on the disk of {tmp_path}",
        f"The disk of {tmp_path} has space again: 256 MiB",
    ]
    assert "fmtl server resume" in said[0]
