"""Makes the virtual environment of this checkout: `python3 tools/set_up.py VENV [--test]`.

Called by the Makefile. Runs on whatever Python there is, so that an old one gets a clear answer instead of a syntax
error. The project itself is not installed: a package called `datasets` beside Hugging Face's would overwrite it.
Instead the command `fmtl` is a small script that puts this checkout first on Python's path.
"""

from __future__ import annotations

import argparse
import os
import shutil
import stat
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Mapping
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
OLDEST = (3, 11)
SPACE_NEEDED = 8 * 10**9
SPACE_FOR_UPDATE = 10**9
EDGE_REFERENCE = "pyEdgeEval"
"""Reference of the edge metric's tests; comes as C++ sources, which pip compiles."""


class SetUpError(Exception):
    """The environment cannot be made; the message is one sentence that says what to do."""


def main() -> None:
    """Make or update the environment; exit with 1 and one sentence where that cannot be done."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("venv", type=Path, help="folder of the virtual environment")
    parser.add_argument("--test", action="store_true", help="also install what the tests need")
    arguments = parser.parse_args()
    try:
        set_up(arguments.venv.absolute(), with_tests=arguments.test)
    except SetUpError as error:
        print(f"Error: {error}", file=sys.stderr)
        sys.exit(1)


def set_up(venv: Path, *, with_tests: bool) -> None:
    """Make a virtual environment with the project's dependencies and the command `fmtl`.

    Args:
        venv: absolute path of its folder, which may exist.
        with_tests: whether to install the test extras and the edge reference too.

    Raises:
        SetUpError: this Python is too old, the disk too full, a compiler missing, or pip failed.
    """
    check_python(sys.version_info[:2])
    python = venv / "bin" / "python"
    check_space(venv, SPACE_FOR_UPDATE if python.exists() else SPACE_NEEDED)
    if not python.exists():
        make_venv(venv)
    packages = requirements(ROOT / "pyproject.toml", with_tests=with_tests)
    if with_tests and not is_installed(python, EDGE_REFERENCE):
        check_compiler(os.environ, Path(sysconfig.get_path("include")))
    print(
        f"Installing {len(packages)} packages and what they need into {venv} (several GB the first time).", flush=True
    )
    command = [str(python), "-m", "pip", "install", "--disable-pip-version-check", "--quiet", *packages]
    if subprocess.run(command).returncode != 0:
        raise SetUpError(
            "pip could not install the packages; its reason stands above (no space left on the disk, and no way to "
            "the package index, are the usual ones)."
        )
    write_launcher(venv, ROOT)


def check_python(version: tuple[int, int]) -> None:
    """Refuse a Python that is too old, given as (major, minor)."""
    if version < OLDEST:
        raise SetUpError(
            "Python {}.{} or newer is needed and this is {}.{}; install one and name it, as in "
            "`make demo PYTHON=python3.12`.".format(*OLDEST, *version)
        )


def check_space(folder: Path, needed: float) -> None:
    """Refuse a folder on a disk with fewer than `needed` bytes free."""
    existing = next(parent for parent in (folder, *folder.parents) if parent.exists())
    free = shutil.disk_usage(existing).free
    if free < needed:
        raise SetUpError(
            f"the packages need about {needed / 1e9:.0f} GB and {existing} has {free / 1e9:.1f} GB free; free some "
            f"space or move the checkout to a larger disk."
        )


def make_venv(venv: Path) -> None:
    """Make an empty virtual environment."""
    result = subprocess.run([sys.executable, "-m", "venv", str(venv)], capture_output=True, text=True)
    if result.returncode != 0:
        shutil.rmtree(venv, ignore_errors=True)
        if "ensurepip" in result.stdout + result.stderr:
            raise SetUpError("this Python cannot make virtual environments; install the package python3-venv.")
        raise SetUpError(f"`{sys.executable} -m venv {venv}` failed: {(result.stderr or result.stdout).strip()}")


def requirements(pyproject: Path, *, with_tests: bool) -> list[str]:
    """The project's dependencies as pyproject.toml lists them, with the test extras if wanted."""
    import tomllib

    project = tomllib.loads(pyproject.read_text(encoding="utf-8"))["project"]
    packages = list(project["dependencies"])
    if with_tests:
        packages += project["optional-dependencies"]["test"]
    return packages


def is_installed(python: Path, package: str) -> bool:
    """Whether a Python has a package."""
    code = f"import importlib.metadata as m; m.version({package!r})"
    return subprocess.run([str(python), "-c", code], capture_output=True).returncode == 0


def check_compiler(environ: Mapping[str, str], headers: Path) -> None:
    """Refuse where the edge reference could not be compiled.

    Args:
        environ: environment variables; CXX names a compiler, PATH where to look for one.
        headers: folder of Python's C headers.
    """
    names = [environ["CXX"].split()[0]] if environ.get("CXX") else ["c++", "g++", "clang++"]
    if not any(shutil.which(name, path=environ.get("PATH")) for name in names):
        raise SetUpError(
            f"a C++ compiler is needed to build {EDGE_REFERENCE}, the reference of the edge metric's tests, and there "
            f"is none; install one (Debian, Ubuntu: the package g++; Fedora: gcc-c++; macOS: xcode-select --install)."
        )
    if not (headers / "Python.h").is_file():
        raise SetUpError(
            f"Python's C headers are needed to build {EDGE_REFERENCE} and {headers} has none; install them (Debian, "
            f"Ubuntu: the package python3-dev; Fedora: python3-devel)."
        )


def write_launcher(venv: Path, checkout: Path) -> None:
    """Write VENV/bin/fmtl, which runs a checkout's own code from any folder.

    The first lines are valid in sh and in Python: an interpreter's path with spaces, or a long one, is not possible
    after `#!`.
    """
    launcher = venv / "bin" / "fmtl"
    lines = [
        "#!/bin/sh",
        f'\'\'\'exec\' "{venv / "bin" / "python"}" "$0" "$@"',
        "' '''",
        "import sys",
        f"sys.path.insert(0, {str(checkout)!r})",
        "from fmtl.cli import main",
        "main()",
    ]
    with tempfile.NamedTemporaryFile("w", dir=launcher.parent, delete=False, encoding="utf-8") as file:
        file.write("\n".join(lines) + "\n")
    os.chmod(file.name, stat.S_IRWXU | stat.S_IRGRP | stat.S_IXGRP | stat.S_IROTH | stat.S_IXOTH)
    os.replace(file.name, launcher)


if __name__ == "__main__":
    main()
