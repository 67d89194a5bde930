"""Networked runs: what they are started with, which can be resumed, and how one is followed."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from errors import naming

from fmtl.network import runs
from fmtl.network.control import Control
from fmtl.network.coordinator_folder import CoordinatorFolder, allow_site, make_coordinator
from fmtl.network.errors import NetworkSetupError
from fmtl.network.runs import follow, launch_file, new_run, resumed_run, run_id_of
from fmtl.network.site_keys import make_site_key
from fmtl_strategies.flower_compat import ControlApi


@pytest.fixture
def coordinator(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> CoordinatorFolder:
    """A coordinator that the sites a and b may take part at, whose runs are looked at often."""
    monkeypatch.setattr(runs, "_LOOK_SECONDS", 0.01)
    folder = make_coordinator(tmp_path / "coordinator", ("localhost",), 9)
    for name in ("a", "b"):
        allow_site(folder.path, make_site_key(tmp_path, name).public)
    return folder


def _superlink(monkeypatch: pytest.MonkeyPatch, states: Iterator[str | None]) -> None:
    """A SuperLink that tells one state of the run after the other; None where it is away."""
    away = {"now": False}

    def run_status(self: Control, run_id: str) -> tuple[str, str]:
        state = next(states)
        away["now"] = state is None
        if state is None:
            raise NetworkSetupError("no SuperLink answers")
        return state, ""

    monkeypatch.setattr(Control, "run_status", run_status)
    monkeypatch.setattr(runs, "answers", lambda link, authority: not away.pop("now", False))


def test_a_link_that_comes_back_does_not_end_the_watching(
    coordinator: CoordinatorFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = coordinator.runs / "one"
    folder.mkdir(parents=True)
    (folder / "result.json").write_text(json.dumps({"status": "completed"}))
    _superlink(monkeypatch, iter(["running", None, None, "running", "finished:completed"]))
    assert follow(coordinator, "1", folder, print) == {"status": "completed"}


def test_a_link_that_stays_away_is_named(coordinator: CoordinatorFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runs, "SILENT_SECONDS", 0.2)
    monkeypatch.setattr(runs, "answers", lambda link, authority: False)
    with pytest.raises(NetworkSetupError, match=naming("fmtl server watch")):
        follow(coordinator, "1", coordinator.runs / "one", print)


def test_a_refusal_of_a_link_that_answers_is_told(
    coordinator: CoordinatorFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runs, "answers", lambda link, authority: True)
    monkeypatch.setattr(ControlApi, "run_status", lambda api, run_id: None)
    with pytest.raises(NetworkSetupError, match=naming("run 1")):
        follow(coordinator, "1", coordinator.runs / "one", print)


def test_a_run_waits_for_all_registered_sites_and_knows_them(coordinator: CoordinatorFolder) -> None:
    _, values, run_folder = new_run(coordinator.path, [({"seed": 3}, "flag")], None)
    assert values["min-clients"] == 2
    assert values["known-sites"] == str(coordinator.node_names)
    assert values["out-dir"] == str(run_folder)
    assert run_folder.parent == coordinator.runs


@pytest.mark.parametrize("name", ["../outside", "/tmp/outside", "..", "a/b", ".hidden", ""])
def test_a_run_has_no_name_that_is_a_path(coordinator: CoordinatorFolder, name: str) -> None:
    with pytest.raises(NetworkSetupError, match="--name"):
        new_run(coordinator.path, [], name)


def test_a_name_in_use_is_refused_and_a_made_one_counts_on(coordinator: CoordinatorFolder) -> None:
    (coordinator.runs / "mine").mkdir(parents=True)
    with pytest.raises(NetworkSetupError, match="exists already"):
        new_run(coordinator.path, [], "mine")
    first = new_run(coordinator.path, [], None)[2]
    first.mkdir()
    assert new_run(coordinator.path, [], None)[2].name == f"{first.name}-2"


def test_without_sites_a_run_says_how_to_let_one_in(tmp_path: Path) -> None:
    folder = make_coordinator(tmp_path / "coordinator", ("localhost",))
    with pytest.raises(NetworkSetupError, match="fmtl server allow"):
        new_run(folder.path, [], None)


def test_only_an_unfinished_run_that_was_started_here_is_resumed(coordinator: CoordinatorFolder) -> None:
    run = coordinator.runs / "mine"
    with pytest.raises(NetworkSetupError, match="no run that was started here; there are none"):
        resumed_run(coordinator.path, "mine")
    run.mkdir(parents=True)
    launch_file(run).write_text(json.dumps({"run_id": "17"}))
    (run / "config.json").write_text(json.dumps({"run_config": {"seed": 3, "out-dir": "x"}}))
    assert run_id_of(coordinator, "mine") == "17"
    values = resumed_run(coordinator.path, "mine")[1]
    assert (values["resume"], values["seed"], values["out-dir"]) == (True, 3, str(run))
    (run / "result.json").write_text(json.dumps({"status": "completed"}))
    with pytest.raises(NetworkSetupError, match="nothing to resume"):
        resumed_run(coordinator.path, "mine")
    (run / "config.json").write_text("{")
    with pytest.raises(NetworkSetupError, match="is damaged"):
        resumed_run(coordinator.path, "mine")
