"""NYU Depth v2 as a source of samples."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from fmtl_datasets.catalogue import DATA_SETS
from fmtl_datasets.shared.source import Indices, SourceFile, SourceSettings
from fmtl_datasets.sources.nyud.classes import SEMSEG_CLASSES
from fmtl_datasets.sources.nyud.dataset import LISTS, Nyud, find_variant, read_list


def open_source(settings: SourceSettings) -> NyudSource:
    """Find out which package lies in the folder.

    Raises:
        NyudLayoutError: it is none of the known ones completely.
    """
    return NyudSource(settings)


class NyudSource:
    """One of the four packages of NYU Depth v2."""

    tasks: tuple[str, ...] = DATA_SETS["nyud"].tasks

    def __init__(self, settings: SourceSettings) -> None:
        self._root = settings.root
        self._variant = find_variant(settings.root)
        self.summary = f"NYUD-v2, variant {self._variant.name}"
        self.lists = tuple(name for name in LISTS if (self._root / "gt_sets" / f"{name}.txt").is_file())
        count = self._variant.semseg_classes
        self.num_classes: Mapping[str, int] = {"semseg": count}
        self.class_names: Mapping[str, tuple[str, ...]] = {"semseg": SEMSEG_CLASSES[:count]}

    def ids(self, image_list: str) -> tuple[str, ...]:
        """Official ids of a list, in file order."""
        return read_list(self._root, image_list)

    def usable(self, image_list: str, indices: Indices, tasks: Sequence[str]) -> Indices:
        """All of them: every image has every label."""
        return indices

    def files(self, image_list: str, tasks: Sequence[str]) -> Iterator[SourceFile]:
        """Image and label files of a list."""
        for image_id in self.ids(image_list):
            for kind in ("image", *tasks):
                yield SourceFile(image_id, kind, self._variant.path(self._root, kind, image_id))

    def open(self, tasks: Sequence[str], image_list: str, indices: Indices | None = None) -> Nyud:
        """Samples of a list, at their native size."""
        return Nyud(self._root, tasks, image_list=image_list, indices=indices)
