"""Makes the virtual environment of this checkout: `python3 tools/set_up.py VENV [--test]`, as the Makefile does.

It is an editable install with pip, after three checks whose failure pip would not explain. Runs on whatever Python
there is, so that an old one gets a clear answer instead of a syntax error.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
OLDEST = (3, 11)


def problem(venv: Path, *, with_tests: bool) -> str | None:
    """What stands in the way of the environment, as a sentence that says what to do; None where nothing does."""
    version = sys.version_info[:2]
    if version < OLDEST:
        found = ".".join(map(str, version))
        return f"Python 3.11 or newer is needed and this is {found}; name one: `make demo PYTHON=python3.12`."
    disk = next(folder for folder in (venv, *venv.parents) if folder.exists())
    needed, free = 1 if (venv / "bin/fmtl").exists() else 8, shutil.disk_usage(disk).free / 1e9
    if free < needed:
        return f"the packages need about {needed} GB and {disk} has {free:.1f} GB free; free some space."
    if with_tests and not list(venv.glob("lib/python*/site-packages/pyEdgeEval")):
        compiler = os.environ.get("CXX", "c++").split()[0]
        if not shutil.which(compiler):
            return f"the tests need a C++ compiler and there is no {compiler}; install one (Debian, Ubuntu: g++)."
        if not Path(sysconfig.get_path("include"), "Python.h").is_file():
            return "the tests need Python's C headers; install them (Debian, Ubuntu: the package python3-dev)."
    return None


def main() -> None:
    """Make or update the environment; exit with 1 and one sentence where that cannot be done."""
    venv, with_tests = Path(sys.argv[1]).absolute(), "--test" in sys.argv
    found = problem(venv, with_tests=with_tests)
    if found:
        sys.exit(f"Error: {found}")
    python = str(venv / "bin/python")
    if not Path(python).exists() and subprocess.call([sys.executable, "-m", "venv", str(venv)]):
        shutil.rmtree(venv, ignore_errors=True)
        sys.exit("Error: this Python cannot make virtual environments; install the package python3-venv.")
    what = f"{ROOT}[test]" if with_tests else str(ROOT)
    print(f"Installing fmtl and what it needs into {venv} (several GB the first time).", flush=True)
    if subprocess.call([python, "-m", "pip", "install", "--disable-pip-version-check", "-q", "-e", what]):
        sys.exit(
            "Error: pip could not install the packages; its reason stands above (usually the disk or the network)."
        )


if __name__ == "__main__":
    main()
