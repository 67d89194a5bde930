"""Folders: the data set that a user meant, and where a report may be written."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from pathlib import Path

from fmtl_datasets.registry import SOURCES, open_source
from fmtl_datasets.shared.source import Source, SourceSettings

LOOKED_AT = 60
"""Folders that are tried at most in search of the one that was meant."""


def open_or_suggest(dataset: str, settings: SourceSettings) -> Source:
    """Open a data set; where that fails, look whether it lies near by or is another one.

    Raises:
        ValueError: no such data set, no such folder, or not this data set; says what to do, with the right path or name
            where one was found.
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
        raise ValueError(f"{str(error).rstrip('. ')}.{_suggestion(dataset, settings)}") from error


def _suggestion(dataset: str, settings: SourceSettings) -> str:
    root = settings.root.resolve()
    inside = sorted(path for path in root.iterdir() if path.is_dir() and not path.is_symlink())[:LOOKED_AT]
    for folder in (*inside, *root.parents[:2]):
        if _opens(dataset, replace(settings, root=folder)):
            return f" Did you mean {folder}? {dataset} is there."
    for other in SOURCES:
        if other != dataset and _opens(other, settings):
            return f" It can be read as {other}: did you mean `fmtl data check {other} {settings.root}`?"
    return f" `fmtl data help {dataset}` shows what belongs there."


def _opens(dataset: str, settings: SourceSettings) -> bool:
    try:
        source = open_source(dataset, settings)
        return bool(source.ids(source.lists[0]))
    except (OSError, ValueError, IndexError):
        return False


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
