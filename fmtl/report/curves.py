"""Curves: one figure for each task, the metric by round, one line for each client and strategy."""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil, nan
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from fmtl.report.comparison import Column, Comparison
from fmtl.report.figure import write_figure
from fmtl.report.run_reader import Measure, Pair, Run

_ACROSS = 3
_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#8C6D31")
"""Okabe and Ito's palette (2008), which colour-blind readers can tell apart, most contrasting first, and one more."""
_LONGEST_LABEL = 60
_STYLES = ("-", "--", ":", "-.")
_MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")
_WIDEST, _NARROWEST, _STEP = 3.0, 1.2, 0.5
"""Line widths in points: each strategy's line is narrower than the one it covers, so that equal lines both show."""


def write_curves(comparison: Comparison, folder: Path) -> tuple[Path, ...]:
    """Draw every task that some run has scored.

    Args:
        comparison: the runs.
        folder: an existing folder; a file ``curve_<task>.png`` is written for each task.

    Returns:
        The files, in the order of the tasks.
    """
    paths = []
    for task in dict.fromkeys(task for _, task in comparison.measures):
        figure = draw_task(comparison, task)
        if figure is None:
            continue
        paths.append(write_figure(figure, folder / f"curve_{task}.png"))
    return tuple(paths)


def draw_task(comparison: Comparison, task: str) -> Figure | None:
    """One task's figure: a panel for each client, one colour for each strategy.

    Several seeds of a strategy are thin lines of its colour under the thick line of their mean, which is drawn where
    all of them have a value. With more strategies than colours only the means are drawn. A missing value is a gap.

    Args:
        comparison: the runs.
        task: one of its tasks.

    Returns:
        The figure; None where no run has any score of the task.
    """
    pairs = [pair for pair in comparison.measures if pair[1] == task and _has_points(comparison, pair)]
    if not pairs:
        return None
    measure = comparison.measures[pairs[0]]
    across = min(_ACROSS, len(pairs))
    down = ceil(len(pairs) / across)
    groups = _groups(comparison)
    width = max(4.2 * across, 6.0)
    columns = _legend_columns(groups, width)
    figure = Figure(figsize=(width, 3.3 * down + 0.5 + 0.22 * ceil(len(groups) / columns)), dpi=120)
    figure.set_layout_engine("constrained")
    axes = figure.subplots(down, across, squeeze=False).ravel()
    for panel, pair in zip(axes, pairs, strict=False):
        _draw_panel(panel, pair, groups, measure)
    for panel in axes[len(pairs) :]:
        panel.set_visible(False)
    figure.suptitle(_title(task, measure), fontsize=13)
    handles, labels = axes[0].get_legend_handles_labels()
    for panel in axes[1 : len(pairs)]:
        for handle, label in zip(*panel.get_legend_handles_labels(), strict=True):
            if label not in labels:
                handles.append(handle)
                labels.append(label)
    figure.legend(handles, labels, loc="outside lower center", ncols=columns, fontsize=9, frameon=False)
    return figure


def _label(group: Column) -> str:
    label = ", ".join(line for line in group.label if line != "n = 1")
    return (label if len(label) <= _LONGEST_LABEL else label[: _LONGEST_LABEL - 1] + "…").replace("$", r"\$")


def _legend_columns(groups: Sequence[Column], width: float) -> int:
    """How many columns of the legend fit into a width in inches, at 9 points."""
    longest = max(len(_label(group)) for group in groups)
    return max(1, min(3, len(groups), int(width / (0.6 + 0.075 * longest))))


def _title(task: str, measure: Measure | None) -> str:
    if measure is None:
        return f"{task} (metric not known before a run has ended)"
    direction = "higher is better ↑" if measure.higher_is_better else "lower is better ↓"
    return f"{task}: {measure.metric}, {direction}"


def _has_points(comparison: Comparison, pair: Pair) -> bool:
    runs = (run for column in comparison.columns for run in column.runs)
    return any(value is not None for run in runs for _, value in run.curves.get(pair, ()))


def _groups(comparison: Comparison) -> tuple[Column, ...]:
    """Mean columns where there are any, and every run that is in none of them."""
    averaged = [run.folder for column in comparison.seeds for run in column.runs]
    rest = tuple(column for column in comparison.columns if column.runs[0].folder not in averaged)
    return (*comparison.seeds, *rest)


def _draw_panel(panel: Axes, pair: Pair, groups: Sequence[Column], measure: Measure | None) -> None:
    for index, group in enumerate(groups):
        colour, style = _COLOURS[index % len(_COLOURS)], _STYLES[index // len(_COLOURS) % len(_STYLES)]
        label = _label(group)
        if len(group.runs) > 1 and len(groups) <= len(_COLOURS):
            for run in group.runs:
                panel.plot(*_line(run, pair), color=colour, linestyle=style, linewidth=0.8, alpha=0.45)
        rounds, values = _mean_line(group.runs, pair)
        if rounds:
            width = max(_WIDEST - _STEP * index, _NARROWEST)
            marker = _MARKERS[index % len(_MARKERS)]
            (line,) = panel.plot(rounds, values, color=colour, linestyle=style, linewidth=width, label=label)
            line.set(marker=marker, markersize=width + 3, markerfacecolor="white")
    panel.set_title(pair[0], fontsize=10)
    panel.set_xlabel("round", fontsize=9)
    panel.set_ylabel("value" if measure is None else measure.metric.replace("$", r"\$"), fontsize=9)
    panel.tick_params(labelsize=8)
    panel.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    panel.grid(visible=True, color="#dddddd", linewidth=0.6)
    panel.spines[["top", "right"]].set_visible(False)


def _line(run: Run, pair: Pair) -> tuple[list[int], list[float]]:
    """Rounds and values; a missing value is NaN here, which matplotlib leaves as a gap."""
    points = run.curves.get(pair, ())
    return [number for number, _ in points], [nan if value is None else value for _, value in points]


def _mean_line(runs: Sequence[Run], pair: Pair) -> tuple[list[int], list[float]]:
    by_round = [dict(run.curves.get(pair, ())) for run in runs]
    rounds = sorted({number for points in by_round for number in points})
    means = []
    for number in rounds:
        values = [points.get(number) for points in by_round]
        present = [value for value in values if value is not None]
        means.append(sum(present) / len(present) if len(present) == len(values) else nan)
    return rounds, means
