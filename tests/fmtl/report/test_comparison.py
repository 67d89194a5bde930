"""Comparison: delta_m, seeds, what may not be compared, and that a missing value never becomes a number."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from errors import naming

from fmtl.errors import SettingError
from fmtl.report.comparison import Column, Comparison, compare_runs
from fmtl.report.run_reader import Run, read_run
from tests.support.run_folders import RunFolder, table_1


class Runs:
    """Writes run folders with numbered names and reads them back."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.count = 0

    def __call__(self, values: Any, strategy: str = "local", seed: int = 0, **rest: Any) -> Run:
        self.count += 1
        name = f"run-{self.count}"
        return read_run(RunFolder(values, strategy=strategy, seed=seed, **rest).write(self.folder / name))


@pytest.fixture
def run(tmp_path: Path) -> Runs:
    return Runs(tmp_path)


def delta(comparison: Comparison, index: int) -> float | str | None:
    cell = comparison.columns[index].delta_m
    return cell.missing_because if cell.value is None else cell.value


def test_published_table_1_gives_the_published_delta_m(run: Runs) -> None:
    comparison = compare_runs([run(table_1(name), name) for name in ("local", "fedavg", "fedper", "fedhca2")])
    values = [column.delta_m.value for column in comparison.columns]
    assert [round(value, 2) for value in values if value is not None] == [0.0, -11.76, -1.11, 2.18]


def test_delta_m_is_not_computed_where_a_value_is_missing_and_says_which(run: Runs) -> None:
    local = run({"a": {"semseg": 40.0, "edge": 70.0}})
    holed = run({"a": {"semseg": 41.0, "edge": "no image had edges"}}, "fedper")
    comparison = compare_runs([local, holed])
    assert comparison.columns[1].cells["a", "edge"].value is None
    assert comparison.columns[1].cells["a", "edge"].missing_because == "no image had edges"
    assert delta(comparison, 1) == "not computed: a/edge is missing in run-2"


def test_delta_m_is_not_computed_where_the_local_value_is_missing_or_zero(run: Runs) -> None:
    full = run({"a": {"semseg": 41.0}}, "fedper")
    assert delta(compare_runs([run({"a": {"semseg": "late"}}), full]), 1) == (
        "not computed: a/semseg is missing in run-2"
    )
    assert "a/semseg is 0 in run-3" in str(delta(compare_runs([run({"a": {"semseg": 0.0}}), full]), 1))


def test_without_a_local_run_delta_m_says_so(run: Runs) -> None:
    comparison = compare_runs([run({"a": {"semseg": 40.0}}, "fedavg"), run({"a": {"semseg": 41.0}}, "fedper")])
    assert "strategy local" in str(delta(comparison, 0))


def test_each_seed_is_measured_against_the_local_run_of_that_seed(run: Runs) -> None:
    locals_ = [run({"a": {"semseg": value}}, seed=seed) for seed, value in enumerate((40.0, 50.0))]
    others = [run({"a": {"semseg": 60.0}}, "fedper", seed) for seed in (0, 1, 2)]
    comparison = compare_runs([*locals_, *others])
    assert delta(comparison, 2) == pytest.approx(50.0)
    assert delta(comparison, 3) == pytest.approx(20.0)
    assert "seed 2" in str(delta(comparison, 4))


def test_run_named_with_local_serves_every_seed_and_is_shown(run: Runs) -> None:
    base = run({"a": {"semseg": 40.0}}, "fedavg", seed=9)
    comparison = compare_runs([run({"a": {"semseg": 44.0}}, "fedper", seed=1)], base)
    assert [column.runs[0].name for column in comparison.columns] == ["run-1", "run-2"]
    assert delta(comparison, 1) == pytest.approx(10.0)
    assert comparison.against == "the run run-1 (fedavg, seed 9)"


def test_two_local_runs_of_one_seed_leave_the_choice_to_the_user(run: Runs) -> None:
    runs = [run({"a": {"semseg": value}}) for value in (40.0, 41.0)]
    comparison = compare_runs([*runs, run({"a": {"semseg": 42.0}}, "fedper")])
    assert "several local runs have seed 0 (run-1, run-2)" in str(delta(comparison, 2))


def test_seeds_are_averaged_with_sample_standard_deviation(run: Runs) -> None:
    values = (40.0, 42.0, 47.0)
    runs = [run({"a": {"semseg": value}}, "fedper", seed) for seed, value in enumerate(values)]
    locals_ = [run({"a": {"semseg": 40.0}}, seed=seed) for seed in range(3)]
    mean = compare_runs([*locals_, *runs]).seeds[1]
    assert mean.label == ("fedper", "n = 3 seeds")
    assert mean.cells["a", "semseg"].value == pytest.approx(43.0)
    assert mean.cells["a", "semseg"].spread == pytest.approx(13.0**0.5)
    assert mean.delta_m.value == pytest.approx((0.0 + 5.0 + 17.5) / 3)


