"""Run folders: what is read as completed, failed or unfinished, and that damage is named with its place."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from fmtl.errors import SettingError
from fmtl.report.run_reader import read_run
from tests.support.run_folders import RunFolder

VALUES = {"a": {"semseg": 40.0}, "b": {"depth": 0.6, "edge": "no reply in round 3"}}


def refused(folder: Path) -> str:
    with pytest.raises(SettingError) as caught:
        read_run(folder)
    return str(caught.value)


def replace(path: Path, old: str, new: str) -> None:
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new, 1), encoding="utf-8")


def test_completed_run_has_final_scores_directions_and_curves(tmp_path: Path) -> None:
    run = read_run(RunFolder(VALUES, strategy="fedhca2", seed=3).write(tmp_path / "r"))
    assert (run.status, run.strategy, run.seed, run.rounds, run.name) == ("completed", "fedhca2", 3, 3, "r")
    assert run.scores["a", "semseg"].value == 40.0
    assert run.measures["b", "depth"].higher_is_better is False
    assert [number for number, _ in run.curves["a", "semseg"]] == [1, 2, 3]
    assert run.curves["a", "semseg"][-1] == (3, 40.0)
    assert run.curves["b", "edge"] == ((1, None), (2, None), (3, None))


def test_missing_value_keeps_its_reason_and_is_no_number(tmp_path: Path) -> None:
    score = read_run(RunFolder(VALUES).write(tmp_path / "r")).scores["b", "edge"]
    assert score.value is None
    assert score.missing_because == "no reply in round 3"


def test_missing_value_without_reason_stays_missing(tmp_path: Path) -> None:
    folder = RunFolder(VALUES).write(tmp_path / "r")
    replace(folder / "result.json", '"no reply in round 3"', "null")
    score = read_run(folder).scores["b", "edge"]
    assert (score.value, score.missing_because) == (None, "no reason was recorded")


def test_run_without_result_is_unfinished_with_last_evaluated_round(tmp_path: Path) -> None:
    run = read_run(RunFolder(VALUES, status=None).write(tmp_path / "r"))
    assert (run.status, run.rounds, run.evaluated_round, run.result) == ("unfinished", 3, 2, None)
    assert run.state == "unfinished, evaluated to round 2"
    assert run.scores["a", "semseg"].value == pytest.approx(40.0 * 2 / 3)


def test_run_killed_before_its_first_round_is_unfinished(tmp_path: Path) -> None:
    folder = RunFolder(VALUES, status=None).write(tmp_path / "r")
    (folder / "history.jsonl").unlink()
    assert read_run(folder).state == "unfinished, no round evaluated"


def test_failed_run_has_its_reason(tmp_path: Path) -> None:
    run = read_run(RunFolder({}, status="failed", reason="3 rounds in a row were skipped").write(tmp_path / "r"))
    assert (run.status, run.reason) == ("failed", "3 rounds in a row were skipped")


def test_half_written_last_line_is_left_out_of_an_unfinished_run_only(tmp_path: Path) -> None:
    unfinished = RunFolder(VALUES, status=None).write(tmp_path / "u")
    completed = RunFolder(VALUES).write(tmp_path / "c")
    for folder in (unfinished, completed):
        with (folder / "history.jsonl").open("a", encoding="utf-8") as file:
            file.write('{"round": 4, "sco')
    assert read_run(unfinished).rounds == 3
    assert "history.jsonl, line 5 is damaged" in refused(completed)


def test_rounds_repeated_by_a_resumed_run_replace_the_earlier_lines(tmp_path: Path) -> None:
    folder = RunFolder({"a": {"semseg": 40.0}}, status=None).write(tmp_path / "r")
    again = {"round": 2, "evaluated_round": 1, "scores": {"a": {"semseg": {"value": 7.0, "missing_because": None}}}}
    with (folder / "history.jsonl").open("a", encoding="utf-8") as file:
        file.write(json.dumps(again) + "\n")
    run = read_run(folder)
    assert run.rounds == 2
    assert run.curves["a", "semseg"] == ((1, 7.0),)


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1e999"])
def test_number_that_is_not_finite_is_damage_named_by_file_and_key(tmp_path: Path, number: str) -> None:
    folder = RunFolder(VALUES).write(tmp_path / "r")
    replace(folder / "result.json", "40.0", number)
    message = refused(folder)
    assert "result.json is damaged: clients.a.tasks.semseg.value" in message


def test_not_finite_number_in_the_history_names_the_line(tmp_path: Path) -> None:
    folder = RunFolder({"a": {"semseg": 40.0}}).write(tmp_path / "r")
    replace(folder / "history.jsonl", "40.0", "NaN")
    assert "history.jsonl, line 4 is damaged: scores.a.semseg.value" in refused(folder)


@pytest.mark.parametrize(
    ("old", "new", "place"),
    [
        ('"seed": 0', '"seed": "zero"', "seed"),
        ('"format": 1', '"format": 2', "format"),
        ('"status": "completed"', '"status": "done"', "status"),
        ('"value": 40.0', '"value": true', "clients.a.tasks.semseg.value"),
        ('"value": 40.0', '"value": 1e200', "clients.a.tasks.semseg.value"),
        ('"value": 40.0', '"value": "40"', "clients.a.tasks.semseg.value"),
        ('"semseg": {', '"../semseg": {', "clients.a.tasks"),
        ('"higher_is_better": true, ', "", "clients.a.tasks.semseg.higher_is_better"),
    ],
)
def test_result_outside_the_format_is_refused_with_its_place(tmp_path: Path, old: str, new: str, place: str) -> None:
    folder = RunFolder({"a": {"semseg": 40.0}}).write(tmp_path / "r")
    replace(folder / "result.json", old, new)
    assert f"result.json is damaged: {place}" in refused(folder)


def test_value_with_a_reason_for_missing_contradicts_itself(tmp_path: Path) -> None:
    folder = RunFolder({"a": {"semseg": 40.0}}).write(tmp_path / "r")
    replace(folder / "result.json", '"missing_because": null', '"missing_because": "late"')
    assert "clients.a.tasks.semseg: has the value 40.0" in refused(folder)


def test_folder_without_run_files_is_refused_and_runs_inside_are_named(tmp_path: Path) -> None:
    RunFolder(VALUES).write(tmp_path / "runs" / "first")
    assert "run folder" in refused(tmp_path / "runs")
    assert "first" in refused(tmp_path / "runs")
    assert "absent" in refused(tmp_path / "absent")
    assert "is a file" in refused(tmp_path / "runs" / "first" / "config.json")


def test_missing_config_and_missing_strategy_are_named(tmp_path: Path) -> None:
    unfinished = RunFolder(VALUES, status=None).write(tmp_path / "u")
    replace(unfinished / "config.json", '"strategy": "local"', '"strategy": 5')
    assert "run_config.strategy = 5" in refused(unfinished)
    (unfinished / "config.json").unlink()
    assert "has no config.json" in refused(unfinished)
