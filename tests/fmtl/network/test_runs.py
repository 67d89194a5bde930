"""A run is followed through a SuperLink that is away for a while."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from errors import naming

from fmtl.network import runs
from fmtl.network.control import Control
from fmtl.network.coordinator_folder import CoordinatorFolder, make_coordinator
from fmtl.network.errors import NetworkSetupError
from fmtl.network.runs import follow
from fmtl_strategies.flower_compat import ControlApi


@pytest.fixture
def coordinator(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> CoordinatorFolder:
    monkeypatch.setattr(runs, "_LOOK_SECONDS", 0.01)
    return make_coordinator(tmp_path / "coordinator", ["localhost"], 9)


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
