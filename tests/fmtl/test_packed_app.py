"""The app that Flower sends to sites holds what it needs there and nothing else: every file costs time per message."""

from __future__ import annotations

import io
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from flwr.cli.build import build_fab_from_disk

from fmtl.network.app_folder import app_folder

ROOT = Path(__file__).parents[2]
PACKAGES = {"client_app", "fmtl_datasets", "fmtl_strategies", "server_app"}


@pytest.fixture(scope="module", params=["checkout", "installed packages"])
def packed(request: pytest.FixtureRequest) -> zipfile.ZipFile:
    """The app as Flower packs it for `flwr run .` and for `fmtl server run`."""
    if request.param == "checkout":
        return zipfile.ZipFile(io.BytesIO(build_fab_from_disk(ROOT)))
    with app_folder() as folder:
        return zipfile.ZipFile(io.BytesIO(build_fab_from_disk(folder)))


def run_there(script: str, packed: zipfile.ZipFile, place: Path) -> str:
    """Run a script that finds the app in front of what is installed, as Flower's programs do; what it printed."""
    packed.extractall(place)
    done = subprocess.run(
        [sys.executable, "-c", script, str(place)],
        cwd=place,
        env={**os.environ, "PYTHONPATH": str(place)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_packed_app_holds_the_code_of_sites_and_server_only(packed: zipfile.ZipFile) -> None:
    tops = {name.split("/")[0] for name in packed.namelist()}
    assert tops - {"datasets", "LICENSE"} == PACKAGES | {".info", "pyproject.toml"}
    assert any(name.endswith("datasets/scenarios/default.yaml") for name in packed.namelist())


def test_packed_app_runs_without_the_rest_of_the_checkout(packed: zipfile.ZipFile, tmp_path: Path) -> None:
    script = (
        "import sys, client_app.round.handlers, client_app.site.resident.serving\n"
        "assert not {'scipy', 'matplotlib'} & set(sys.modules), 'slow to load, and few clients need them'\n"
        "import server_app.app\n"
        "from fmtl_datasets.scenarios.scenario import load_scenario; load_scenario('default')\n"
        f"ours = [m for n, m in sys.modules.items() if n.split('.')[0] in {PACKAGES | {'datasets', 'fmtl'}}]\n"
        "print(sorted({m.__name__ for m in ours if not m.__file__.startswith(sys.argv[1])}))"
    )
    assert run_there(script, packed, tmp_path) == "[]"


def test_process_for_each_message_imports_nothing_heavy_of_ours(packed: zipfile.ZipFile, tmp_path: Path) -> None:
    script = (
        "import sys, flwr.supernode.cli; before = set(sys.modules)\n"
        "import client_app.app, client_app.site.resident.asking\n"
        "print(*set(sys.modules) - before)"
    )
    found = run_there(script, packed, tmp_path).split()
    assert {name.split(".")[0] for name in found} <= {"client_app", "fmtl_strategies"}, found
    ours = {name for name in found if name.startswith("fmtl_strategies.")}
    assert ours <= {"fmtl_strategies.flower_compat"}, "methods and rounds are the server's"
