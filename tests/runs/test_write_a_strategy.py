"""docs/write-a-strategy.md, word for word: its files are written to a folder elsewhere, its commands are run there."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docs/write-a-strategy.md").read_text()
FILES = dict(re.findall(r"^```python file=(\S+)\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL))
COMMANDS = re.findall(r"^```bash run\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL)
SCENARIO = ROOT / "tests/support/tiny.yaml"

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="starts the simulation, as the other tests of runs do")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The author's folder, with the files of the page and nothing else."""
    place = tmp_path_factory.mktemp("author")
    for name, content in FILES.items():
        place.joinpath(name).write_text(content)
    return place


@pytest.fixture(scope="module")
def programs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with `fmtl` and `python`, as an activated environment has them."""
    place = tmp_path_factory.mktemp("bin")
    place.joinpath("fmtl").write_text(f'#!/bin/sh\nexec {sys.executable} -P -m fmtl "$@"\n')
    place.joinpath("fmtl").chmod(0o755)
    place.joinpath("python").write_text(f'#!/bin/sh\nexec {sys.executable} "$@"\n')
    place.joinpath("python").chmod(0o755)
    return place


def run(command: str, folder: Path, programs: Path) -> str:
    """Run lines of the page; return what they printed."""
    text = command.replace("CHECKOUT", str(ROOT)).replace("SCENARIO", str(SCENARIO))
    env = {key: value for key, value in os.environ.items() if key not in ("PYTHONPATH", "FMTL_STRATEGY_PATH")}
    env |= {"PATH": f"{programs}:{Path(sys.executable).parent}:{env['PATH']}", "OMP_NUM_THREADS": "1", "COLUMNS": "200"}
    done = subprocess.run(
        ["bash", "-ec", text],
        cwd=folder,
        env=env,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=900,
    )
    assert done.returncode == 0, f"{text}\n{done.stdout}"
    return done.stdout


def command_with(words: str) -> str:
    """The one block of commands with these words in it."""
    (found,) = [command for command in COMMANDS if words in command]
    return found


def test_page_has_a_strategy_of_about_fifty_lines() -> None:
    assert sorted(FILES) == ["in_one_process.py", "like_minded.py", "test_like_minded.py"]
    assert len(FILES["like_minded.py"].splitlines()) <= 55
    assert len(COMMANDS) == 4


def test_its_own_test_passes(folder: Path, programs: Path) -> None:
    assert "4 passed" in run(command_with("pytest"), folder, programs).replace("....", "4 passed")


def test_its_parameters_are_printed(folder: Path, programs: Path) -> None:
    printed = run(command_with("fmtl settings"), folder, programs)
    assert "sharpness" in printed
    assert "strength of the pull" in printed
    assert "--strategy like_minded:LikeMinded --set like-minded.sharpness=" in " ".join(printed.split())


def test_it_runs_in_process_and_is_compared(folder: Path, programs: Path) -> None:
    printed = run(command_with("in_one_process.py"), folder, programs)
    assert "completed {'sharpness': 2.0, 'pull': 0.01}" in printed
    assert "completed {}" in printed
    report = (folder / "runs/comparison/comparison.md").read_text()
    assert "again" in report
    assert "alone" in report


@pytest.mark.long
def test_it_runs_in_flowers_simulation_too(folder: Path, programs: Path) -> None:
    run(command_with("fmtl run"), folder, programs)
    mine = folder / "runs/mine"
    result = json.loads((mine / "result.json").read_text())
    assert (result["status"], result["strategy"]) == ("completed", "like_minded:LikeMinded")
    assert result["strategy_parameters"] == {"sharpness": 2.0, "pull": 0.01}
    recorded = json.loads((mine / "config.json").read_text())["run_config"]
    assert recorded["strategy-parameters"] == '"sharpness" = 2.0, "pull" = 0.01'
    assert json.loads((mine / "launch.json").read_text())["strategy_path"] == str(folder)
    line = json.loads((mine / "history.jsonl").read_text().splitlines()[0])
    assert "one/own-weight" in line["diagnostics"]
    scores = [task["value"] for client in result["clients"].values() for task in client["tasks"].values()]
    assert len(scores) == 4
    assert all(isinstance(score, float) for score in scores)
