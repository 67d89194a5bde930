"""A run is followed through a SuperLink that is away for a while."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from errors import naming

from fmtl.network import runs
from fmtl.network.coordinator_folder import CoordinatorFolder, make_coordinator
from fmtl.network.errors import NetworkSetupError
from fmtl.network.runs import follow

Answer = Callable[[], dict[str, Any]]


@pytest.fixture
def coordinator(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> CoordinatorFolder:
    monkeypatch.setattr(runs, "_LOOK_SECONDS", 0.01)
    return make_coordinator(tmp_path / "coordinator", ["localhost"], 9)


def _link(monkeypatch: pytest.MonkeyPatch, moments: Iterator[dict[str, Any] | None]) -> None:
    """A SuperLink that gives one answer after the other; None where it is away."""
    away = {"now": False}

    def flower(*arguments: object, **options: object) -> dict[str, Any]:
        found = next(moments)
        away["now"] = found is None
        if found is None:
            raise NetworkSetupError("Connection to the SuperLink is unavailable.")
        return found

    monkeypatch.setattr(runs, "flower", flower)
    monkeypatch.setattr(runs, "answers", lambda link, authority: not away.pop("now", False))


def _run(state: str) -> dict[str, Any]:
    return {"runs": [{"status": state, "status-details": ""}]}


def test_a_link_that_comes_back_does_not_end_the_watching(
    coordinator: CoordinatorFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = coordinator.runs / "one"
    folder.mkdir(parents=True)
    (folder / "result.json").write_text(json.dumps({"status": "completed"}))
    _link(monkeypatch, iter([_run("running"), None, None, _run("running"), _run("finished:completed")]))
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
    monkeypatch.setattr(runs, "flower", lambda *arguments, **options: {"runs": []})
    with pytest.raises(NetworkSetupError, match=naming("run 1")):
        follow(coordinator, "1", coordinator.runs / "one", print)
