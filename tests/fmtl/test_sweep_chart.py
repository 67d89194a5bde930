"""The picture of a sweep: rows in their order, points for seeds, diverged runs that do not squeeze the others."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
from matplotlib.image import imread

from fmtl.report.comparison import Cell
from fmtl.sweep.chart import draw_changes, write_chart
from fmtl.sweep.row import Row


def row(label: str, *changes: float | None) -> Row:
    entries: Any = tuple(
        SimpleNamespace(delta_m=Cell(missing_because="failed") if change is None else Cell(value=change))
        for change in changes
    )
    line: Any = SimpleNamespace(label=label)
    return Row(line, entries)


def points(rows: list[Row], marker: str) -> list[tuple[float, float]]:
    figure = draw_changes(rows)
    assert figure is not None
    lines = [line for line in figure.axes[0].lines if line.get_marker() == marker]
    return [(float(np.asarray(x.get_xdata())[0]), float(np.asarray(x.get_ydata())[0])) for x in lines]


def test_every_seed_is_a_point_and_the_mean_a_bar_in_the_order_of_the_rows() -> None:
    rows = [row("best", 1.0, 3.0), row("worst", -2.0, -4.0)]
    assert points(rows, "o") == [(1.0, 0.0), (3.0, 0.0), (-2.0, 1.0), (-4.0, 1.0)]
    assert points(rows, "|") == [(2.0, 0.0), (-3.0, 1.0)]
    figure = draw_changes(rows)
    assert figure is not None
    assert [text.get_text() for text in figure.axes[0].get_yticklabels()] == ["best", "worst"]


def test_a_diverged_run_is_an_arrow_at_the_edge_and_a_missing_seed_is_named() -> None:
    rows = [row("ours", 1.0, None), row("wild", -1e9)]
    assert points(rows, "<") == [(-100.0, 1.0)]
    assert points(rows, "|") == [(1.0, 0.0)]
    figure = draw_changes(rows)
    assert figure is not None
    assert figure.axes[0].get_yticklabels()[0].get_text() == "ours (1 of 2 seeds)"


def test_rows_without_any_change_make_no_picture(tmp_path: Path) -> None:
    assert draw_changes([row("failed", None)]) is None
    assert write_chart([row("failed", None)], tmp_path) is None
    path = write_chart([row("ours", 1.0)], tmp_path)
    assert path is not None
    assert np.ptp(imread(path)) > 0.5
