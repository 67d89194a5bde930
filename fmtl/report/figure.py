"""Writing a figure as a picture."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from fmtl_strategies.contract.files import explain_disk_full


def write_figure(figure: Figure, path: Path) -> Path:
    """Write a figure as PNG, drawn without a screen; returns the path.

    Raises:
        DiskFullError: no space is left.
    """
    # Drawn in memory first, so that a figure that cannot be drawn leaves no file.
    buffer = BytesIO()
    FigureCanvasAgg(figure)
    figure.savefig(buffer, format="png", bbox_inches="tight")
    with explain_disk_full(path):
        path.write_bytes(buffer.getvalue())
    return path
