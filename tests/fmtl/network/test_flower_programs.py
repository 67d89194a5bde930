"""Versions of Flower: what is installed by default is what coordinators and sites start with."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

from fmtl.network import flower_programs
from fmtl.network.errors import NetworkSetupError
from fmtl.network.flower_programs import FIRST_UNSUPPORTED, FIRST_VERSION, require_supported_flower

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
