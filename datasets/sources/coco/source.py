"""MS COCO 2017 as a source of samples."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
from fmtl_datasets.catalogue import DATA_SETS
from fmtl_datasets.shared.source import DataFileError, DataLayoutError, Indices, SourceFile, SourceSettings
from fmtl_datasets.sources.coco.annotation_files import (
    ARCHIVES,
    SITE,
    SPLITS,
    FileKind,
    class_counts,
    class_names,
    file_of_task,
    find_layout,
)
from fmtl_datasets.sources.coco.dataset import CocoImages, OpenFile
from fmtl_datasets.sources.coco.index import AnnotationIndex, load_index

COCO_TASKS = DATA_SETS["coco"].tasks

SPARSE_TASKS = frozenset({"instance", "keypoints"})
"""Tasks that many images have nothing for."""

LIST_FILES: tuple[FileKind, ...] = ("person_keypoints", "panoptic", "instances", "stuff")
"""Annotation files in the order in which the list of images is taken from the first that is there, smallest first.
The official ones list the same images; that those of a client's tasks do is checked when they are opened."""


def open_source(settings: SourceSettings) -> CocoSource:
    """Find out what lies in the folder.

    Raises:
        DataLayoutError: the images of the training split are missing, or all of its annotations.
    """
    return CocoSource(settings)


