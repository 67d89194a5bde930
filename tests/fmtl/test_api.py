"""`import fmtl`: names from one place, loaded when they are used."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from pathlib import Path

import fmtl
from fmtl import api

ROOT = Path(__file__).parents[2]


def test_everything_on_offer_is_there_and_typed() -> None:
    assert set(fmtl.__all__) == {*api.__all__, "__version__", "load_model"}
    assert all(getattr(fmtl, name).__doc__ for name in api.__all__)
    for package in ("fmtl", "fmtl_strategies", "server_app", "client_app", "datasets"):
        assert (ROOT / package / "py.typed").is_file()


def test_versions_agree() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert project["version"] == fmtl.__version__
    assert f"version: {fmtl.__version__}" in (ROOT / "CITATION.cff").read_text(encoding="utf-8")


def test_import_loads_nothing() -> None:
    code = "import sys, fmtl; print({'numpy', 'torch', 'flwr', 'fmtl.api'} & set(sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "set()\n"
