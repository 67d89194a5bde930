"""The run folder's TensorBoard events hold what its JSON lines hold, once, also after a resumed run."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from fmtl import toy_federation as toy
from fmtl_strategies.methods.fedper import FedPer
from server_app.config import RunConfig
from server_app.rounds import run_rounds
from server_app.run_folder import RunFolder
from server_app.telemetry import Telemetry, scalars

Curves = dict[str, list[tuple[int, float]]]


def _read_back(folder: Path) -> Curves:
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    events = accumulator.EventAccumulator(str(folder), size_guidance={accumulator.SCALARS: 0})
    events.Reload()
    return {tag: [(p.step, p.value) for p in events.Scalars(tag)] for tag in events.Tags()["scalars"]}


def _line(number: int, **facts: Any) -> dict[str, Any]:
    plain = {"participants": ["a"], "set_aside": {}, "skipped": False, "losses": {"a": {"depth": 0.5 / number}}}
    counts = {"bytes_up": 10 * number, "bytes_down": 20, "seconds": {"clients": 1.5}, "diagnostics": {"alpha": 0.25}}
    score = {"scores": {"a": {"depth": {"value": 0.125 * number, "missing_because": None}}}, "evaluated_round": number}
    return {"round": number, "final": False, **plain, **counts, **score, **facts}


def _folder(place: Path, lines: list[dict[str, Any]], progress: list[dict[str, Any]]) -> RunFolder:
    folder = RunFolder(place / "run")
    folder.create({})
    for line in lines:
        folder.append_history(line)
    for event in progress:
        folder.append_progress(event)
    return folder


def _asked(number: int) -> dict[str, Any]:
    return {"event": "asked", "round": number, "final": False, "time": 5.0, "clients": ["a", "b"], "bytes_down": 3}


def _answered(number: int, seconds: float) -> dict[str, Any]:
    facts = {"client": "a", "seconds": seconds, "bytes_up": 7}
    return {"event": "answered", "round": number, "final": False, "time": 6.0, **facts}


def test_every_kind_of_number_of_a_round_has_a_curve() -> None:
    progress = [_asked(2), _answered(2, 1.25), {**_asked(2), "event": "late", "client": "b", "seconds": 9.0}]
    line = _line(2, set_aside={"b": "late"}, seconds={"clients": 9.0, "a/training": 0.75}, evaluated_round=1)
    found = {(scalar.tag, scalar.step): scalar.value for scalar in scalars(line, progress)}
    assert found == {
        ("score/depth/a", 1): 0.25,
        ("loss/depth/a", 2): 0.25,
        ("round/clients", 2): 1,
        ("round/set aside", 2): 1,
        ("round/skipped", 2): 0,
        ("bytes/up", 2): 20,
        ("bytes/down", 2): 20,
        ("bytes/up/a", 2): 7,
        ("seconds/clients", 2): 9.0,
        ("seconds/a/training", 2): 0.75,
        ("seconds/a/answer", 2): 1.25,
        ("late/b", 2): 1.0,
        ("diagnostics/alpha", 2): 0.25,
    }


def test_numbers_that_do_not_exist_have_no_point() -> None:
    missing = {"a": {"depth": {"value": None, "missing_because": "no valid pixel"}}}
    line = _line(1, scores=missing, losses={"a": {"depth": None}}, diagnostics={"huge": 1e99})
    tags = {scalar.tag for scalar in scalars(line, [])}
    assert tags == {"round/clients", "round/set aside", "round/skipped", "bytes/up", "bytes/down", "seconds/clients"}


def test_final_line_adds_scores_only() -> None:
    assert [s.tag for s in scalars(_line(3, final=True), [])] == ["score/depth/a"]


def test_resumed_run_has_every_point_once_and_none_of_what_was_cut_off(tmp_path: Path) -> None:
    folder = _folder(tmp_path, [_line(1)], [_asked(1), _answered(1, 1.0)])
    first = Telemetry(folder)
    for number, seconds in ((2, 2.0), (3, 3.0)):
        folder.append_progress(_asked(number))
        folder.append_progress(_answered(number, seconds))
        length = folder.append_history(_line(number))
        first.add(_line(number))
        if number == 2:
            kept = length
    folder.cut_history(kept)
    again = Telemetry(folder)
    assert _read_back(folder.path / "tensorboard")["bytes/up"] == [(1, 10.0), (2, 20.0)]
    folder.append_progress(_asked(3))
    folder.append_progress(_answered(3, 33.0))
    again.add(_line(3, bytes_up=31))
    curves = _read_back(folder.path / "tensorboard")
    assert curves["bytes/up"] == [(1, 10.0), (2, 20.0), (3, 31.0)]
    assert curves["seconds/a/answer"] == [(1, 1.0), (2, 2.0), (3, 33.0)]
    assert [path for path in sorted((folder.path / "tensorboard").iterdir()) if path.stat().st_size] == [again.path]


def test_tensorboard_that_looks_on_forgets_the_points_of_the_run_before(tmp_path: Path) -> None:
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    folder = _folder(tmp_path, [_line(1), _line(2)], [])
    Telemetry(folder)
    events = accumulator.EventAccumulator(str(folder.path / "tensorboard"), size_guidance={accumulator.SCALARS: 0})
    events.Reload()
    assert [point.step for point in events.Scalars("bytes/up")] == [1, 2]
    folder.cut_history(len(json.dumps(_line(1))) + 1)
    Telemetry(folder).add(_line(2, bytes_up=99))
    events.Reload()
    assert [(point.step, point.value) for point in events.Scalars("bytes/up")] == [(1, 10.0), (2, 99.0)]


def test_half_a_record_of_a_killed_server_is_gone_after_it_resumes(tmp_path: Path) -> None:
    folder = _folder(tmp_path, [_line(1)], [])
    path = Telemetry(folder).path
    path.write_bytes(path.read_bytes() + b"\x10\x00")
    Telemetry(folder).add(_line(2))
    assert [step for step, _ in _read_back(folder.path / "tensorboard")["bytes/up"]] == [1, 2]


def test_whole_run_leaves_curves_that_equal_its_history(tmp_path: Path) -> None:
    federation = toy.ToyFederation([toy.profile("a", ["semseg"]), toy.profile("b", ["depth"])])
    folder = RunFolder(tmp_path / "run")
    folder.create({})
    run_rounds(FedPer(toy.settings(rounds=3)), federation.grid(), folder, RunConfig.from_flat({"num-server-rounds": 3}))
    curves = _read_back(folder.path / "tensorboard")
    history = [line for line in folder.history() if not line["final"]]
    assert curves["bytes/up"] == [(line["round"], line["bytes_up"]) for line in history]
    for client, task in (("a", "semseg"), ("b", "depth")):
        expected = [
            (line["evaluated_round"], pytest.approx(line["scores"][client][task]["value"], rel=1e-6))
            for line in folder.history()
            if client in line["scores"]
        ]
        assert curves[f"score/{task}/{client}"] == expected
        assert [step for step, _ in expected] == [1, 2, 3]
