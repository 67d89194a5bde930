"""A full disk at a site and at the coordinator: a sentence that says which, and a run that goes on or is resumed."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from federation import Federation, arrays_apart, assert_equal

from fmtl.network.errors import NetworkSetupError
from fmtl.network.runs import RunEndedBadlyError

pytestmark = pytest.mark.long

Mount = Callable[[Path, str], None]
ROUNDS = 3
ROOMY = "400m"
"""More than has to be free before a run is started."""


@pytest.fixture
def mount() -> Iterator[Mount]:
    """Mount a small disk, or give it another size."""
    mounted: list[Path] = []

    def change(place: Path, size: str) -> None:
        options = f"remount,size={size}" if place in mounted else f"size={size},mode=700"
        place.mkdir(parents=True, exist_ok=True)
        done = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(place)], capture_output=True, text=True, check=False
        )
        if done.returncode:
            pytest.skip(f"a small disk cannot be mounted here: {done.stderr.strip()}")
        mounted.append(place)

    yield change
    for place in set(mounted):
        subprocess.run(["umount", "-l", str(place)], check=True)


@pytest.fixture
def on_small_disk(mount: Mount, tmp_path: Path) -> Iterator[Federation]:
    """A federation whose coordinator has its whole folder on a small disk: link.db, logs and runs."""
    place = tmp_path / "federation"
    place.mkdir()
    with Federation(folder=place) as federation:
        folder = federation.rehearsal.coordinator.path
        aside = folder.rename(folder.with_name("aside"))
        mount(folder, ROOMY)
        shutil.copytree(aside, folder, dirs_exist_ok=True)
        federation.start()
        yield federation


def _fill(folder: Path) -> Path:
    """Leave nothing of the disk of a folder; returns the file that takes it all."""
    ballast = folder / "ballast"
    with ballast.open("wb") as file:
        os.posix_fallocate(file.fileno(), 0, shutil.disk_usage(folder).free)
    return ballast


def test_full_disk_at_a_site_sets_only_its_round_aside(federation: Federation, mount: Mount) -> None:
    federation.plan("one", round_2={"sleep": 3})
    run_id = federation.submit("site-disk", num_server_rounds=2, evaluate_every=2)
    federation.wait(lambda: (federation.folder("site-disk") / "config.json").is_file(), "the run's folder")
    state = federation.rehearsal.folder / "sites/one/state" / federation.experiment("site-disk")
    mount(state, "256k")
    federation.wait_for_event("site-disk", "failed", 1)
    mount(state, "64m")
    result = federation.follow(run_id, "site-disk")
    first, second = federation.history("site-disk")[:2]
    assert first["participants"] == ["three", "two"]
    assert f"the disk holding {state}" in first["set_aside"]["one"]
    assert "is full; free some space" in first["set_aside"]["one"]
    assert second["participants"] == ["one", "three", "two"]
    assert second["notes"] == {}
    assert result["status"] == "completed"


def test_full_disk_at_the_coordinator_ends_the_run_and_a_resumed_one_loses_no_bit(
    federation: Federation, mount: Mount, undisturbed: Callable[[int], Path]
) -> None:
    runs = federation.rehearsal.coordinator.runs
    mount(runs, ROOMY)
    federation.plan("one", round_1={"hold": True})
    run_id = federation.submit("server-disk", num_server_rounds=ROUNDS)
    federation.wait_for_call("one", "train 1")
    mount(runs, "8m")
    federation.plan("one")
    with pytest.raises(RunEndedBadlyError, match=r"is full; free some space and resume the run[\s\S]*server resume"):
        federation.follow(run_id, "server-disk")
    assert len(federation.history("server-disk")) < ROUNDS
    with pytest.raises(NetworkSetupError, match=r"are free on the disk of .*/runs/server-disk; free some space first"):
        federation.resume("server-disk")
    mount(runs, ROOMY)
    assert federation.resume("server-disk")["status"] == "completed"
    assert_equal(federation.arrays("server-disk", ROUNDS), arrays_apart(undisturbed(ROUNDS), ROUNDS))


def test_a_disk_full_under_link_and_runs_is_named_and_a_resumed_run_loses_no_bit(
    on_small_disk: Federation, undisturbed: Callable[[int], Path]
) -> None:
    federation = on_small_disk
    said = lambda: federation.rehearsal.log("coordinator")  # noqa: E731 - read again at every look
    federation.plan("one", round_2={"hold": True})
    run_id = federation.submit("whole", num_server_rounds=ROUNDS, wait_for_clients=300.0)
    federation.wait_for_call("one", "train 2")
    link = federation.processes("flower-superlink")
    ballast = _fill(federation.rehearsal.coordinator.path)
    federation.wait(lambda: "only 0 MiB are free on the disk of" in said(), "the coordinator says so")
    federation.plan("one")
    with pytest.raises((RunEndedBadlyError, NetworkSetupError), match="free some space"):
        federation.follow(run_id, "whole")
    assert not (federation.folder("whole") / f"checkpoints/round-{ROUNDS:05d}").exists()
    with pytest.raises(NetworkSetupError, match="free some space first"):
        federation.resume("whole")
    ballast.unlink()
    federation.wait(lambda: "has space again" in said(), "the coordinator says that there is space")
    federation.wait(lambda: federation.status(run_id)[0] == "finished:failed", "the link gives the run up")
    # Where the link could not take a node's sign of life, its site has started it again.
    assert federation.resume("whole")["status"] == "completed"
    assert federation.processes("flower-superlink") == link
    last = [line for line in federation.history("whole") if line["round"] > 1]
    assert all(line["notes"] == {} and not line["skipped"] for line in last)
    assert_equal(federation.arrays("whole", ROUNDS), arrays_apart(undisturbed(ROUNDS), ROUNDS))
