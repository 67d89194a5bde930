"""Paths that a file of a data set names."""

from __future__ import annotations

from pathlib import PurePosixPath, PureWindowsPath


def path_problem(given: str) -> str | None:
    """Return what is wrong with a path that must lie inside the data root, as far as its text tells; None if nothing.

    Args:
        given: a path with forward slashes.
    """
    windows = PureWindowsPath(given)
    if not given.strip() or "\0" in given:
        return "is not a path"
    if given.startswith(("/", "~")) or windows.drive or "\\" in given:
        return "is not a path inside the data root with forward slashes"
    if ".." in PurePosixPath(given).parts:
        return "is not a path inside the data root"
    return None
