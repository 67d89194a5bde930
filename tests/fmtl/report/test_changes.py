"""The picture of changes: lines in their order, points for seeds, diverged runs that do not squeeze the others."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from matplotlib.image import imread

from fmtl.report.changes import Changes, draw_changes
from fmtl.report.figure import write_figure


def points(lines: list[Changes], marker: str) -> list[tuple[float, float]]:
    figure = draw_changes(lines)
    assert figure is not None
    drawn = [line for line in figure.axes[0].lines if line.get_marker() == marker]
    return [(float(np.asarray(x.get_xdata())[0]), float(np.asarray(x.get_ydata())[0])) for x in drawn]


def test_every_seed_is_a_point_and_the_mean_a_bar_in_the_order_of_the_lines() -> None:
    lines = [Changes("best", (1.0, 3.0)), Changes("worst", (-2.0, -4.0), printed=-1.0)]
    assert points(lines, "o") == [(1.0, 0.0), (3.0, 0.0), (-2.0, 1.0), (-4.0, 1.0)]
    assert points(lines, "|") == [(2.0, 0.0), (-3.0, 1.0)]
    assert points(lines, "D") == [(-1.0, 0.75)]
    figure = draw_changes(lines)
    assert figure is not None
    assert [text.get_text() for text in figure.axes[0].get_yticklabels()] == ["best", "worst"]


def test_a_diverged_run_is_an_arrow_at_the_edge() -> None:
    lines = [Changes("ours", (1.0,)), Changes("wild", (-1e9,))]
    assert points(lines, "<") == [(-100.0, 1.0)]
    assert points(lines, "|") == [(1.0, 0.0)]


def test_lines_without_any_change_make_no_picture(tmp_path: Path) -> None:
    assert draw_changes([Changes("failed", ())]) is None
    figure = draw_changes([Changes("ours", (1.0,))])
    assert figure is not None
    assert np.ptp(imread(write_figure(figure, tmp_path / "changes.png"))) > 0.5
