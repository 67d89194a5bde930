"""The picture of a sweep: a line for each label, its change against local training, every seed a point."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from fmtl.report.figure import write_figure
from fmtl.sweep.row import Row

__all__ = ["draw_changes", "write_chart"]

CHART = "changes.png"
_LOWEST = -100.0
"""Percent; what is below stands at this value as an arrow: a run that diverged would squeeze all others together."""
_COLOUR, _MEAN_COLOUR = "#56B4E9", "#D55E00"


def write_chart(rows: Sequence[Row], folder: Path) -> Path | None:
    """Write ``changes.png`` to an existing folder; None where no row has a change."""
    figure = draw_changes(rows)
    if figure is None:
        return None
    return write_figure(figure, folder / CHART)


def draw_changes(rows: Sequence[Row]) -> Figure | None:
    """Draw one line per label, in the order of the rows: a point for each seed, a bar for their mean.

    Args:
        rows: best first.

    Returns:
        The figure; None where no row has a change.
    """
    shown = [row for row in rows if row.changes]
    if not shown:
        return None
    figure = Figure(figsize=(8.0, 1.2 + 0.27 * len(shown)), dpi=120)
    figure.set_layout_engine("constrained")
    panel = figure.subplots()
    for place, row in enumerate(shown):
        _draw_row(panel, place, row)
    panel.axvline(0.0, color="#000000", linewidth=0.8)
    panel.set_yticks(range(len(shown)), [_name(row) for row in shown], fontsize=8)
    panel.invert_yaxis()
    panel.set_xlabel("Δm in percent against local training of the same seed; further right is better", fontsize=9)
    panel.tick_params(axis="x", labelsize=8)
    panel.grid(visible=True, axis="x", color="#dddddd", linewidth=0.6)
    panel.spines[["top", "right"]].set_visible(False)
    return figure


def _draw_row(panel: Axes, place: int, row: Row) -> None:
    for change in row.changes:
        below = change < _LOWEST
        marker = "<" if below else "o"
        panel.plot(max(change, _LOWEST), place, marker=marker, color=_COLOUR, markersize=5, linestyle="none")
    if row.mean is not None and row.mean >= _LOWEST:
        panel.plot(row.mean, place, marker="|", color=_MEAN_COLOUR, markersize=12, markeredgewidth=2, linestyle="none")


def _name(row: Row) -> str:
    missing = len(row.entries) - len(row.changes)
    name = row.line.label.replace("$", r"\$")
    return f"{name} ({len(row.changes)} of {len(row.entries)} seeds)" if missing else name
