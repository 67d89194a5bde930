"""A wheel in an environment without the checkout, from an empty folder: every command, and a federation."""

import json
import os
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]
SCENARIO = ROOT / "tests/support/tiny.yaml"


@pytest.fixture(scope="module")
def programs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The programs of an environment with the wheel, this one's libraries, and another package called `datasets`."""
    place = tmp_path_factory.mktemp("wheel")
    pip = [sys.executable, "-m", "pip", "-q", "--disable-pip-version-check"]
    # By way of a source archive, which has traps of its own: links, and folders met twice.
    subprocess.run([sys.executable, "-m", "hatchling", "build", "-t", "sdist", "-d", place], cwd=ROOT, check=True)
    (archive,) = place.glob("*.tar.gz")
    subprocess.run([*pip, "wheel", "--no-deps", "--no-build-isolation", "-w", place, archive], check=True)
    (wheel,) = place.glob("*.whl")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", place / "env"], check=True)
    (site,) = (place / "env").glob("lib/python*/site-packages")
    subprocess.run([*pip, f"--python={place}/env/bin/python", "install", "--no-deps", wheel], check=True)
    # Files of the kind in the borrowed folders are not read, so that of an editable install is left out.
    borrowed = [path for path in sys.path if path.endswith("site-packages")]
    site.joinpath("borrowed.pth").write_text("\n".join(borrowed))
    site.joinpath("datasets").mkdir()
    site.joinpath("datasets/__init__.py").write_text("def load_dataset():\n    raise AssertionError\n")
    for name in (
        "flwr",
        "flower-superlink",
        "flower-supernode",
        "flower-superexec",
        "flwr-serverapp",
        "flwr-clientapp",
    ):
        script = (Path(sysconfig.get_path("scripts")) / name).read_text().partition("\n")[2]
        site.joinpath(f"../../../bin/{name}").write_text(f"#!{place}/env/bin/python\n{script}")
        site.joinpath(f"../../../bin/{name}").chmod(0o755)
    return place / "env/bin"


def fmtl(programs: Path, folder: Path, *arguments: str | Path) -> str:
    """Give a command in a folder; what it printed."""
    env = {key: value for key, value in os.environ.items() if key not in ("PYTHONPATH", "FMTL_STRATEGY_PATH")}
    env |= {"OMP_NUM_THREADS": "1", "COLUMNS": "200"}
    done = subprocess.run(
        [programs / "fmtl", *arguments], cwd=folder, env=env, capture_output=True, text=True, timeout=900
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_what_commands_print_travels_in_the_wheel(programs: Path, tmp_path: Path) -> None:
    assert "outdoor-figures" in fmtl(programs, tmp_path, "scenarios", "default")
    assert "fedhca2-table1" in fmtl(programs, tmp_path, "reproduce")
    assert "NYUD" in fmtl(programs, tmp_path, "data", "help", "nyud")
    assert "CHANGE-ME" in fmtl(programs, tmp_path, "site", "init", "--name", "a")
    assert "attention-scale" in fmtl(programs, tmp_path, "settings", "fedhca2")


def test_every_command_is_there_and_all_that_is_imported_is_the_wheels(programs: Path, tmp_path: Path) -> None:
    code = (
        "import sys, datasets, server_app.app, client_app.round.handlers; from importlib import import_module\n"
        "from fmtl.cli import COMMANDS, OWN_PACKAGES\n"
        "for name in COMMANDS: import_module(f'fmtl.commands.{name}')\n"
        "ours = [m for n, m in sys.modules.items() if n.partition('.')[0] in OWN_PACKAGES]\n"
        "print(sorted({m.__name__ for m in (*ours, datasets) if not m.__file__.startswith(sys.argv[1])}))"
    )
    (site,) = programs.parent.glob("lib/python*/site-packages")
    command = [programs / "python", "-c", code, site]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout.strip()) == (0, "[]"), done.stderr


@pytest.mark.long
def test_a_federation_needs_no_checkout(programs: Path, tmp_path: Path) -> None:
    """The coordinator packs the app, and a site's processes run it."""
    scenario = yaml.safe_load(SCENARIO.read_text(encoding="utf-8"))
    scenario["clients"] = scenario["clients"][:1]
    tmp_path.joinpath("one.yaml").write_text(yaml.safe_dump(scenario), encoding="utf-8")
    options = ("--scenario", "one.yaml", "--strategy", "fedavg", "--set", "num-server-rounds=1", "--out", "rehearsal")
    fmtl(programs, tmp_path, "rehearse", *options)
    (result,) = tmp_path.rglob("result.json")
    assert json.loads(result.read_text(encoding="utf-8"))["status"] == "completed"
