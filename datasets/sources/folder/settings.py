"""The keys of ``fmtl-data.yaml``: which folder holds what, and what its pixel values mean."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

from fmtl_datasets.scenarios.share import StrictModel, Whole
from fmtl_datasets.shared.conventions import IGNORE
from fmtl_datasets.shared.paths import path_problem
from pydantic import AfterValidator, Field, PlainValidator, field_validator, model_validator

MAX_CLASSES = 255
MAX_VALUE = 65535


def _inside(given: str) -> str:
    problem = path_problem(given)
    if problem is not None:
        raise ValueError(f"{problem}. Give a path below it, without '..'")
    return given


def _whole(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= MAX_VALUE:
        raise ValueError(f"{value!r} is not a pixel value; expected a whole number from 0 to {MAX_VALUE}")
    return value


def _pixel_values(given: Any) -> tuple[int, ...]:
    """One pixel value, a list of them, or ``none``."""
    if given in ("none", None):
        return ()
    return tuple(_whole(value) for value in (given if isinstance(given, list | tuple) else [given]))


def _classes(given: Any) -> int | tuple[str, ...]:
    """A number of classes, or their names."""
    if isinstance(given, int) and not isinstance(given, bool):
        count = given
    elif isinstance(given, list | tuple) and all(isinstance(name, str) and name for name in given):
        count = len(given)
        if len(set(given)) != count:
            raise ValueError("a class is listed twice")
    else:
        raise ValueError("expected a list of class names (put names that look like numbers in quotes) or a number")
    if not 2 <= count <= MAX_CLASSES:
        raise ValueError(f"expected 2 to {MAX_CLASSES} classes, counting the background if it is labelled")
    return given if isinstance(given, int) else tuple(given)


def _class_values(given: Any) -> Mapping[int, int | str]:
    """Pixel values and the class that each means."""
    if not isinstance(given, dict) or not given:
        raise ValueError("expected pixel values with the class each means, for example {0: background, 128: vessel}")
    return {_whole(value): meaning for value, meaning in given.items()}


def _flag(given: Any) -> bool:
    if given not in ("true", "false", True, False):
        raise ValueError("expected true or false")
    return given in ("true", True)


Inside = Annotated[str, Field(min_length=1), AfterValidator(_inside)]
PixelValues = Annotated[tuple[int, ...], PlainValidator(_pixel_values)]
Flag = Annotated[bool, PlainValidator(_flag)]


class ImageFiles(StrictModel):
    """Where the images lie.

    Attributes:
        folder: below the data root.
        suffix: common end of the file names, which is no part of the ids.
        white: value of a 16-bit image that becomes 255.
    """

    folder: Inside
    suffix: str = ""
    white: Annotated[int, Field(ge=1, le=MAX_VALUE, strict=True)] = MAX_VALUE


class LabelFolder(StrictModel):
    """A folder with one label file for each image.

    Attributes:
        folder: below the data root.
        suffix: common end of the file names, which is no part of the ids.
    """

    folder: Inside
    suffix: str = ""


class ClassFiles(LabelFolder):
    """Label maps of semseg, parts or stuff.

    Attributes:
        classes: their names, or their number.
        ignore: pixel values without a label.
        values: what each pixel value means, a class by name or index; None where values are class indices.
    """

    classes: Annotated[int | tuple[str, ...], PlainValidator(_classes)]
    ignore: PixelValues = (IGNORE,)
    values: Annotated[Mapping[int, int | str] | None, PlainValidator(_class_values)] = None

    @property
    def count(self) -> int:
        """Number of classes."""
        return self.classes if isinstance(self.classes, int) else len(self.classes)

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the classes; empty where only their number was given."""
        return () if isinstance(self.classes, int) else self.classes

    def meaning(self) -> dict[int, int]:
        """Class index of each pixel value that has one."""
        if self.values is None:
            return {value: value for value in range(self.count) if value not in self.ignore}
        return {value: self._index(value, meant) for value, meant in self.values.items()}

    def _index(self, value: int, meant: int | str) -> int:
        if isinstance(meant, str) and meant in self.names:
            return self.names.index(meant)
        if isinstance(meant, int) and not isinstance(meant, bool) and 0 <= meant < self.count:
            return meant
        known = ", ".join(self.names) if self.names else f"0 to {self.count - 1}"
        raise ValueError(f"values: {value} means {meant!r}, which is none of the classes ({known})")

    @model_validator(mode="after")
    def _one_meaning_each(self) -> Self:
        both = sorted(set(self.meaning()) & set(self.ignore))
        if both:
            raise ValueError(f"the pixel value {both[0]} is given a class and ignored; remove one of them")
        return self


