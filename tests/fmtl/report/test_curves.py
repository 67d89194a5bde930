"""Curves: a figure for each task, a panel for each client, gaps where values are missing."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.image import imread

from fmtl.report.comparison import compare_runs
from fmtl.report.curves import draw_task, write_curves
from fmtl.report.run_reader import read_run
from tests.support.run_folders import RunFolder, comparison_of

VALUES = {"a": {"semseg": 30.0, "depth": 0.9}, "b": {"semseg": 60.0}}


def test_every_task_gets_a_picture_that_is_not_blank(tmp_path: Path) -> None:
    comparison = comparison_of(tmp_path, RunFolder(VALUES), RunFolder(VALUES, strategy="fedper"))
    paths = write_curves(comparison, tmp_path)
    assert sorted(path.name for path in paths) == ["curve_depth.png", "curve_semseg.png"]
    assert all(np.ptp(imread(path)) > 0.5 for path in paths)


def test_title_says_metric_and_direction_and_each_client_has_a_panel(tmp_path: Path) -> None:
    comparison = comparison_of(tmp_path, RunFolder(VALUES), RunFolder(VALUES, strategy="fedper"))
    semseg, depth = draw_task(comparison, "semseg"), draw_task(comparison, "depth")
    assert semseg is not None
    assert depth is not None
    assert semseg.get_suptitle() == "semseg: mIoU, higher is better ↑"
    assert depth.get_suptitle() == "depth: RMSE, lower is better ↓"
    assert [panel.get_title() for panel in semseg.axes] == ["a", "b"]
    assert [line.get_label() for line in semseg.axes[0].lines] == ["local, seed 0", "fedper, seed 0"]
    assert np.asarray(semseg.axes[1].lines[0].get_ydata()) == pytest.approx([20.0, 40.0, 60.0])


def test_missing_round_is_a_gap_and_not_zero(tmp_path: Path) -> None:
    folder = RunFolder({"a": {"semseg": 30.0}}).write(tmp_path / "r")
    lines = [json.loads(line) for line in (folder / "history.jsonl").read_text(encoding="utf-8").splitlines()]
    lines[2]["scores"]["a"]["semseg"] = {"value": None, "missing_because": "late"}
    (folder / "history.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    figure = draw_task(compare_runs([read_run(folder)]), "semseg")
    assert figure is not None
    values = np.asarray(figure.axes[0].lines[0].get_ydata(), dtype=float)
    assert values[0] == pytest.approx(10.0)
    assert math.isnan(values[1])
    assert values[2] == pytest.approx(30.0)


def test_seeds_are_thin_lines_under_their_mean(tmp_path: Path) -> None:
    runs = [RunFolder({"a": {"semseg": value}}, seed=seed) for seed, value in enumerate((30.0, 60.0))]
    figure = draw_task(comparison_of(tmp_path, *runs), "semseg")
    assert figure is not None
    *thin, mean = figure.axes[0].lines
    assert [len(thin), mean.get_label()] == [2, "local, n = 2 seeds"]
    assert np.asarray(mean.get_ydata()) == pytest.approx([15.0, 30.0, 45.0])


def test_value_missing_in_one_seed_is_a_gap_in_its_line_and_in_the_mean(tmp_path: Path) -> None:
    values: tuple[float | str, ...] = (30.0, "late")
    runs = [RunFolder({"a": {"semseg": value}}, seed=seed) for seed, value in enumerate(values)]
    figure = draw_task(comparison_of(tmp_path, *runs), "semseg")
    assert figure is not None
    _, holed, mean = figure.axes[0].lines
    assert np.isnan(np.asarray(holed.get_ydata(), dtype=float)).all()
    assert np.isnan(np.asarray(mean.get_ydata(), dtype=float)).all()


def test_task_that_was_never_scored_has_no_figure(tmp_path: Path) -> None:
    comparison = comparison_of(tmp_path, RunFolder({"a": {"semseg": 30.0, "edge": "no edges"}}))
    assert draw_task(comparison, "edge") is None


def test_many_strategies_are_drawn_as_means_with_a_legend_inside_the_picture(tmp_path: Path) -> None:
    runs = [
        RunFolder({"a": {"semseg": 30.0 + n}}, strategy=f"a-strategy-with-quite-a-long-name-{n:02d}", seed=seed)
        for n in range(12)
        for seed in (0, 1)
    ]
    figure = draw_task(comparison_of(tmp_path, *runs), "semseg")
    assert figure is not None
    assert len(figure.axes[0].lines) == 12
    FigureCanvasAgg(figure).draw()
    (legend,) = figure.legends
    box, canvas = legend.get_window_extent(), figure.bbox
    assert box.x0 >= canvas.x0
    assert box.x1 <= canvas.x1
