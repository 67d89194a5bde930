"""Checkpoints: what is equal is written once, and everything is read back."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from server_app.run_folder import Checkpoint, RunFolder, repeated


def test_equal_rows_are_written_once_and_read_back_each(tmp_path: Path) -> None:
    row = np.linspace(0, 1, 100_000, dtype=np.float32)
    other = row.copy()
    other[-1] = 2
    arrays = {"a/encoder": row, "b/encoder": row.copy(), "c/encoder": other, "method/m": np.zeros(3)}
    folder = RunFolder(tmp_path)
    folder.save_checkpoint(Checkpoint(1, 0, arrays, {"x": 1}), keep=1)
    read = folder.newest_checkpoint()
    assert read is not None
    assert read.arrays.keys() == arrays.keys()
    for name, array in arrays.items():
        np.testing.assert_array_equal(read.arrays[name], array)
    read.arrays["b/encoder"][0] = 7
    assert read.arrays["a/encoder"][0] == 0
    written = (tmp_path / "checkpoints/round-00001/arrays.safetensors").stat().st_size
    assert written < 2.1 * row.nbytes


def test_only_the_same_bits_are_equal() -> None:
    zero, negative = np.zeros(3, np.float32), np.full(3, -0.0, np.float32)
    nan = np.full(3, np.nan, np.float32)
    assert repeated({"a": zero, "b": negative, "c": nan, "d": nan.copy(), "e": nan.astype(np.float64)}) == {"d": "c"}
