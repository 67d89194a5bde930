"""Folders: the data set to check, and where a report may be written."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

from fmtl_datasets.registry import SOURCES, open_source
from fmtl_datasets.shared.source import Source, SourceSettings


def open_data_set(dataset: str, settings: SourceSettings) -> Source:
    """Open a data set to check.

    Raises:
        ValueError: no such data set, no such folder, or not this data set; says what to do.
    """
    if dataset == "procedural":
        raise ValueError("procedural scenes are drawn, not read, so there is nothing on disk to check.")
    if dataset not in SOURCES:
        raise ValueError(f"no data set is called {dataset!r}; known: {', '.join(SOURCES)}.")
    if not settings.root.is_dir():
        what = "is a file" if settings.root.is_file() else "does not exist"
        raise ValueError(
            f"{settings.root} {what}; give the folder of the data set. `fmtl data help {dataset}` shows it."
        )
    try:
        return open_source(dataset, settings)
    except (OSError, ValueError) as error:
        text = str(error).rstrip(". ")
        raise ValueError(f"{text}. `fmtl data help {dataset}` shows what belongs in {settings.root}.") from error


def report_folder(out: Path | None, dataset: str, root: Path) -> Path:
    """Where a report is written: as asked, or a new folder in the current one.

    Raises:
        ValueError: the folder would lie in the data set.
    """
    folder = out or Path(f"data-check-{dataset}-{datetime.now():%Y%m%d-%H%M%S}")
    if folder.resolve().is_relative_to(root.resolve()):
        raise ValueError(
            f"the report would be written to {folder.resolve()}, which lies in the data set; nothing is ever written "
            f"there. Give another folder with --out."
        )
    if folder.exists() and not folder.is_dir():
        raise ValueError(f"--out = {folder} is a file; give a folder.")
    return folder
