"""COCO's file formats: what their entries hold, and how to read them so that an error names file, place and value.

The data sets and ``fmtl score`` read their files with these structs, so what one of them takes the other takes too.
An entry is decoded when it is looked at and not before: all entries of the official annotations at once would take ten
times the memory of the file.
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

import msgspec
from fmtl_datasets.shared.objects import NUM_KEYPOINTS
from fmtl_datasets.shared.source import DataFileError
from msgspec import Meta, Raw, Struct

Number = Annotated[int, Meta(ge=-(2**53), le=2**53)]
Pixels = Annotated[int, Meta(ge=1, le=2**24)]
NotNegative = Annotated[float, Meta(ge=0)]
Flag = Literal[0, 1] | bool
Box = tuple[float, float, NotNegative, NotNegative]
"""Left, top, width and height in pixels."""
Keypoints = Annotated[list[float], Meta(min_length=3 * NUM_KEYPOINTS, max_length=3 * NUM_KEYPOINTS)]
"""x, y and visibility (0, 1 or 2; in a result: confidence) of each of COCO's keypoints."""

NOTHING = Raw()

T = TypeVar("T")


class Image(Struct, frozen=True, gc=False):
    """An image of an annotation file."""

    id: Number
    height: Pixels
    width: Pixels
    file_name: str = ""


class Category(Struct, frozen=True, gc=False):
    """A category of an annotation file; panoptic files say whether it is a thing."""

    id: Number
    name: str = ""
    isthing: Flag | None = None


class RunLengths(Struct, frozen=True):
    """A mask as the lengths of its runs of zeros and ones, down the columns: a list, or compressed to a text."""

    size: tuple[int, int]
    counts: str | list[Annotated[int, Meta(ge=0, le=2**31)]]


Segmentation = list[list[float]] | RunLengths


class Annotation(Struct, frozen=True):
    """An annotated object; what is compared or trained on has to be there."""

    id: Number
    image_id: Number
    category_id: Number
    area: NotNegative
    iscrowd: Flag = 0
    bbox: Box | None = None
    segmentation: Raw = NOTHING
    keypoints: Keypoints | None = None


class BoxedAnnotation(Annotation, frozen=True, kw_only=True):
    """An object of instances_*.json or stuff_*.json."""

    bbox: Box
    segmentation: Raw


class PersonAnnotation(Annotation, frozen=True, kw_only=True):
    """A person of person_keypoints_*.json."""

    bbox: Box
    keypoints: Keypoints


class Result(Struct, frozen=True):
    """An object in COCO's results format."""

    image_id: Number
    category_id: Number
    score: Annotated[float, Meta(ge=0, le=1)]
    bbox: Box | None = None
    segmentation: Raw = NOTHING
    keypoints: Keypoints | None = None


class Segment(Struct, frozen=True, gc=False):
    """A segment of a panoptic map."""

    id: Annotated[int, Meta(ge=1, lt=2**24)]
    category_id: Number
    iscrowd: Flag = 0


class PanopticAnnotation(Struct, frozen=True):
    """The segments of one image and the name of its map."""

    image_id: Number
    file_name: Annotated[str, Meta(min_length=1)]
    segments_info: list[Segment]


class AnnotationLists(Struct, frozen=True):
    """An annotation file, its entries not yet decoded; a panoptic prediction needs neither images nor categories."""

    annotations: list[Raw]
    images: list[Raw] = []
    categories: list[Raw] = []


HINTS = {
    "score": "Write a confidence from 0 to 1.",
    "image_id": "Write the id of an image in the list of images, as a whole number.",
    "category_id": "Write the id of a category in the list of categories, as a whole number.",
    "bbox": "Write left, top, width and height in pixels, neither width nor height negative.",
    "keypoints": "Write x, y and visibility (or confidence) of the 17 COCO keypoints, 51 finite numbers; annotations "
    "with them are in person_keypoints_*.json.",
    "segmentation": "Write polygons, or run lengths {size: [height, width], counts: ...}.",
    "iscrowd": "Write 0 or 1.",
    "isthing": "Write 1 for things and 0 for stuff.",
    "area": "Write the object's area in pixels: it decides small, medium and large, and the scale of OKS.",
    "segments_info": "Write a list with different ids from 1 to 16777215 and the category_id of each segment.",
    "annotations": "An annotation file of COCO is an object with the lists images, annotations and categories.",
}
"""What to do about a wrong field."""


