"""Versions of Flower: what is installed by default is what coordinators and sites start with."""

from __future__ import annotations

import os
import re
import sys
import tomllib
from pathlib import Path

import pytest

from fmtl.network import flower_programs
from fmtl.network.errors import NetworkSetupError
from fmtl.network.flower_programs import (
    FIRST_UNSUPPORTED,
    FIRST_VERSION,
    find_program,
    require_supported_flower,
    service_environment,
)

ROOT = Path(__file__).parents[3]


def test_the_package_asks_for_the_versions_that_are_supported() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    (flower,) = (text for text in project["dependencies"] if re.match(r"flwr\b", text))
    bounds = re.fullmatch(r"flwr\[simulation\]>=(\d+)\.(\d+),<(\d+)\.(\d+)", flower)
    assert bounds is not None, flower
    first, beyond = tuple(map(int, bounds.groups()[:2])), tuple(map(int, bounds.groups()[2:]))
    assert (first, beyond) == (FIRST_VERSION, FIRST_UNSUPPORTED)


@pytest.mark.parametrize(
    ("installed", "taken"), [("1.40.9", False), ("1.41.0", True), ("1.42.3", True), ("1.43.0", False)]
)
def test_a_version_is_taken_or_refused_with_the_bounds(
    installed: str, taken: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(flower_programs, "version", lambda name: installed)
    if taken:
        require_supported_flower()
        return
    with pytest.raises(NetworkSetupError, match=rf"flwr {installed} is installed.*>= 1\.41, < 1\.43"):
        require_supported_flower()


def test_a_missing_program_names_itself_and_this_python(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(flower_programs, "_program_folders", lambda: [tmp_path])
    with pytest.raises(NetworkSetupError, match=rf"'flwr'.*{re.escape(sys.executable)}"):
        find_program("flwr")


def test_the_environment_is_confined_to_the_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    env = service_environment(tmp_path, {"PATH": "/bin", "FMTL_DATA_ROOT": "data", "A": "b"})
    assert env["PATH"].split(os.pathsep)[0] == str(Path(sys.executable).parent)
    assert env["PATH"].endswith("/bin")
    assert env["FMTL_DATA_ROOT"] == str(tmp_path / "data")
    assert env["FLWR_HOME"] == str(tmp_path)
    assert env["FLWR_DISABLE_RUNTIME_DEPENDENCY_INSTALLATION"] == "1"
    assert env["A"] == "b"
