"""The set-up behind `make demo` and `make test`."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def set_up() -> ModuleType:
    """The script as a module."""
    spec = importlib.util.spec_from_file_location("set_up", ROOT / "tools" / "set_up.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def foreign_datasets(tmp_path: Path) -> Path:
    """A folder of installed packages with another package called `datasets`, like Hugging Face's."""
    package = tmp_path / "site" / "datasets"
    package.mkdir(parents=True)
    package.joinpath("__init__.py").write_text("def load_dataset():\n    raise AssertionError\n")
    return package.parent


def test_old_python_is_told_what_to_install(set_up: ModuleType) -> None:
    with pytest.raises(set_up.SetUpError, match=r"3\.11 or newer is needed and this is 3\.9; .*PYTHON="):
        set_up.check_python((3, 9))
    assert set_up.check_python((3, 11)) is None


def test_full_disk_is_told_before_anything_is_downloaded(
    set_up: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(set_up.shutil, "disk_usage", lambda path: SimpleNamespace(free=2 * 10**9))
    with pytest.raises(set_up.SetUpError, match=rf"need about 8 GB and {tmp_path} has 2\.0 GB free"):
        set_up.check_space(tmp_path / "venv", set_up.SPACE_NEEDED)


def test_missing_compiler_names_the_package_to_install(set_up: ModuleType, tmp_path: Path) -> None:
    with pytest.raises(set_up.SetUpError, match=r"a C\+\+ compiler is needed .* the package g\+\+"):
        set_up.check_compiler({"PATH": str(tmp_path)}, tmp_path)


def test_missing_python_headers_name_the_package_to_install(set_up: ModuleType, tmp_path: Path) -> None:
    compiler = tmp_path / "my-compiler"
    compiler.write_text("#!/bin/sh\n")
    compiler.chmod(0o755)
    environment = {"PATH": str(tmp_path), "CXX": "my-compiler -O2"}
    with pytest.raises(set_up.SetUpError, match="python3-dev"):
        set_up.check_compiler(environment, tmp_path)
    tmp_path.joinpath("Python.h").write_text("")
    assert set_up.check_compiler(environment, tmp_path) is None


def test_everything_that_pyproject_lists_is_installed(set_up: ModuleType) -> None:
    plain = set_up.requirements(ROOT / "pyproject.toml", with_tests=False)
    tests = set_up.requirements(ROOT / "pyproject.toml", with_tests=True)
    assert any(package.startswith("flwr[simulation]") for package in plain)
    assert tests[: len(plain)] == plain
    assert any(package.startswith("pytest") for package in tests)
    assert sum(package.lower().startswith("pyedgeeval") for package in tests) == 1


def test_what_a_site_may_ask_for_is_installed_without_the_tests(set_up: ModuleType) -> None:
    # A site's file may ask for privacy, and a site is set up by this script alone.
    plain = set_up.requirements(ROOT / "pyproject.toml", with_tests=False)
    assert any(package.startswith("dp-accounting") for package in plain)


def test_command_runs_the_code_of_its_checkout_from_any_folder(
    set_up: ModuleType, tmp_path: Path, foreign_datasets: Path
) -> None:
    venv = tmp_path / "folder with spaces" / ".venv"
    venv.joinpath("bin").mkdir(parents=True)
    venv.joinpath("bin", "python").write_text(f'#!/bin/sh\nexec "{sys.executable}" "$@"\n')
    venv.joinpath("bin", "python").chmod(0o755)
    set_up.write_launcher(venv, ROOT)
    listing = subprocess.run(
        [venv / "bin" / "fmtl", "scenarios"],
        cwd=foreign_datasets,
        env={**os.environ, "PYTHONPATH": str(foreign_datasets)},
        capture_output=True,
        text=True,
    )
    assert listing.returncode == 0, listing.stderr
    assert "default" in listing.stdout


def test_pytest_imports_our_datasets_beside_another_package_of_that_name(
    tmp_path: Path, foreign_datasets: Path
) -> None:
    test = tmp_path / "test_import.py"
    test.write_text("import datasets\n\ndef test_file():\n    assert fmtl_datasets.__file__ == 'shown'\n")
    outcome = subprocess.run(
        [
            sys.executable,
            "-m",
            "pytest",
            "-c",
            ROOT / "pyproject.toml",
            "--rootdir",
            ROOT,
            "-p",
            "no:cacheprovider",
            test,
        ],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(foreign_datasets)},
        capture_output=True,
        text=True,
    )
    assert outcome.returncode == 1
    assert str(ROOT / "datasets" / "__init__.py") in outcome.stdout


def test_make_without_python_says_what_to_install(tmp_path: Path) -> None:
    outcome = subprocess.run(
        ["make", "-C", ROOT, "demo", "PYTHON=no-such-python", f"VENV={tmp_path / 'venv'}"],
        capture_output=True,
        text=True,
    )
    assert outcome.returncode != 0
    assert "Error: there is no no-such-python; install Python 3.11 or newer" in outcome.stderr
    assert not (tmp_path / "venv").exists()
