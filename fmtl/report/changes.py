"""The picture of changes against local training: a line for each method, every seed a point."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

_LOWEST = -100.0
"""Percent; what is below stands at this value as an arrow: a run that diverged would squeeze all others together."""
_PRINTED, _SEED, _MEAN = "#000000", "#56B4E9", "#D55E00"


@dataclass(frozen=True)
class Changes:
    """One line of the picture.

    Attributes:
        name: of the method.
        seeds: delta_m of each seed that has one, in percent.
        printed: delta_m that a paper prints; None where it prints none.
    """

    name: str
    seeds: Sequence[float]
    printed: float | None = None


def draw_changes(lines: Sequence[Changes], title: str = "") -> Figure | None:
    """Draw a point for each seed, a bar for their mean and spread, and a diamond for what a paper prints.

    Args:
        lines: from the top to the bottom.
        title: of the picture.

    Returns:
        The figure; None where no line has a change.
    """
    if not any(line.seeds or line.printed is not None for line in lines):
        return None
    figure = Figure(figsize=(8.0, 1.9 + 0.3 * len(lines)), dpi=120)
    figure.set_layout_engine("constrained")
    panel = figure.subplots()
    for place, line in enumerate(lines):
        _draw_line(panel, place, line)
    panel.axvline(0.0, color="#999999", linewidth=0.8, zorder=0)
    panel.set_yticks(range(len(lines)), [line.name.replace("$", r"\$") for line in lines], fontsize=8)
    panel.set_ylim(len(lines) - 0.5, -0.5)
    panel.set_xlabel("Δm in percent against local training of the same seed; further right is better", fontsize=9)
    panel.tick_params(axis="x", labelsize=8)
    panel.grid(visible=True, axis="x", color="#dddddd", linewidth=0.6)
    panel.spines[["top", "right"]].set_visible(False)
    panel.set_title(title, fontsize=9, loc="left")
    figure.legend(handles=_legend(lines), loc="outside lower center", ncols=3, fontsize=8, frameon=False)
    return figure


def _legend(lines: Sequence[Changes]) -> list[Line2D]:
    printed = Line2D([], [], marker="D", color=_PRINTED, markerfacecolor="none", linestyle="none", label="paper")
    return [
        *([printed] if any(line.printed is not None for line in lines) else []),
        Line2D([], [], marker="o", color=_SEED, markersize=5, linestyle="none", label="one seed"),
        Line2D([], [], marker="|", color=_MEAN, markersize=10, markeredgewidth=2, label="mean ± spread over seeds"),
    ]


def _draw_line(panel: Axes, place: int, line: Changes) -> None:
    if line.printed is not None:
        panel.plot(line.printed, place - 0.25, marker="D", color=_PRINTED, markerfacecolor="none", markersize=6)
    for change in line.seeds:
        marker = "<" if change < _LOWEST else "o"
        panel.plot(max(change, _LOWEST), place, marker=marker, color=_SEED, markersize=5, linestyle="none")
    mean = statistics.fmean(line.seeds) if line.seeds else _LOWEST - 1
    if mean < _LOWEST:
        return
    if len(line.seeds) > 1:
        spread = statistics.stdev(line.seeds)
        panel.plot([max(mean - spread, _LOWEST), mean + spread], [place] * 2, color=_MEAN, linewidth=1.5, zorder=1)
    panel.plot(mean, place, marker="|", color=_MEAN, markersize=12, markeredgewidth=2, linestyle="none")