def read_file(path: Path) -> tuple[bytes, AnnotationLists | list[Raw]]:
    """Read an annotation file or a results file, its entries not yet decoded.

    Returns:
        The text of the file, and what it holds: lists of annotations, or one list of results.

    Raises:
        DataFileError: the file cannot be read or is not JSON of one of these formats; the message names the place.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise DataFileError(f"{path} cannot be read: {error}.") from error
    try:
        # A byte-order mark is no part of JSON, but some editors write one; blanks keep the places in the file.
        if content.startswith(codecs.BOM_UTF8):
            content = content.replace(codecs.BOM_UTF8, b"   ", 1)
        return content, msgspec.json.decode(content, type=AnnotationLists | list[Raw])
    except msgspec.ValidationError as error:
        raise wrong_entry(path, "", b"null", error) from error
    except (msgspec.DecodeError, RecursionError) as error:
        place = re.search(r"byte (\d+)", str(error))
        near = ""
        if place is not None:
            found = int(place[1])
            near = f", near {content[max(0, found - 40) : found + 20].decode('utf-8', 'replace')!r}"
            if content[found : found + 1] in b"NI-" and content[found : found + 1]:
                near += " (JSON has no NaN and no Infinity: write finite numbers)"
        raise DataFileError(
            f"{path} cannot be read as JSON: {error}{near}. Is the file damaged or not complete? It has "
            f"{len(content)} bytes."
        ) from error


def read_lists(path: Path) -> tuple[bytes, AnnotationLists]:
    """Read an annotation file; as `read_file`, but results are an error."""
    content, lists = read_file(path)
    if not isinstance(lists, AnnotationLists):
        raise DataFileError(f"{path} holds a list. {HINTS['annotations']}")
    return content, lists


def decode_all(path: Path, list_name: str, raws: Sequence[Raw], form: type[T]) -> Iterator[T]:
    """Decode entries of a file one after the other.

    Args:
        path: the file, for messages.
        list_name: the list they are in; empty for a file that is one list.
        raws: the entries.
        form: struct of an entry.

    Raises:
        DataFileError: an entry is not of that form; the message names it, its value and what is expected.
    """
    decode = msgspec.json.Decoder(form).decode
    for place, raw in enumerate(raws):
        try:
            yield decode(raw)
        except msgspec.ValidationError as error:
            raise wrong_entry(path, entry_place(list_name, place), raw, error) from error


def decode_segmentation(path: Path, place: str, raw: Raw) -> Segmentation:
    """Decode the segmentation of an annotation; errors as in `decode_all`, `place` is that of the annotation."""
    try:
        return _SEGMENTATION.decode(raw)
    except msgspec.ValidationError as error:
        raise wrong_entry(path, f"{place}.segmentation", raw, error) from error


_SEGMENTATION: msgspec.json.Decoder[Segmentation] = msgspec.json.Decoder(Segmentation)


def entry_place(list_name: str, index: int) -> str:
    """Return where an entry is: 'annotations[3]', or 'entry [3]' of a file that is one list; counted from 0."""
    return f"{list_name or 'entry '}[{index}]"


def wrong_entry(path: Path, place: str, raw: Raw | bytes, error: msgspec.ValidationError) -> DataFileError:
    """Return the error that an entry is not of its form, naming file, place, value and what is expected."""
    reason, _, where = str(error).partition(" - at `$")
    where = where.rstrip("`")
    value: Any = msgspec.json.decode(raw)
    number = value.get("id", value.get("image_id")) if isinstance(value, dict) else None
    for name, index in re.findall(r"\.(\w+)|\[(\d+)\]", where):
        value = value.get(name) if isinstance(value, dict) else value[int(index)] if isinstance(value, list) else value
    named = f" (id {number!r})" if number is not None else ""
    shown = f" = {_short(value)}" if where and value is not None else ""
    fields = [*re.findall(r"`(\w+)`", reason), *re.findall(r"(\w+)", f"{place}{where}")[::-1]]
    hint = next((f" {HINTS[name]}" for name in fields if name in HINTS), "")
    at = f", {place}{where}".replace(", .", ", ") if place + where else ""
    return DataFileError(f"{path}{at}{shown}{named}: {reason[:1].lower()}{reason[1:]}.{hint}")


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
