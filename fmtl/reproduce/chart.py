"""The picture of a reproduction: printed and measured delta_m of every method, with every seed as a point."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from fmtl.report.figure import write_figure
from fmtl.reproduce.measured import MeasuredRow
from fmtl.reproduce.plan import Reproduction

__all__ = ["draw_table", "write_chart"]

CHART = "delta_m.png"
_LOWEST = -100.0
"""Percent; what is below stands at this value as an arrow: a run that diverged would squeeze all others together."""
_PAPER, _SEED, _MEAN = "#000000", "#56B4E9", "#D55E00"


def write_chart(work: Reproduction, rows: Sequence[MeasuredRow], folder: Path) -> Path | None:
    """Write ``delta_m.png`` to an existing folder; None where nothing is printed and nothing measured."""
    figure = draw_table(work, rows)
    if figure is None:
        return None
    return write_figure(figure, folder / CHART)


def draw_table(work: Reproduction, rows: Sequence[MeasuredRow]) -> Figure | None:
    """Draw one line for each row: a diamond for the printed change, a point for each seed, a bar for their spread.

    Returns:
        The figure; None where no row has a change.
    """
    if not any(one.row.delta_m is not None or one.delta_m.values for one in rows):
        return None
    figure = Figure(figsize=(8.0, 1.9 + 0.32 * len(rows)), dpi=120)
    figure.set_layout_engine("constrained")
    panel = figure.subplots()
    for place, one in enumerate(rows):
        _draw_row(panel, place, one)
    panel.axvline(0.0, color="#999999", linewidth=0.8, zorder=0)
    panel.set_yticks(range(len(rows)), [one.row.name.replace("$", r"\$") for one in rows], fontsize=8)
    panel.set_ylim(len(rows) - 0.5, -0.5)
    panel.set_xlabel("Δm in percent; further right is better", fontsize=9)
    panel.tick_params(axis="x", labelsize=8)
    panel.grid(visible=True, axis="x", color="#dddddd", linewidth=0.6)
    panel.spines[["top", "right"]].set_visible(False)
    shortened = f" ({work.shortened})" if work.shortened else ""
    panel.set_title(f"{work.table.name}{shortened}", fontsize=9, loc="left")
    figure.legend(handles=_legend(), loc="outside lower center", ncols=3, fontsize=8, frameon=False)
    return figure


def _legend() -> list[Line2D]:
    return [
        Line2D([], [], marker="D", color=_PAPER, markerfacecolor="none", linestyle="none", label="paper"),
        Line2D([], [], marker="o", color=_SEED, markersize=5, linestyle="none", label="measured, one seed"),
        Line2D([], [], marker="|", color=_MEAN, markersize=10, markeredgewidth=2, label="measured, mean ± spread"),
    ]


def _draw_row(panel: Axes, place: int, one: MeasuredRow) -> None:
    if one.row.delta_m is not None:
        panel.plot(one.row.delta_m, place - 0.18, marker="D", color=_PAPER, markerfacecolor="none", markersize=6)
    for change in one.delta_m.values:
        marker = "<" if change < _LOWEST else "o"
        panel.plot(max(change, _LOWEST), place + 0.12, marker=marker, color=_SEED, markersize=5, linestyle="none")
    mean, spread = one.delta_m.mean, one.delta_m.spread
    if mean is None or mean < _LOWEST:
        return
    if spread is not None:
        panel.plot([max(mean - spread, _LOWEST), mean + spread], [place + 0.12] * 2, color=_MEAN, linewidth=1.5)
    panel.plot(mean, place + 0.12, marker="|", color=_MEAN, markersize=12, markeredgewidth=2, linestyle="none")
