"""`fmtl run` through the real `flwr run`, Flower's SuperLink and Ray, on a small app that needs no torch."""

from __future__ import annotations

import json
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from small_flower_app import Started, write_app

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="looks for left-over processes in /proc")


@dataclass
class Ended:
    """A run that has ended: what it printed, its exit status and its folder."""

    printed: str
    status: int
    run: Started

    @property
    def facts(self) -> dict[str, Any]:
        """What the app's server wrote."""
        content: dict[str, Any] = json.loads((self.run.out / "facts.json").read_text())
        return content


@pytest.fixture(scope="module")
def foreign_datasets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of installed packages with another package called `datasets`, like Hugging Face's."""
    folder = tmp_path_factory.mktemp("site")
    folder.joinpath("datasets").mkdir()
    folder.joinpath("datasets", "__init__.py").write_text("def load_dataset():\n    raise AssertionError\n")
    return folder


@pytest.fixture(scope="module")
def ended(
    start_run: Callable[..., Started], tmp_path_factory: pytest.TempPathFactory, foreign_datasets: Path
) -> dict[str, Ended]:
    """Runs from two checkouts at once; then one that fails, one interrupted, one whose `fmtl` is killed by force."""
    base = tmp_path_factory.mktemp("checkouts")
    first, second = write_app(base / "first", "first"), write_app(base / "second", "second")
    runs = {
        "first": start_run(first, "--set", "fake.rate=1", python_path=(foreign_datasets,), cwd=second),
        "second": start_run(second, python_path=(foreign_datasets,), cwd=first),
    }
    ended = {name: Ended(run.finish(), run.process.wait(), run) for name, run in runs.items()}
    # One after another: Ray gives up where it cannot start within 30 s, as several at once on two cores may not.
    killed = start_run(second, "--set", "behaviour=hang")
    killed.wait_for("config.json")
    killed.process.kill()
    ended["killed"] = Ended(killed.finish(), killed.process.wait(), killed)
    failing = start_run(first, "--set", "behaviour=fail-early")
    ended["failing"] = Ended(failing.finish(), failing.process.wait(), failing)
    interrupted = start_run(first, "--set", "behaviour=hang")
    interrupted.wait_for("facts.json")
    interrupted.process.send_signal(signal.SIGINT)
    ended["interrupted"] = Ended(interrupted.finish(), interrupted.process.wait(), interrupted)
    return ended


def test_two_runs_at_once_use_the_code_of_their_own_checkout(ended: dict[str, Ended]) -> None:
    for name in ("first", "second"):
        assert ended[name].status == 0, ended[name].printed
        assert ended[name].facts["marker"] == name
        assert [client["strategies"] for client in ended[name].facts["clients"]] == [name, name]


def test_server_and_clients_import_our_datasets_beside_another_package_of_that_name(ended: dict[str, Ended]) -> None:
    for name in ("first", "second"):
        assert ended[name].facts["marker"] == name
        assert [client["datasets"] for client in ended[name].facts["clients"]] == [name, name]


def test_settings_reach_the_app_in_the_type_of_their_default(ended: dict[str, Ended]) -> None:
    rates = [ended[name].facts["rate"] for name in ("first", "second")]
    assert rates == [1.0, 0.5]
    assert isinstance(rates[0], float)


def test_progress_is_shown_and_the_whole_log_is_kept(ended: dict[str, Ended]) -> None:
    lines = ended["first"].printed.splitlines()
    assert "round 1 begins" in lines
    assert not any("Flower Simulation" in line or "flwr federation" in line for line in lines)
    assert "Starting Flower Simulation" in (ended["first"].run.out / "flower.log").read_text()


def test_failing_server_gives_exit_status_1_and_its_reason(ended: dict[str, Ended]) -> None:
    failing = ended["failing"]
    assert failing.status == 1
    assert "The run failed: this server was told to fail" in failing.printed
    assert "Traceback" not in failing.printed
    beside = failing.run.out.with_name("run.flower.log")
    assert "Traceback" in beside.read_text()
    assert not failing.run.out.exists()


def test_interrupted_run_says_how_to_go_on(ended: dict[str, Ended]) -> None:
    interrupted = ended["interrupted"]
    assert interrupted.status == 128 + signal.SIGINT
    assert f"fmtl resume {interrupted.run.out}" in interrupted.printed


@pytest.mark.parametrize("name", ["first", "second", "failing", "interrupted"])
def test_no_process_and_no_temporary_file_is_left(ended: dict[str, Ended], name: str) -> None:
    assert ended[name].run.leftovers() == []
    assert list(ended[name].run.temporary.iterdir()) == []


def test_no_process_outlives_a_killed_fmtl_for_long(ended: dict[str, Ended]) -> None:
    assert ended["killed"].status == -signal.SIGKILL
    deadline = time.monotonic() + 90
    while ended["killed"].run.leftovers() and time.monotonic() < deadline:
        time.sleep(0.5)
    assert ended["killed"].run.leftovers() == []