class CocoSource:
    """A folder with images and annotations of COCO 2017.

    Attributes:
        summary: the layout found, and what is missing for tasks that are not offered.
        tasks: those whose annotation file for the training split is there.
        lists: ``train2017``, and ``val2017`` where its images are there.
        num_classes: class counts of the tasks.
        class_names: names of the classes of the tasks.
    """

    def __init__(self, settings: SourceSettings) -> None:
        self._root = settings.root
        self._cache = settings.cache
        self._stuff_labels = settings.stuff_labels
        self._layout = find_layout(settings.root)
        self.lists = tuple(split for split in SPLITS if self._layout.images(split).is_dir())
        self.tasks = tuple(task for task in COCO_TASKS if self._layout.has_annotations(self._kind(task), SPLITS[0]))
        if not self.tasks:
            raise DataLayoutError(
                f"{self._root / 'annotations'} has no annotation file for {SPLITS[0]}, neither "
                f"{', '.join(f'{kind}_{SPLITS[0]}.json ({ARCHIVES[kind]})' for kind in ARCHIVES)}. "
                f"Unpack the archives of your tasks from {SITE} in {self._root}."
            )
        self.num_classes: Mapping[str, int] = class_counts(self.tasks, self._stuff_labels)
        self.class_names: Mapping[str, tuple[str, ...]] = class_names(self.tasks, self._stuff_labels)
        self.summary = self._summarise()

    def ids(self, image_list: str) -> tuple[str, ...]:
        """Twelve-digit ids of the images of a split, rising."""
        return tuple(f"{image_id:012d}" for image_id in self._list(image_list).image_ids.tolist())

    def usable(self, image_list: str, indices: Indices, tasks: Sequence[str]) -> Indices:
        """Images with something to train for a client that has no task but instance and keypoints; else all.

        An image counts for instance if it has an object that is no crowd, for keypoints if it has a person that is no
        crowd and has at least one labelled keypoint. It is kept if it counts for one of the client's tasks. detectron2
        filters alike (``filter_images_with_only_crowd_annotations``, ``filter_images_with_few_keypoints`` with its
        default of one keypoint); torchvision's reference scripts drop images without objects too, but ask for ten
        visible keypoints in an image.

        Args:
            image_list: the split.
            indices: places of images in it.
            tasks: tasks of the client.
        """
        if not tasks or not SPARSE_TASKS.issuperset(tasks):
            return indices
        image_ids = self._list(image_list).image_ids[indices]
        keep = np.zeros(len(indices), dtype=bool)
        for task in tasks:
            file = self._open_file(self._kind(task), image_list, image_ids)
            keep |= file.index.trainable_images()[file.positions]
        return np.asarray(indices[keep], dtype=np.int64)

    def files(self, image_list: str, tasks: Sequence[str]) -> Iterator[SourceFile]:
        """Annotation files, under the name of the split, then images and panoptic maps."""
        kinds = {task: self._kind(task) for task in tasks}
        for task, kind in kinds.items():
            yield SourceFile(image_list, task, self._layout.annotations(kind, image_list))
        index = self._list(image_list)
        maps = self._map_names(image_list) if "panoptic" in kinds.values() else {}
        for image_id, name in zip(index.image_ids.tolist(), index.file_names.tolist(), strict=True):
            yield SourceFile(f"{image_id:012d}", "image", self._layout.images(image_list) / name)
            for task, kind in kinds.items():
                if kind == "panoptic" and image_id in maps:
                    path = self._layout.panoptic_maps(image_list) / maps[image_id]
                    yield SourceFile(f"{image_id:012d}", task, path)

    def open(self, tasks: Sequence[str], image_list: str, indices: Indices | None = None) -> CocoImages:
        """Samples of a split, at their native size.

        Raises:
            DataLayoutError: an annotation file, image or panoptic map is missing; the message names its archive.
            DataFileError: an annotation file is damaged, or the files do not fit together.
            ValueError: COCO has no such task.
        """
        unknown = [task for task in tasks if task not in COCO_TASKS]
        if unknown:
            raise ValueError(f"COCO has no {', '.join(unknown)}; it offers {', '.join(COCO_TASKS)}.")
        listed = self._list(image_list).image_ids
        chosen = listed if indices is None else listed[np.asarray(indices, dtype=np.int64)]
        kinds = dict.fromkeys(self._kind(task) for task in tasks) or dict.fromkeys([self._list_kind(image_list)])
        files = {kind: self._open_file(kind, image_list, chosen) for kind in kinds}
        return CocoImages(self._layout, image_list, tasks, self._stuff_labels, files)

    def _kind(self, task: str) -> FileKind:
        return file_of_task(task, self._stuff_labels)

    def _open_file(self, kind: FileKind, split: str, image_ids: Indices) -> OpenFile:
        path = self._layout.require_annotations(kind, split)
        index = load_index(path, kind, self._root, self._cache)
        unlisted = np.setdiff1d(index.image_ids, self._list(split).image_ids)
        if len(unlisted):
            shorter = self._layout.annotations(self._list_kind(split), split)
            raise DataFileError(
                f"{path} lists image {unlisted[0]} ({len(unlisted)} such images), which {shorter} does not list, and "
                f"the images of {split} are taken from there. List all images in both, or move {shorter.name} away "
                f"if no client reads it."
            )
        return OpenFile(path, index, index.positions(image_ids, path))

    def _map_names(self, split: str) -> Mapping[int, str]:
        """Return the names of the panoptic maps by image."""
        path = self._layout.require_annotations("panoptic", split)
        index = load_index(path, "panoptic", self._root, self._cache)
        owners = np.repeat(index.image_ids, np.diff(index.first)).tolist()
        return dict(zip(owners, index.map_names.tolist(), strict=True))

    def _list_kind(self, split: str) -> FileKind:
        if split not in self.lists:
            raise DataLayoutError(
                f"{self._root} has no image list {split!r}; it has {', '.join(self.lists)}. The lists of COCO are "
                f"{' and '.join(SPLITS)}, each with a folder of images."
            )
        for kind in LIST_FILES:
            if self._layout.annotations(kind, split).is_file():
                return kind
        raise DataLayoutError(
            f"{self._root / 'annotations'} has no annotation file for {split}; unpack the archives of your tasks from "
            f"{SITE} in {self._root}."
        )

    def _list(self, split: str) -> AnnotationIndex:
        kind = self._list_kind(split)
        return load_index(self._layout.annotations(kind, split), kind, self._root, self._cache)

    def _summarise(self) -> str:
        where = self._layout.images_parent.relative_to(self._root)
        place = "its root" if str(where) == "." else f"{where}/"
        parts = [f"COCO 2017, images in {place}, stuff labels: {self._stuff_labels}"]
        for task in COCO_TASKS:
            if task not in self.tasks:
                kind = self._kind(task)
                parts.append(f"no {task} ({kind}_{SPLITS[0]}.json or its maps, of {ARCHIVES[kind]}, are missing)")
        return "; ".join(parts)
