"""PASCAL-Context as a source of samples (methods 3.2).

Labels derived from MATLAB files (parts, edges, where normals are valid, and the classes of each image's objects) are
kept in the label cache. The published code writes the last of these into ``ImageSets/Parts`` of the data set; here
nothing is written there, and what others have written there is not read.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
from fmtl_datasets.catalogue import DATA_SETS
from fmtl_datasets.shared.label_cache import LabelCache
from fmtl_datasets.shared.source import Indices, SourceFile, SourceSettings
from fmtl_datasets.sources.pascal_context.classes import PARTS_CLASSES, PERSON, SEMSEG_CLASSES
from fmtl_datasets.sources.pascal_context.dataset import Labels, PascalContext
from fmtl_datasets.sources.pascal_context.layout import LISTS, SUMMARIES, find_layout, read_list
from fmtl_datasets.sources.pascal_context.people import flagged_as_published, with_people, with_people_as_published

PARTS_FLAGS = ("own", "reference")

logger = logging.getLogger(__name__)


def open_source(settings: SourceSettings) -> PascalContextSource:
    """Find out which package lies in the folder.

    Raises:
        DataLayoutError: it is neither of the two completely.
        DataFileError: a list of images or of classes is damaged.
        ValueError: an unknown setting, or a label cache inside the data set.
    """
    return PascalContextSource(settings)


class PascalContextSource:
    """ASTMT's PASCAL_MT or the repacked PASCALContext."""

    tasks: tuple[str, ...] = DATA_SETS["pascal_context"].tasks
    lists: tuple[str, ...] = LISTS
    num_classes: Mapping[str, int] = {"semseg": len(SEMSEG_CLASSES), "parts": len(PARTS_CLASSES)}
    class_names: Mapping[str, tuple[str, ...]] = {"semseg": SEMSEG_CLASSES, "parts": PARTS_CLASSES}

    def __init__(self, settings: SourceSettings) -> None:
        if settings.parts_flags not in PARTS_FLAGS:
            raise ValueError(f"parts-flags = {settings.parts_flags!r} is not known; expected own or reference.")
        self._layout = find_layout(settings.root)
        self._labels = Labels(self._layout, LabelCache(settings.cache, settings.root))
        self._as_published = settings.parts_flags == "reference"
        self.summary = f"PASCAL-Context, {SUMMARIES[self._layout.name]}"
        if self._as_published:
            self.summary += ", parts flags as in the published code"

    def ids(self, image_list: str) -> tuple[str, ...]:
        """Ids of a list, in file order."""
        return read_list(self._layout, image_list)

    def usable(self, image_list: str, indices: Indices, tasks: Sequence[str]) -> Indices:
        """Without the images that show nobody, for a client whose only task is parts.

        With ``parts_flags`` ``reference`` the wrong images are dropped, as by the published code. A person counts
        when its mask is not empty, whether it has parts or not.
        """
        if tuple(tasks) != ("parts",):
            return indices
        shows_people = _People(self._labels, self.ids(image_list))
        return (with_people_as_published if self._as_published else with_people)(indices, shows_people)

    def files(self, image_list: str, tasks: Sequence[str]) -> Iterator[SourceFile]:
        """Image and label files of a list; normals need two."""
        for image_id in self.ids(image_list):
            for kind in ("image", *tasks):
                for path in self._layout.files(kind, image_id):
                    yield SourceFile(image_id, kind, path)

    def open(self, tasks: Sequence[str], image_list: str, indices: Indices | None = None) -> PascalContext:
        """Samples of a list, at their native size.

        With ``parts_flags`` ``reference``, a client that has parts and other tasks does not get the parts label of
        those training images whose position is not flagged. Validation images are not affected, as published; images
        held out of the training list are part of that list.

        Raises:
            DataLayoutError: a file is missing.
            ValueError: an unknown task.
        """
        unknown = [task for task in tasks if task not in self.tasks]
        if unknown:
            raise ValueError(f"PASCAL-Context has no {', '.join(unknown)}; it offers {', '.join(self.tasks)}.")
        listed = self.ids(image_list)
        ids = listed if indices is None else tuple(listed[int(index)] for index in indices)
        has_parts = None
        if self._as_published and image_list == LISTS[0] and "parts" in tasks and tuple(tasks) != ("parts",):
            has_parts = tuple(flagged_as_published(len(ids), _People(self._labels, listed)))
        return PascalContext(self._layout, self._labels, tasks, ids, has_parts)


class _People:
    """Whether the image at a position in a list shows people."""

    def __init__(self, labels: Labels, ids: Sequence[str]) -> None:
        # Without kept labels this takes half a minute for the whole training list, so it is announced.
        logger.info("PASCAL-Context: looking up which images show people")
        self._labels = labels
        self._ids = ids

    def __call__(self, position: int) -> bool:
        return bool(np.any(self._labels.object_classes(self._ids[position]) == PERSON))
