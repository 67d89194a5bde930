"""The annotation files of COCO 2017: their names, where they come from, and the categories they may hold."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Literal

from fmtl_datasets.shared.conventions import PANOPTIC_THINGS
from fmtl_datasets.shared.source import DataLayoutError
from fmtl_datasets.sources.coco.categories import FIRST_STUFF, PANOPTIC_STUFF, STUFF, THINGS

SITE = "cocodataset.org"

SPLITS: tuple[str, ...] = ("train2017", "val2017")
"""The two annotated splits: 118287 and 5000 images."""

FileKind = Literal["instances", "person_keypoints", "stuff", "panoptic"]
StuffLabels = Literal["panoptic", "stuff"]

TASK_FILES: Mapping[str, FileKind] = MappingProxyType(
    {"instance": "instances", "keypoints": "person_keypoints", "stuff": "stuff", "panoptic": "panoptic"}
)

ARCHIVES: Mapping[FileKind, str] = MappingProxyType(
    {
        "instances": "annotations_trainval2017.zip",
        "person_keypoints": "annotations_trainval2017.zip",
        "stuff": "stuff_annotations_trainval2017.zip",
        "panoptic": "panoptic_annotations_trainval2017.zip",
    }
)
"""The archive on the data set's site that holds each kind of annotation file."""

PERSON = 1
PANOPTIC_CATEGORIES: Mapping[int, str] = MappingProxyType({**THINGS, **PANOPTIC_STUFF})
STUFF_CATEGORIES: Mapping[int, str] = MappingProxyType({FIRST_STUFF + rank: name for rank, name in enumerate(STUFF)})

CATEGORIES: Mapping[FileKind, Mapping[int, str]] = MappingProxyType(
    {
        "instances": THINGS,
        "person_keypoints": MappingProxyType({PERSON: THINGS[PERSON]}),
        "stuff": STUFF_CATEGORIES,
        "panoptic": PANOPTIC_CATEGORIES,
    }
)
"""The categories of each kind of file in the order of their class indices."""

THING_CLASSES: Mapping[int, int] = MappingProxyType({number: rank for rank, number in enumerate(THINGS)})
PANOPTIC_CLASSES: Mapping[int, int] = MappingProxyType(
    {number: rank for rank, number in enumerate(PANOPTIC_CATEGORIES)}
)
STUFF_CLASSES: Mapping[int, int] = MappingProxyType({number: rank for rank, number in enumerate(STUFF_CATEGORIES)})
NUM_THINGS = len(THING_CLASSES)


@dataclass(frozen=True)
class Layout:
    """Where things lie in a COCO folder.

    Attributes:
        root: the folder.
        images_parent: folder that holds train2017/ and val2017/: the root, as the official archives unpack, or
            images/ in it.
    """

    root: Path
    images_parent: Path

    def images(self, split: str) -> Path:
        """Folder of the images of a split."""
        return self.images_parent / split

    def annotations(self, kind: FileKind, split: str) -> Path:
        """Annotation file of a split."""
        return self.root / "annotations" / f"{kind}_{split}.json"

    def panoptic_maps(self, split: str) -> Path:
        """Folder of the panoptic maps: beside the annotation files, or in the root as detectron2 wants it."""
        beside = self.root / "annotations" / f"panoptic_{split}"
        in_root = self.root / f"panoptic_{split}"
        return in_root if in_root.is_dir() and not beside.is_dir() else beside

    def require_annotations(self, kind: FileKind, split: str) -> Path:
        """Return an annotation file that is there.

        Raises:
            DataLayoutError: it is missing, or the maps that belong to it are.
        """
        path = self.annotations(kind, split)
        if not path.is_file():
            raise DataLayoutError(
                f"{path} is missing. It is in {ARCHIVES[kind]} from {SITE}; unpack that archive in {self.root}."
            )
        maps = self.panoptic_maps(split)
        if kind == "panoptic" and not maps.is_dir():
            raise DataLayoutError(
                f"{maps} is missing. Its archive panoptic_{split}.zip lies inside {ARCHIVES[kind]} from {SITE}; unpack "
                f"it in {maps.parent}."
            )
        return path

    def has_annotations(self, kind: FileKind, split: str) -> bool:
        """Whether an annotation file, and for panoptic the folder of its maps, is there."""
        try:
            self.require_annotations(kind, split)
        except DataLayoutError:
            return False
        return True


def find_layout(root: Path) -> Layout:
    """Find out where the images lie.

    Raises:
        DataLayoutError: there is no such folder, or no images of the training split in it.
    """
    if not root.is_dir():
        raise DataLayoutError(f"data-root = {str(root)!r} is no folder; point it at the folder of COCO 2017.")
    for parent in (root, root / "images"):
        if (parent / SPLITS[0]).is_dir():
            return Layout(root, parent)
    raise DataLayoutError(
        f"data-root = {str(root)!r} is not a COCO 2017 folder: neither {root / SPLITS[0]} nor "
        f"{root / 'images' / SPLITS[0]} is there. Unpack {SPLITS[0]}.zip from {SITE} in {root}, or point data-root at "
        f"the folder that holds {SPLITS[0]}/ and annotations/."
    )


def file_of_task(task: str, stuff_labels: StuffLabels) -> FileKind:
    """Return the kind of annotation file that a task reads."""
    return "panoptic" if task == "stuff" and stuff_labels == "panoptic" else TASK_FILES[task]


def class_names(tasks: Sequence[str], stuff_labels: StuffLabels) -> Mapping[str, tuple[str, ...]]:
    """Return the names of the classes of some tasks in the order of their indices; keypoints has none.

    Args:
        tasks: COCO tasks.
        stuff_labels: see ``fmtl_datasets.shared.source.SourceSettings``.
    """
    names = {
        "instance": tuple(THINGS.values()),
        "stuff": ("things", *PANOPTIC_STUFF.values()) if stuff_labels == "panoptic" else STUFF,
        "panoptic": tuple(PANOPTIC_CATEGORIES.values()),
    }
    return {task: names[task] for task in tasks if task in names}


def class_counts(tasks: Sequence[str], stuff_labels: StuffLabels) -> Mapping[str, int]:
    """Return ``num_classes`` for some tasks, as ``fmtl_datasets.shared.conventions`` describes it."""
    counts = {task: len(names) for task, names in class_names(tasks, stuff_labels).items()}
    return {**counts, PANOPTIC_THINGS: NUM_THINGS} if "panoptic" in tasks else counts
