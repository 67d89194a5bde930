"""Files and folders that appear whole or not at all, growing files, locks, full disks."""

import errno
import os
from pathlib import Path

import numpy as np
import pytest

from fmtl_strategies.contract.files import (
    DiskFullError,
    InUseError,
    JsonLines,
    append_json_line,
    atomic_file,
    atomic_folder,
    explain_disk_full,
    load_arrays,
    save_arrays,
    single_instance,
    write_json,
)


def test_folder_is_replaced_whole_and_nothing_is_left_beside(tmp_path: Path) -> None:
    target = tmp_path / "round-00001"
    (tmp_path / ".round-00001.999.tmp").mkdir()
    for content in ("old", "new"):
        with atomic_folder(target) as folder:
            (folder / "text").write_text(content)
    assert (target / "text").read_text() == "new"
    assert [path.name for path in tmp_path.iterdir()] == ["round-00001"]


def test_failure_leaves_the_old_folder_untouched(tmp_path: Path) -> None:
    target = tmp_path / "round-00001"
    with atomic_folder(target) as folder:
        (folder / "text").write_text("old")
    with pytest.raises(FileNotFoundError), atomic_folder(target) as folder:
        (folder / "absent" / "text").write_text("half")
    assert (target / "text").read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["round-00001"]


def test_arrays_keep_shape_and_bits(tmp_path: Path) -> None:
    arrays = {"a": np.array(3, np.int64), "b": np.array([[1.5, -0.0]], np.float32)}
    save_arrays(tmp_path / "x.safetensors", arrays)
    for name, array in load_arrays(tmp_path / "x.safetensors").items():
        assert array.shape == arrays[name].shape
        assert array.tobytes() == arrays[name].tobytes()


def test_json_refuses_nan(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json(tmp_path / "x.json", {"a": float("nan")})
    assert not (tmp_path / "x.json").exists()


def test_only_one_process_works_where_a_lock_is_held(tmp_path: Path) -> None:
    lock = tmp_path / "runs" / ".lock"
    with single_instance(lock, "busy"):
        with pytest.raises(InUseError, match="busy"), single_instance(lock, "busy"):
            pytest.fail("two held the same lock")
        assert lock.exists()
    assert list(lock.parent.iterdir()) == []
    with single_instance(lock, "busy"):
        pass


def test_a_full_disk_names_the_place_and_other_errors_pass_through(tmp_path: Path) -> None:
    with pytest.raises(DiskFullError, match="a/b.*start again"), explain_disk_full(Path("a/b"), "start again"):
        raise OSError(errno.ENOSPC, "No space left on device")
    with pytest.raises(PermissionError), explain_disk_full(tmp_path):
        raise PermissionError(errno.EACCES, "Permission denied")


def test_a_file_that_could_not_be_written_keeps_its_old_content(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_text("old")
    with pytest.raises(FileNotFoundError), atomic_file(path) as beside:
        (beside / "absent").write_text("half")
    assert path.read_text() == "old"
    with atomic_file(path) as beside:
        beside.write_text("new")
    assert path.read_text() == "new"
    assert list(tmp_path.iterdir()) == [path]


def test_lines_of_a_growing_file_come_once_and_whole(tmp_path: Path) -> None:
    lines = JsonLines(tmp_path / "a.jsonl")
    assert lines.new() == []
    length = append_json_line(tmp_path / "a.jsonl", {"round": 1})
    with (tmp_path / "a.jsonl").open("a") as file:
        file.write('{"round": ')
    assert lines.new() == [{"round": 1}]
    with (tmp_path / "a.jsonl").open("a") as file:
        file.write("2}\n")
    assert lines.new() == [{"round": 2}]
    # A resumed run cuts what came after its checkpoint, and does that round again.
    os.truncate(tmp_path / "a.jsonl", length)
    assert lines.new() == []
    append_json_line(tmp_path / "a.jsonl", {"round": 2, "again": True}, flush=True)
    assert lines.new() == [{"again": True, "round": 2}]
