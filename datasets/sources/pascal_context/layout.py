"""Which of the two packages of PASCAL-Context lies in a folder, and where its files are (methods 3.1, 3.2).

Verified in the public loaders of both (ASTMT, ATRC; FedHCA2): the folders and file names below, and that every label
has the size of its image (ATRC's loader of PASCAL_MT and FedHCA2's of the repacked one both insist on it). The loaders
differ in one thing: FedHCA2 reads the class lists from ``json/`` in the data set, ASTMT and ATRC keep theirs with the
code. Inferred: that this is all that tells the packages apart. InvPT's archive is read by a loader that needs no
``json/`` either, so without one it is taken for ASTMT's, with the same result.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from fmtl_datasets.catalogue import DATA_SETS
from fmtl_datasets.shared.source import DataFileError, DataLayoutError
from fmtl_datasets.sources.pascal_context.classes import CONTEXT_CLASSES, NORMALS_CONTEXT_NUMBERS

LayoutName = Literal["astmt", "repacked"]

LISTS = ("train", "val")
CLASS_LISTS = ("json/nyu_classes.json", "json/context_classes.json")
SUMMARIES: dict[LayoutName, str] = {
    "astmt": "ASTMT's PASCAL_MT (class lists not in the folder)",
    "repacked": "repacked PASCALContext (class lists in json/)",
}
TREE = (
    "Both layouts have ImageSets/Context/{train,val}.txt, JPEGImages/ID.jpg, semseg/VOC12/ID.png or "
    "semseg/pascal-context/ID.png, human_parts/ID.mat, pascal-context/trainval/ID.mat, normals_distill/ID.png and "
    "sal_distill/ID.png; the repacked one, PASCALContext, has json/nyu_classes.json and json/context_classes.json "
    "beside them, ASTMT's PASCAL_MT has no json/."
)


@dataclass(frozen=True)
class Layout:
    """A complete package in a folder.

    Attributes:
        root: the folder.
        name: ``astmt`` or ``repacked``.
    """

    root: Path
    name: LayoutName

    def image(self, image_id: str) -> Path:
        """The picture."""
        return self.root / "JPEGImages" / f"{image_id}.jpg"

    def label_map(self, image_id: str) -> Path:
        """The 459-class annotation, from which edges and the validity of normals are derived."""
        return self.root / "pascal-context" / "trainval" / f"{image_id}.mat"

    def objects(self, image_id: str) -> Path:
        """The objects with their parts."""
        return self.root / "human_parts" / f"{image_id}.mat"

    def semseg(self, image_id: str) -> Path:
        """Semantic labels: VOC's own where it has any, else those made from PASCAL-Context."""
        voc = self.root / "semseg" / "VOC12" / f"{image_id}.png"
        return voc if voc.is_file() else self.root / "semseg" / "pascal-context" / f"{image_id}.png"

    def normals(self, image_id: str) -> Path:
        """Normals that a network predicted."""
        return self.root / "normals_distill" / f"{image_id}.png"

    def saliency(self, image_id: str) -> Path:
        """Saliency that a network predicted."""
        return self.root / "sal_distill" / f"{image_id}.png"

    def files(self, kind: str, image_id: str) -> tuple[Path, ...]:
        """Every file that the image or the label of one task is read from."""
        if kind == "normals":
            return self.normals(image_id), self.label_map(image_id)
        of_kind = {
            "image": self.image,
            "semseg": self.semseg,
            "parts": self.objects,
            "saliency": self.saliency,
            "edge": self.label_map,
        }
        return (of_kind[kind](image_id),)

    def missing(self, path: Path) -> DataLayoutError:
        """The error that says that a file of this package is missing."""
        return _incomplete(self.root, path, self.name)


