"""The set-up behind `make demo` and `make test`."""

from __future__ import annotations

import importlib.util
import subprocess
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def set_up() -> ModuleType:
    """The script as a module."""
    spec = importlib.util.spec_from_file_location("set_up", ROOT / "tools" / "set_up.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_old_python_is_told_what_to_install(
    set_up: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    assert set_up.problem(tmp_path, with_tests=False) is None
    monkeypatch.setattr(set_up.sys, "version_info", (3, 9, 18))
    assert "PYTHON=" in set_up.problem(tmp_path, with_tests=False)


def test_full_disk_is_told_before_anything_is_downloaded(
    set_up: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(set_up.shutil, "disk_usage", lambda path: SimpleNamespace(free=2 * 10**9))
    assert f"{tmp_path} has 2.0 GB free" in set_up.problem(tmp_path / "venv", with_tests=False)


def test_missing_compiler_and_missing_headers_name_the_package_to_install(
    set_up: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("CXX", "my-compiler -O2")
    monkeypatch.setenv("PATH", str(tmp_path))
    assert "g++" in set_up.problem(tmp_path, with_tests=True)
    tmp_path.joinpath("my-compiler").write_text("#!/bin/sh\n")
    tmp_path.joinpath("my-compiler").chmod(0o755)
    monkeypatch.setattr(set_up.sysconfig, "get_path", lambda name: str(tmp_path))
    assert "python3-dev" in set_up.problem(tmp_path, with_tests=True)
    tmp_path.joinpath("Python.h").write_text("")
    assert set_up.problem(tmp_path, with_tests=True) is None


def test_make_without_python_says_what_to_install(tmp_path: Path) -> None:
    outcome = subprocess.run(
        ["make", "-C", ROOT, "demo", "PYTHON=no-such-python", f"VENV={tmp_path / 'venv'}"],
        capture_output=True,
        text=True,
    )
    assert outcome.returncode != 0
    assert "PYTHON=" in outcome.stderr
    assert not (tmp_path / "venv").exists()
