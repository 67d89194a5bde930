"""Every program in examples/ runs, on data so small that it takes seconds."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
TINY = ROOT / "tests/support/tiny.yaml"


def output_of(example: str, cwd: Path, *arguments: str) -> str:
    """Run an example from another folder, as a reader would, and return what it printed."""
    done = subprocess.run(
        [sys.executable, str(ROOT / "examples" / example), *arguments],
        cwd=cwd,
        env={**os.environ, "OMP_NUM_THREADS": "1", "COLUMNS": "200"},
        capture_output=True,
        text=True,
        timeout=900,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_compare_methods_prints_the_change_against_training_alone(tmp_path: Path) -> None:
    lines = output_of("compare_methods.py", tmp_path, str(TINY), "--rounds", "1").splitlines()
    changes = {line.split()[0]: line for line in lines if "delta_m" in line}
    assert set(changes) == {"local", "fedavg"}
    assert changes["fedavg"].endswith("%")


def test_own_strategy_runs_with_its_own_parameter_and_diagnostics(tmp_path: Path) -> None:
    printed = output_of("own_strategy/run.py", tmp_path, str(TINY), "--rounds", "1")
    assert "completed {'own-share': 0.25}" in printed
    assert "one/update-norm" in printed


def test_own_data_is_checked_and_trained_on(tmp_path: Path) -> None:
    printed = output_of("own_data/train.py", tmp_path, str(tmp_path / "files"))
    assert "completed in" in printed
    assert (tmp_path / "files/check").is_dir()


def test_examples_stay_short() -> None:
    for example in ROOT.glob("examples/**/*.py"):
        assert len(example.read_text(encoding="utf-8").splitlines()) <= 60, example