def find_layout(root: Path) -> Layout:
    """Tell which package lies in a folder.

    Args:
        root: the folder that holds ``JPEGImages/``.

    Returns:
        The layout; all files of the first image of each list are there.

    Raises:
        DataLayoutError: neither is there completely; the message names the first missing path.
        DataFileError: a list is damaged.
    """
    if not root.is_dir():
        raise _incomplete(root, root)
    name: LayoutName = "repacked" if (root / "json").exists() else "astmt"
    layout = Layout(root, name)
    for image_list in LISTS:
        first = read_list(layout, image_list)[0]
        for kind in ("image", *DATA_SETS["pascal_context"].tasks):
            for path in layout.files(kind, first):
                if not path.is_file():
                    raise layout.missing(path)
    if name == "repacked":
        for class_list in CLASS_LISTS:
            if not (root / class_list).is_file():
                raise layout.missing(root / class_list)
    return layout


def _incomplete(root: Path, path: Path, nearest: LayoutName | None = None) -> DataLayoutError:
    likely = f" The folder looks most like {SUMMARIES[nearest]}." if nearest else ""
    return DataLayoutError(
        f"data-root = {str(root)!r} is not a complete PASCAL-Context folder: {path} is missing.{likely} {TREE} "
        f"Point data-root at the folder that holds JPEGImages/, or complete it."
    )


def read_list(layout: Layout, name: str) -> tuple[str, ...]:
    """Image ids of a list, in file order.

    Args:
        layout: the package.
        name: ``train`` or ``val``.

    Raises:
        DataLayoutError: no such list.
        DataFileError: the list is empty, repeats an id, or holds something that is no plain file name.
    """
    path = layout.root / "ImageSets" / "Context" / f"{name}.txt"
    if name not in LISTS or not path.is_file():
        raise layout.missing(path)
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except UnicodeDecodeError as error:
        raise DataFileError(f"{path}: is not text ({error}); restore this file from the package.") from error
    ids = tuple(line.strip() for line in lines if line.strip())
    for image_id in ids:
        if Path(image_id).name != image_id or "\0" in image_id:
            raise DataFileError(f"{path}: {image_id[:80]!r} is no image id; restore this file from the package.")
    if not ids:
        raise DataFileError(f"{path}: is empty, expected one image id per line; restore this file from the package.")
    if len(set(ids)) != len(ids):
        twice = next(image_id for position, image_id in enumerate(ids) if image_id in ids[:position])
        raise DataFileError(f"{path}: lists {twice!r} twice; restore this file from the package.")
    return ids


def normals_numbers(layout: Layout) -> frozenset[int]:
    """LabelMap numbers on which the distilled normals are valid.

    The network that predicted them had seen indoor scenes, so they are used on classes that NYU Depth v2 names too.

    Returns:
        Numbers of the classes in both lists by name, except "unknown", and of tvmonitor (which NYU calls otherwise).

    Raises:
        DataFileError: a class list of the package is damaged.
    """
    if layout.name == "astmt":
        return NORMALS_CONTEXT_NUMBERS
    nyu, context = (_read_class_list(layout.root / class_list) for class_list in CLASS_LISTS)
    if "tvmonitor" not in context:
        raise DataFileError(
            f"{layout.root / CLASS_LISTS[1]}: has no class 'tvmonitor'; restore this file from the package."
        )
    return frozenset(context[name] for name in nyu if name in context and name != "unknown") | {context["tvmonitor"]}


def _read_class_list(path: Path) -> dict[str, int]:
    try:
        content: Any = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise DataFileError(f"{path}: cannot be read ({error}); restore this file from the package.") from error
    if not isinstance(content, dict) or not content or not all(type(number) is int for number in content.values()):
        raise DataFileError(f"{path}: expected class names with their numbers; restore this file from the package.")
    outside = [name for name, number in content.items() if path.stem.startswith("context") and not _is_context(number)]
    if outside:
        raise DataFileError(
            f"{path}: class {outside[0]!r} has the number {content[outside[0]]}, expected 1 to {CONTEXT_CLASSES}; "
            f"restore this file from the package."
        )
    return content


def _is_context(number: int) -> bool:
    return 1 <= number <= CONTEXT_CLASSES
