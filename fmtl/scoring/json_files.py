"""Reading JSON files of COCO's formats, with errors that name the file and the entry."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any, TypeVar

from pydantic import AfterValidator, BaseModel, Field, FiniteFloat, StrictInt, TypeAdapter, ValidationError

from fmtl.scoring.result import ScoreFileError

HINTS = {
    "score": "Write a confidence from 0 to 1.",
    "image_id": "Write the id of an image in the ground truth, as a whole number.",
    "category_id": "Write the id of a category in the ground truth, as a whole number.",
    "bbox": "Write left, top, width and height in pixels.",
    "keypoints": "Write x, y and visibility (or confidence) of the 17 COCO keypoints, 51 finite numbers; "
    "annotations with them are in person_keypoints_*.json.",
    "segmentation": "Write run lengths {size: [height, width], counts: ...}; for boxes alone pass --iou bbox.",
    "iscrowd": "Write 0 or 1.",
    "area": "Write the object's area in pixels: it decides small, medium and large, and the scale of OKS.",
    "segments_info": "Write a list with id and category_id of each segment.",
}
"""What to do about a wrong field."""

Parsed = TypeVar("Parsed")


def _no_negative_size(box: list[float]) -> list[float]:
    if box[2] < 0 or box[3] < 0:
        raise ValueError("width and height of a box cannot be negative")
    return box


Box = Annotated[list[FiniteFloat], Field(min_length=4, max_length=4), AfterValidator(_no_negative_size)]
Keypoints = Annotated[list[FiniteFloat], Field(min_length=51, max_length=51)]
Crowd = Annotated[StrictInt, Field(ge=0, le=1)]


class Image(BaseModel):
    """An image of an annotation file."""

    id: StrictInt
    height: Annotated[StrictInt, Field(gt=0)]
    width: Annotated[StrictInt, Field(gt=0)]


class Category(BaseModel):
    """A category of an annotation file; panoptic files say whether it is a thing."""

    id: StrictInt
    name: str = ""
    isthing: Crowd | None = None


class Annotation(BaseModel):
    """An annotated object."""

    id: StrictInt
    image_id: StrictInt
    category_id: StrictInt
    area: Annotated[FiniteFloat, Field(ge=0)]
    iscrowd: Crowd = 0
    bbox: Box | None = None
    segmentation: Any = None
    keypoints: Keypoints | None = None


class AnnotationFile(BaseModel):
    """COCO's annotation format (instances_*.json, person_keypoints_*.json)."""

    images: list[Image]
    categories: list[Category]
    annotations: list[Annotation]


class Result(BaseModel):
    """An object in COCO's results format."""

    image_id: StrictInt
    category_id: StrictInt
    score: Annotated[FiniteFloat, Field(ge=0, le=1)]
    bbox: Box | None = None
    segmentation: Any = None
    keypoints: Keypoints | None = None


class Segment(BaseModel):
    """A segment of a panoptic map."""

    id: Annotated[StrictInt, Field(gt=0, lt=256**3)]
    category_id: StrictInt
    iscrowd: Crowd = 0


class PanopticAnnotation(BaseModel):
    """The segments of one image and the name of its PNG file."""

    image_id: StrictInt
    file_name: Annotated[str, Field(min_length=1)]
    segments_info: list[Segment]


class PanopticFile(BaseModel):
    """COCO's panoptic format; predictions need no categories."""

    categories: list[Category] = []
    annotations: list[PanopticAnnotation]


def read_json(path: Path, role: str) -> Any:
    """Return what a JSON file holds.

    Args:
        path: the file.
        role: "predictions" or "ground truth", for messages.

    Raises:
        ScoreFileError: there is no such file, or it is not JSON.
    """
    if not path.is_file():
        found = "is a folder" if path.is_dir() else "does not exist"
        raise ScoreFileError(f"The file of {role} {path} {found}; expected a JSON file in COCO's format.")
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ScoreFileError(
            f"{path} cannot be read as JSON: {error}. Expected the {role} in COCO's format; was the file cut off?"
        ) from error


def parsed(path: Path, content: Any, form: Any) -> Any:
    """Return `content` checked against `form`, a pydantic model or a list of one.

    Raises:
        ScoreFileError: naming the file, the first wrong entry and field, its value, and how many more are wrong.
    """
    try:
        return TypeAdapter(form).validate_python(content)
    except ValidationError as error:
        first = error.errors()[0]
        fields = [str(part) for part in first["loc"] if isinstance(part, str)]
        hint = next((f" {HINTS[name]}" for name in reversed(fields) if name in HINTS), "")
        value = "" if first["type"] == "missing" else f" = {_short(first['input'])}"
        others = f" {error.error_count() - 1} more entries or fields are wrong." if error.error_count() > 1 else ""
        raise ScoreFileError(f"{path}, {_place(first['loc'])}{value}: {_lower(first['msg'])}.{hint}{others}") from error


def entry_place(field: str, index: int) -> str:
    """Return where an entry is: 'annotations[3]', or 'entry 3 (counted from 0)' of a file that is one list."""
    return f"{field}[{index}]" if field else f"entry {index} (counted from 0)"


def _place(loc: tuple[str | int, ...]) -> str:
    """Return a place in the file in words, for example 'annotations[3].area'."""
    words = ""
    for part in loc:
        if isinstance(part, int):
            words = f"{words}[{part}]" if words else entry_place("", part)
        elif words.endswith(")"):
            words += f": {part}"
        else:
            words += f".{part}" if words else part
    return words or "the whole file"


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


def _lower(message: str) -> str:
    message = message.removeprefix("Value error, ")
    return message[:1].lower() + message[1:]


def require_format(path: Path, content: Any, expected: str) -> None:
    """Raise ScoreFileError unless a JSON file is of the format `expected`, a key of `FORMATS`, and say which it is."""
    found = _format_of(content, expected)
    if found != expected:
        keys = ", ".join(sorted(content)[:6]) if isinstance(content, dict) else type(content).__name__
        described = FORMATS.get(found, f"an object with {keys or 'nothing'}" if isinstance(content, dict) else keys)
        raise ScoreFileError(f"{path} holds {described}; expected {FORMATS[expected]}.")


FORMATS = {
    "results": "a list of detections (COCO's results format)",
    "annotations": "annotations of objects (an object with images, categories and annotations, as instances_*.json)",
    "panoptic": "panoptic annotations (an object with annotations that have segments_info, as panoptic_*.json)",
}


def _format_of(content: Any, expected: str) -> str:
    if isinstance(content, list):
        return "results"
    annotations = content.get("annotations") if isinstance(content, dict) else None
    if not isinstance(annotations, list):
        return "neither"
    if not annotations:
        return "annotations" if expected == "results" else expected
    panoptic = isinstance(annotations[0], dict) and "segments_info" in annotations[0]
    return "panoptic" if panoptic else "annotations"
