"""The command line, as tests call it, and folders with something to score."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from fmtl import cli

Call = Callable[..., tuple[int, str, str]]


@pytest.fixture
def fmtl(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Call:
    """Run ``fmtl`` with arguments; gives exit code, output and error output."""

    def call(*arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["fmtl", *map(str, arguments)])
        monkeypatch.setattr(sys, "path", list(sys.path))
        with pytest.raises(SystemExit) as ended:
            cli.main()
        captured = capsys.readouterr()
        return int(ended.value.code or 0), captured.out, captured.err

    return call


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path]:
    """Empty folders for predictions and ground truth."""
    predictions, truth = tmp_path / "predictions", tmp_path / "truth"
    predictions.mkdir()
    truth.mkdir()
    return predictions, truth
