"""A user's own folder as a source of samples."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
from fmtl_datasets.scenarios.share import StrictModel
from fmtl_datasets.shared.conventions import TASKS
from fmtl_datasets.shared.source import DataLayoutError, Indices, SourceFile, SourceSettings
from fmtl_datasets.sources.folder.dataset import FolderImages, Labels, Maps
from fmtl_datasets.sources.folder.description import read_description
from fmtl_datasets.sources.folder.files import IMAGE_SUFFIXES, DataRoot, divide, read_list
from fmtl_datasets.sources.folder.labels import decoder
from fmtl_datasets.sources.folder.objects import ObjectLists, open_objects
from fmtl_datasets.sources.folder.settings import ClassFiles, Description, LabelFolder, ObjectFiles

SPARSE_TASKS = frozenset({"instance", "keypoints"})
"""Tasks that many images have nothing for."""


def open_source(settings: SourceSettings) -> FolderSource:
    """Read ``fmtl-data.yaml`` and find the files it speaks of.

    Raises:
        DataLayoutError: the folder, the description, or something it names is missing or leads out of the folder.
        DataFileError: the description or a list is wrong.
    """
    description, text = read_description(settings.root)
    return FolderSource(DataRoot(settings.root, text.where), description)


class FolderSource:
    """Images and labels that a description speaks of.

    Args:
        root: the data root.
        description: what lies where.
        title: how messages call it; by its name where left out.
    """

    def __init__(self, root: DataRoot, description: Description, title: str | None = None) -> None:
        self.summary = title or f"folder data set {description.name}"
        self._description = description
        self._root = root
        images = root.inside(description.images.folder, "images", "folder")
        self._images = root.scan(images, IMAGE_SUFFIXES, description.images.suffix)
        self._lists = self._read_lists(images)
        self.lists = _in_order(tuple(self._lists))
        given = description.tasks.given()
        self.tasks: tuple[str, ...] = tuple(task for task in TASKS if task in given)
        self._labels = {task: self._open_labels(task, given[task]) for task in self.tasks}
        self.num_classes: Mapping[str, int] = self._class_counts()
        self.class_names: Mapping[str, tuple[str, ...]] = self._class_names()

    def _read_lists(self, images: Path) -> dict[str, tuple[str, ...]]:
        described = self._description
        if described.lists is not None:
            return {
                name: read_list(self._root.inside(given, "lists", name), self._images, images)
                for name, given in described.lists.items()
            }
        if described.split is None or len(self._images) < 2:
            raise DataLayoutError(
                f"{self._root.where('split')}: {images} holds {len(self._images)} images; a split needs at least 2. "
                f"Files ending in {', '.join(IMAGE_SUFFIXES)} count."
            )
        return divide(tuple(self._images), described.split.validation, described.split.seed)

    def _open_labels(self, task: str, labels: StrictModel) -> Maps | ObjectLists:
        if isinstance(labels, ObjectFiles):
            return open_objects(self._root, task, labels, self._description.images.suffix)
        if not isinstance(labels, LabelFolder):
            raise TypeError(f"{type(labels).__name__} describes no labels")
        folder = self._root.inside(labels.folder, "tasks", task, "folder")
        decode = decoder(labels)
        found = self._root.scan(folder, decode.suffixes, labels.suffix)
        if not found:
            raise DataLayoutError(
                f"{self._root.where('tasks', task, 'folder')}: {folder} holds no file that ends in "
                f"{' or '.join(labels.suffix + suffix for suffix in decode.suffixes)}. {decode.advice}"
            )
        return Maps(task, decode, found, str(folder / f"{{id}}{labels.suffix}{decode.suffixes[0]}"))

    def _class_counts(self) -> dict[str, int]:
        counts: dict[str, int] = {}
        for task, labels in self._description.tasks.given().items():
            objects = self._labels[task]
            if isinstance(labels, ClassFiles):
                counts[task] = labels.count
            elif isinstance(objects, ObjectLists):
                counts.update(objects.counts)
        return counts

    def _class_names(self) -> dict[str, tuple[str, ...]]:
        names: dict[str, tuple[str, ...]] = {}
        for task, labels in self._description.tasks.given().items():
            objects = self._labels[task]
            if isinstance(labels, ClassFiles) and labels.names:
                names[task] = labels.names
            elif isinstance(objects, ObjectLists) and task != "keypoints":
                names[task] = objects.names
        return names

    def ids(self, image_list: str) -> tuple[str, ...]:
        """Image ids of a list: paths in the image folder, without ending."""
        if image_list not in self._lists:
            raise DataLayoutError(
                f"{self._root.where('lists')}: there is no list {image_list!r}; there are {', '.join(self.lists)}."
            )
        return self._lists[image_list]

    def usable(self, image_list: str, indices: Indices, tasks: Sequence[str]) -> Indices:
        """All but images without any object or person, for a client that trains on nothing else."""
        if not tasks or not SPARSE_TASKS.issuperset(tasks):
            return indices
        labels = [self._labels[task].of_list(image_list) for task in tasks]
        ids = self.ids(image_list)
        kept = [index for index in indices if any(of_task.trainable(ids[int(index)]) for of_task in labels)]
        return np.array(kept, dtype=np.int64)

    def left_out(self, image_list: str, task: str) -> Mapping[str, int]:
        """How many objects of an image have no area inside it, and are in no label, by image where any is."""
        labels = self._labels[task]
        if not isinstance(labels, ObjectLists):
            return {}
        objects = labels.of_list(image_list)
        counts = {image_id: objects.left_out(image_id) for image_id in self.ids(image_list)}
        return {image_id: count for image_id, count in counts.items() if count}

    def files(self, image_list: str, tasks: Sequence[str]) -> Iterator[SourceFile]:
        """Annotation files, under the name of the list, then image and label files, whether they are there or not."""
        labels = {task: self._labels[task].of_list(image_list) for task in tasks}
        for task, of_task in labels.items():
            for path in of_task.shared_files:
                yield SourceFile(image_list, task, path)
        for image_id in self.ids(image_list):
            yield SourceFile(image_id, "image", self._images[image_id])
            for task, of_task in labels.items():
                for path in of_task.files(image_id):
                    yield SourceFile(image_id, task, path)

    def open(self, tasks: Sequence[str], image_list: str, indices: Indices | None = None) -> FolderImages:
        """Samples of a list, at their native size.

        Raises:
            DataLayoutError: a file is missing, or is a link that leads out of the data root.
            ValueError: a task without labels.
        """
        unknown = [task for task in tasks if task not in self.tasks]
        if unknown:
            raise ValueError(f"{self.summary} has no {', '.join(unknown)}; it offers {', '.join(self.tasks)}.")
        listed = self.ids(image_list)
        chosen = listed if indices is None else tuple(listed[int(index)] for index in np.asarray(indices))
        labels: dict[str, Labels] = {task: self._labels[task].of_list(image_list) for task in tasks}
        images = {image_id: self._root.require_inside(self._images[image_id]) for image_id in chosen}
        for task, of_task in labels.items():
            self._require_files(task, [path for image_id in chosen for path in of_task.files(image_id)])
        counts = {key: count for key, count in self.num_classes.items() if key.removesuffix("-things") in tasks}
        return FolderImages(self._description.name, images, labels, counts, self._description.images.white)

    def _require_files(self, task: str, paths: Sequence[Path]) -> None:
        missing = [path for path in paths if not self._root.require_inside(path).is_file()]
        if missing:
            others = f" and {len(missing) - 1} more like it" if len(missing) > 1 else ""
            raise DataLayoutError(
                f"{missing[0]} is missing{others}: the {task} label of an image that a list names. Put the labels "
                f"there, or take images without a label off the lists."
            )


def _in_order(names: tuple[str, ...]) -> tuple[str, ...]:
    """The first list is for training; ``validation`` comes second where it is not the first."""
    first, rest = names[0], list(names[1:])
    rest.sort(key=lambda name: name != "validation")
    return (first, *rest)
