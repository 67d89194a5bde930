"""The app that Flower sends to sites holds what it needs there and nothing else: every file costs time per message."""

from __future__ import annotations

import io
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from flwr.cli.build import build_fab_from_disk

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def packed() -> zipfile.ZipFile:
    """The app as Flower packs it."""
    return zipfile.ZipFile(io.BytesIO(build_fab_from_disk(ROOT)))


def test_packed_app_holds_the_code_of_sites_and_server_only(packed: zipfile.ZipFile) -> None:
    tops = {name.split("/")[0] for name in packed.namelist()}
    packages = {"client_app", "server_app", "fmtl_strategies", "datasets"}
    assert tops == packages | {".info", "LICENSE", "pyproject.toml"}
    assert "datasets/scenarios/default.yaml" in packed.namelist()


def test_packed_app_runs_without_the_rest_of_the_checkout(packed: zipfile.ZipFile, tmp_path: Path) -> None:
    packed.extractall(tmp_path)
    script = (
        "import sys; sys.path.insert(0, ''); import client_app.round.handlers, client_app.site.resident.serving\n"
        "assert not {'scipy', 'matplotlib'} & set(sys.modules), 'slow to load, and few clients need them'\n"
        "import server_app.app\n"
        "from fmtl_datasets.scenarios.scenario import load_scenario; load_scenario('default')\n"
        "ours = {m.__file__ for n, m in sys.modules.items() if n.split('.')[0] in ('client_app', 'datasets', 'fmtl')}\n"
        "print(sorted(f for f in ours if not f.startswith(sys.argv[1])))"
    )
    done = subprocess.run(
        [sys.executable, "-P", "-c", script, str(tmp_path)], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "[]"


def test_process_for_each_message_imports_nothing_heavy_of_ours(packed: zipfile.ZipFile, tmp_path: Path) -> None:
    packed.extractall(tmp_path)
    script = (
        "import sys; import flwr.supernode.cli; before = set(sys.modules); sys.path.insert(0, '')\n"
        "import client_app.app, client_app.site.resident.asking; print(sorted(set(sys.modules) - before))"
    )
    done = subprocess.run(
        [sys.executable, "-P", "-c", script], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    found = done.stdout.strip()[1:-1].replace("'", "").split(", ")
    assert {name.split(".")[0] for name in found} <= {"client_app", "fmtl_strategies"}, found
    ours = {name for name in found if name.startswith("fmtl_strategies.")}
    assert ours <= {"fmtl_strategies.flower_compat"}, "methods and rounds are the server's"
