"""Files in COCO's formats to score: which format a file has, and entries that are there once."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import msgspec
from fmtl_datasets.sources.coco.format import AnnotationLists, read_file
from msgspec import Raw

from fmtl.scoring.result import ScoreFileError

FORMATS = {
    "results": "a list of detections (COCO's results format)",
    "annotations": "annotations of objects (an object with images, categories and annotations, as instances_*.json)",
    "panoptic": "panoptic annotations (an object with annotations that have segments_info, as panoptic_*.json)",
}


def read_results_list(path: Path) -> list[Raw]:
    """Return the entries of a results file.

    Raises:
        ScoreFileError: there is no such file, or it is of another format.
        DataFileError: it is not JSON.
    """
    content = _content(path, "predictions")
    if not isinstance(content, list):
        raise ScoreFileError(f"{path} holds {FORMATS[_format_of(content)]}; expected {FORMATS['results']}.")
    return content


def read_annotation_lists(path: Path, role: str, expected: Literal["annotations", "panoptic"]) -> AnnotationLists:
    """Return the lists of an annotation file of one of the two formats; errors as in `read_results_list`.

    Args:
        path: the file.
        role: "predictions" or "ground truth", for messages.
        expected: the format.
    """
    content = _content(path, role)
    if isinstance(content, list):
        raise ScoreFileError(f"{path} holds {FORMATS['results']}; expected {FORMATS[expected]}.")
    found = _format_of(content) if content.annotations else expected
    if found != expected:
        raise ScoreFileError(f"{path} holds {FORMATS[found]}; expected {FORMATS[expected]}.")
    return content


def require_each_once(path: Path, field: str, numbers: Sequence[int]) -> None:
    """Raise ScoreFileError if an id occurs twice."""
    seen: dict[int, int] = {}
    for index, number in enumerate(numbers):
        if number in seen:
            raise ScoreFileError(
                f"{path}, {field}[{index}]: the id {number} is that of {field}[{seen[number]}] too; give each its own."
            )
        seen[number] = index


def _content(path: Path, role: str) -> AnnotationLists | list[Raw]:
    if not path.is_file():
        found = "is a folder" if path.is_dir() else "does not exist"
        raise ScoreFileError(f"The file of {role} {path} {found}; expected a JSON file in COCO's format.")
    return read_file(path)[1]


def _format_of(content: AnnotationLists) -> str:
    first = msgspec.json.decode(content.annotations[0]) if content.annotations else None
    return "panoptic" if isinstance(first, dict) and "segments_info" in first else "annotations"
