"""The example of docs/metrics.md, word for word, on the real files it speaks of."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import typer
from perturbed_coco import ABSENT, ANNOTATIONS, COCO
from typer.testing import CliRunner

from fmtl.commands.score import command

PAGE = Path(__file__).resolve().parents[2] / "docs" / "metrics.md"


@pytest.mark.skipif(not ANNOTATIONS.is_dir(), reason=ABSENT)
def test_ground_truth_scored_against_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = PAGE.read_text().split("scored against itself", 1)[1]
    example = text.split("```bash\n", 1)[1].split("```", 1)[0].replace("/tmp/", f"{tmp_path}/")
    monkeypatch.chdir(COCO)
    script = re.findall(r'python -c "(.*?)"', example, flags=re.DOTALL)
    assert len(script) == 1
    subprocess.run([sys.executable, "-c", script[0]], check=True)
    app = typer.Typer()
    app.command()(command)
    lines = [shlex.split(line) for line in example.splitlines() if line.startswith("fmtl score ")]
    assert [line[2] for line in lines] == ["panoptic", "stuff", "instance", "instance", "keypoints"]
    for line in lines:
        outcome = CliRunner().invoke(app, line[2:])
        assert outcome.exit_code == 0, outcome.output
        expected = "mIoU of classes seen: 100.0000" if line[2] == "stuff" else " 100.0000 % "
        assert expected in outcome.stdout, line