def test_value_missing_in_one_seed_is_missing_in_the_mean(run: Runs) -> None:
    runs = [run({"a": {"semseg": value}}, "fedper", seed) for seed, value in enumerate((40.0, "set aside"))]
    cell = compare_runs(runs).seeds[0].cells["a", "semseg"]
    assert (cell.value, cell.spread, cell.missing_because) == (None, None, "seed 1: set aside")


def test_other_parameters_or_rounds_or_settings_are_not_averaged_together(run: Runs) -> None:
    values = {"a": {"semseg": 40.0}}
    runs = [
        run(values, "fedhca2", 0, parameters={"mode": "paper"}),
        run(values, "fedhca2", 1, parameters={"mode": "stable"}),
        run(values, "fedhca2", 2, parameters={"mode": "paper"}, rounds=4),
        run(values, "fedhca2", 3, parameters={"mode": "paper"}, settings={"encoder-rate": 0.1}),
    ]
    comparison = compare_runs(runs)
    assert comparison.seeds == ()
    labels = [column.label for column in comparison.columns]
    assert labels[1] == ("fedhca2", "mode=stable", "rounds=3", "no encoder-rate", "seed 1")
    assert len(set(labels)) == 4
    assert any("rounds" in note for note in comparison.notes)
    assert any("encoder-rate" in note for note in comparison.notes)


def test_same_seed_twice_is_shown_by_folder_name_and_not_averaged(run: Runs) -> None:
    comparison = compare_runs([run({"a": {"semseg": value}}, "fedper") for value in (40.0, 41.0)])
    assert [column.label[-1] for column in comparison.columns] == ["run-1", "run-2"]
    assert comparison.seeds == ()
    assert any("seeds" in note for note in comparison.notes)


def test_settings_that_name_folders_or_belong_to_a_strategy_are_no_difference(run: Runs) -> None:
    first = run({"a": {"semseg": 40.0}}, settings={"out": "/x/1", "fedhca2.mode": "paper"})
    second = run({"a": {"semseg": 40.0}}, "fedhca2", settings={"out": "/x/2", "fedhca2.mode": "stable"})
    assert compare_runs([first, second]).notes == ()


def test_unfinished_run_is_shown_but_neither_ranked_nor_averaged(run: Runs) -> None:
    values = {"a": {"semseg": 40.0, "edge": 70.0}}
    comparison = compare_runs([run(values), run(values, "fedper", status=None), run(values, "fedper", seed=1)])
    column: Column = comparison.columns[1]
    assert column.label == ("fedper", "seed 0", "unfinished", "at round 2")
    assert not column.ranked
    assert column.cells["a", "semseg"].value == pytest.approx(80 / 3)
    assert delta(comparison, 1) == "not computed: run-2 is unfinished"
    assert comparison.seeds == ()


def test_failed_run_shows_its_reason_in_place_of_values(run: Runs) -> None:
    local = run({"a": {"semseg": 40.0}})
    comparison = compare_runs([local, run({}, "fedavg", status="failed", reason="too few clients")])
    assert comparison.columns[1].cells["a", "semseg"].missing_because == "the run failed: too few clients"
    assert delta(comparison, 1) == "not computed: run-2 failed"
    assert "run-2 failed: too few clients" in comparison.notes


def test_only_unfinished_runs_have_values_but_no_known_metric(run: Runs) -> None:
    comparison = compare_runs([run({"a": {"semseg": 40.0}}, status=None)])
    assert comparison.measures == {("a", "semseg"): None}


def test_other_scenario_other_tasks_or_other_metric_cannot_be_compared(run: Runs) -> None:
    base = run({"a": {"semseg": 40.0}})
    with pytest.raises(SettingError, match="'default' and run-2 of 'other'"):
        compare_runs([base, run({"a": {"semseg": 40.0}}, scenario="other")])
    with pytest.raises(SettingError, match=naming("run-3", "a/edge", "run-1")):
        compare_runs([base, run({"a": {"semseg": 40.0, "edge": 1.0}})])
    with pytest.raises(SettingError, match=naming("run-4", "b/semseg", "run-1", "a/semseg")):
        compare_runs([base, run({"b": {"semseg": 40.0}})])
    changed = run({"a": {"semseg": 40.0}})
    result = changed.folder / "result.json"
    result.write_text(result.read_text(encoding="utf-8").replace("mIoU", "pixel accuracy"), encoding="utf-8")
    with pytest.raises(SettingError, match=naming("mIoU", "run-1", "pixel accuracy")):
        compare_runs([base, read_run(changed.folder)])


def test_run_given_twice_is_refused(run: Runs) -> None:
    base = run({"a": {"semseg": 40.0}})
    with pytest.raises(SettingError, match=naming("twice")):
        compare_runs([base, base])


def test_client_with_another_encoder_is_noted(run: Runs) -> None:
    base, other = run({"a": {"semseg": 40.0}}), run({"a": {"semseg": 40.0}}, "fedper")
    result = other.folder / "result.json"
    result.write_text(result.read_text(encoding="utf-8").replace("mobilenetv2_035", "swin_t"), encoding="utf-8")
    notes = compare_runs([base, read_run(other.folder)]).notes
    assert notes == ("Client a has not the same encoder in all runs: mobilenetv2_035 in run-1, swin_t in run-2.",)
