"""Folders that appear whole or not at all."""

from pathlib import Path

import numpy as np
import pytest

from fmtl_strategies.contract.files import load_arrays, save_arrays, whole_folder, write_json


def test_folder_is_replaced_whole_and_nothing_is_left_beside(tmp_path: Path) -> None:
    target = tmp_path / "round-00001"
    (tmp_path / ".round-00001.999.tmp").mkdir()
    for content in ("old", "new"):
        with whole_folder(target) as folder:
            (folder / "text").write_text(content)
    assert (target / "text").read_text() == "new"
    assert [path.name for path in tmp_path.iterdir()] == ["round-00001"]


def test_failure_leaves_the_old_folder_untouched(tmp_path: Path) -> None:
    target = tmp_path / "round-00001"
    with whole_folder(target) as folder:
        (folder / "text").write_text("old")
    with pytest.raises(FileNotFoundError), whole_folder(target) as folder:
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
