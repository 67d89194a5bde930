"""The authors' golden vectors, and the exit status of the command that replays them."""

import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from benchmarks import golden_fedhca2

REPOSITORY = Path(__file__).resolve().parents[2]
ROOT = Path(os.environ.get("FMTL_GOLDEN_ROOT", REPOSITORY.parent / "shared" / "golden")) / "fedhca2"
LAYOUTS = ["mtmt", "st4mt1", "st5mt1", "st5x2mt1x2"]

needs_golden = pytest.mark.skipif(not ROOT.is_dir(), reason=f"no golden vectors in {ROOT}; set FMTL_GOLDEN_ROOT")


@needs_golden
@pytest.mark.parametrize("layout", LAYOUTS)
def test_reference_mode_matches_the_authors_server_over_four_rounds(layout: str) -> None:
    deviations = golden_fedhca2.replay(ROOT / layout)
    assert deviations.worst <= 1e-4
    assert deviations.untouched == 0.0


@needs_golden
def test_a_deviation_in_any_round_ends_with_status_one(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "mtmt"
    shutil.copytree(ROOT / "mtmt", folder)
    arrays = load_file(folder / "round2.safetensors")
    arrays["alpha"] = arrays["alpha"] * np.float32(1.001)
    save_file(arrays, folder / "round2.safetensors")
    assert golden_fedhca2.main([str(folder)]) == 1
    assert "DEVIATES" in capsys.readouterr().out


def test_missing_folder_ends_with_status_two_and_its_name(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert golden_fedhca2.main([str(tmp_path / "absent")]) == 2
    assert "absent: no such folder" in capsys.readouterr().err


def test_file_that_is_not_safetensors_ends_with_status_two(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "round0.safetensors").write_bytes(b"nothing of the kind")
    assert golden_fedhca2.main([str(tmp_path)]) == 2
    assert "not a readable safetensors file" in capsys.readouterr().err