class MaskFiles(LabelFolder):
    """Masks of saliency: pixel values that mean yes, no, and nothing."""

    positive: PixelValues = (255,)
    negative: PixelValues = (0,)
    ignore: PixelValues = ()

    def meaning(self) -> dict[int, int]:
        """1 or 0 for each pixel value that has a meaning."""
        return {**dict.fromkeys(self.negative, 0), **dict.fromkeys(self.positive, 1)}

    @model_validator(mode="after")
    def _one_meaning_each(self) -> Self:
        everything = (*self.positive, *self.negative, *self.ignore)
        if not self.positive or not self.negative or len(set(everything)) != len(everything):
            raise ValueError(
                "'positive', 'negative' and 'ignore' need different values, the first two at least one each"
            )
        return self


class EdgeFiles(MaskFiles):
    """Boundary maps.

    Attributes:
        annotators: ``one`` for masks, ``bits`` for 16-bit files whose bit k is the drawing of annotator k.
    """

    annotators: Literal["one", "bits"] = "one"

    @model_validator(mode="after")
    def _values_are_for_masks(self) -> Self:
        given = sorted({"positive", "negative", "ignore"} & self.model_fields_set)
        if self.annotators == "bits" and given:
            raise ValueError(f"'{given[0]}' is for files of one annotator; with 'annotators: bits' every bit counts")
        return self


class NormalFiles(LabelFolder):
    """Surface normals, and which axes of the files point the other way."""

    flip_x: Flag = False
    flip_y: Flag = False
    flip_z: Flag = False


class DepthFiles(LabelFolder):
    """Depth maps.

    Attributes:
        units_per_metre: scale of 16-bit PNG files; None for .npy files, which hold metres.
        invalid: value in the file of pixels whose depth is unknown.
    """

    units_per_metre: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = None
    invalid: Annotated[float, Field(allow_inf_nan=False)] = 0.0


def _by_list(given: Any) -> Mapping[str, str]:
    """One file for all lists (kept under the empty name), or one for each."""
    files = {"": given} if isinstance(given, str) else given
    if not isinstance(files, dict) or not files or not all(isinstance(path, str) for path in files.values()):
        raise ValueError("expected a JSON file, or one for each list: {train: a.json, validation: b.json}")
    return {str(name): _inside(path) for name, path in files.items()}


class ObjectFiles(StrictModel):
    """Annotations of instance or keypoints in the format of COCO: one file, or one for each list."""

    annotations: Annotated[Mapping[str, str], PlainValidator(_by_list)]


class PanopticFiles(ObjectFiles):
    """Panoptic annotations in the format of COCO, and the folder of their PNG files."""

    folder: Inside


class TaskFiles(StrictModel):
    """The labels of each task."""

    semseg: ClassFiles | None = None
    parts: ClassFiles | None = None
    saliency: MaskFiles | None = None
    normals: NormalFiles | None = None
    edge: EdgeFiles | None = None
    depth: DepthFiles | None = None
    instance: ObjectFiles | None = None
    keypoints: ObjectFiles | None = None
    stuff: ClassFiles | None = None
    panoptic: PanopticFiles | None = None

    def given(self) -> dict[str, StrictModel]:
        """The tasks that have labels, in the order of ``fmtl_datasets.shared.conventions.TASKS``."""
        return {task: labels for task in type(self).model_fields if (labels := getattr(self, task)) is not None}


class Split(StrictModel):
    """Division of all images.

    Attributes:
        validation: fraction of the images that is for validation.
        seed: which ones these are depends on it.
    """

    validation: Annotated[float, Field(gt=0, lt=1)]
    seed: Whole = 0


class Description(StrictModel):
    """What ``fmtl-data.yaml`` says.

    Attributes:
        name: a word for messages and tables.
        images: where the images lie.
        lists: file of each image list; None where ``split`` divides the images.
        split: how all images are divided; None where there are lists.
        tasks: the labels.
    """

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{1,64}$")]
    images: ImageFiles
    lists: Mapping[Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{1,64}$")], Inside] | None = None
    split: Split | None = None
    tasks: TaskFiles

    @field_validator("images", mode="before")
    @classmethod
    def _folder_alone(cls, given: Any) -> Any:
        return {"folder": given} if isinstance(given, str) else given

    @model_validator(mode="after")
    def _divided_in_one_way(self) -> Self:
        if (not self.lists) == (self.split is None):
            raise ValueError(
                "give either 'lists' (files with one image id per line, for example {train: train.txt, validation: "
                "validation.txt}) or 'split' (for example {validation: 0.2, seed: 0}), and not both"
            )
        if not self.tasks.given():
            raise ValueError("'tasks' is empty; name the labels of at least one task")
        return self
