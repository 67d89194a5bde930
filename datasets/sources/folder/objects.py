"""Labels of objects in a folder data set: instances, people with keypoints, panoptic segments."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from fmtl_datasets.shared.conventions import Sample
from fmtl_datasets.shared.source import DataFileError
from fmtl_datasets.sources.coco.format import BoxedAnnotation, PanopticAnnotation, PersonAnnotation
from fmtl_datasets.sources.coco.labels import instances, panoptic, people
from fmtl_datasets.sources.folder.annotations import AnnotationFile, read_annotations
from fmtl_datasets.sources.folder.dataset import Size
from fmtl_datasets.sources.folder.files import DataRoot
from fmtl_datasets.sources.folder.settings import ObjectFiles, PanopticFiles


@dataclass(frozen=True)
class Objects:
    """The objects of one task on the images of one list.

    Attributes:
        task: ``instance``, ``keypoints`` or ``panoptic``.
        file: the annotations.
        maps: folder of the panoptic maps; None for the other tasks.
    """

    task: str
    file: AnnotationFile
    maps: Path | None = None

    @property
    def shared_files(self) -> tuple[Path, ...]:
        """The annotation file."""
        return (self.file.path,)

    def files(self, image_id: str) -> tuple[Path, ...]:
        """The panoptic map of an image; nothing for the other tasks.

        Raises:
            DataFileError: the annotation file does not know the image.
        """
        first = self.file.index.first[self._position(image_id)]
        return () if self.maps is None else (self.maps / str(self.file.index.map_names[first]),)

    def trainable(self, image_id: str) -> bool:
        """Whether there is anything to train on."""
        return self.file.index.count(self.file.index.trainable, self._position(image_id)) > 0

    def left_out(self, image_id: str) -> int:
        """How many annotated objects the label of an image does not have: those without an area inside the image."""
        position = self.file.positions.get(image_id)
        return 0 if position is None else self.file.index.count(~self.file.index.visible, position)

    def read(self, image_id: str, size: Size) -> Sample:
        """The label of an image; errors name the annotation file and the annotation, or the panoptic map."""
        position, index, path = self._position(image_id), self.file.index, self.file.path
        height, width = index.sizes[position].tolist()
        if (height, width) != size:
            raise DataFileError(
                f"{path}: image {image_id!r} is said to have {height} rows and {width} columns; it has "
                f"{size[0]} and {size[1]}. Annotate the stored pixels (EXIF notes are not followed)."
            )
        if self.task == "keypoints":
            return {self.task: people(index.read(position, path, PersonAnnotation), size)}
        if self.task == "instance":
            annotations = index.read(position, path, BoxedAnnotation)
            return {self.task: instances(annotations, size, path, self.file.classes)}
        annotation, map_path = index.read(position, path, PanopticAnnotation)[0], self.files(image_id)[0]
        return {self.task: panoptic(annotation, map_path, size, path, self.file.classes)}

    def _position(self, image_id: str) -> int:
        """Return the place of an image in the index."""
        position = self.file.positions.get(image_id)
        if position is None:
            raise DataFileError(
                f"{self.file.path}: does not list image {image_id!r}. Its file_name has to be the path in the image "
                f"folder; list images without objects, too."
            )
        first = self.file.index.first
        if self.task == "panoptic" and first[position] == first[position + 1]:
            raise DataFileError(f"{self.file.path}: has no annotation for image {image_id!r}.")
        return position


@dataclass(frozen=True)
class ObjectLists:
    """The objects of one task: an annotation file for each list, or one for all of them.

    Attributes:
        task: ``instance``, ``keypoints`` or ``panoptic``.
        by_list: objects by list; under the empty name those for every list.
    """

    task: str
    by_list: Mapping[str, Objects]

    def of_list(self, name: str) -> Objects:
        """The objects on the images of a list.

        Raises:
            DataFileError: no annotation file is given for it.
        """
        objects = self.by_list.get(name) or self.by_list.get("")
        if objects is None:
            raise DataFileError(
                f"tasks.{self.task}.annotations has no file for the list {name!r}; it has {', '.join(self.by_list)}."
            )
        return objects

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the classes."""
        return next(iter(self.by_list.values())).file.names

    @property
    def counts(self) -> dict[str, int]:
        """What ``num_classes`` holds for the task."""
        file = next(iter(self.by_list.values())).file
        if self.task == "instance":
            return {"instance": len(file.names)}
        return {"panoptic": len(file.names), "panoptic-things": file.things} if self.task == "panoptic" else {}


def open_objects(root: DataRoot, task: str, labels: ObjectFiles, suffix: str) -> ObjectLists:
    """Read the annotation files of a task.

    Args:
        root: the data root.
        task: ``instance``, ``keypoints`` or ``panoptic``.
        labels: what the description says.
        suffix: common end of the images' file names, which is no part of their ids.

    Raises:
        DataLayoutError: a file or folder is missing or leads out of the data root.
        DataFileError: a file is wrong, or the files of several lists have different categories.
    """
    maps = root.inside(labels.folder, "tasks", task, "folder") if isinstance(labels, PanopticFiles) else None
    by_list = {}
    for name, given in labels.annotations.items():
        path = root.inside(given, "tasks", task, "annotations", *([name] if name else []))
        by_list[name] = Objects(task, read_annotations(path, task, suffix), maps)
    first, *others = (objects.file for objects in by_list.values())
    for other in others:
        if (other.classes, other.names) != (first.classes, first.names):
            raise DataFileError(f"{other.path}: has other categories than {first.path}. Give all files the same list.")
    return ObjectLists(task, by_list)
