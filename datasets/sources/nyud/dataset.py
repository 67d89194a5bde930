"""NYU Depth v2 from disk, in any of the four packages that are in use (methods 3.1, 3.3).

The packages share folder names and differ in file types and codes. Which one lies in a folder is told by the file
extensions; a folder that is none of them completely is refused with the first path that is missing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from fmtl_datasets.catalogue import DATA_SETS
from fmtl_datasets.shared.conventions import IGNORE, Sample
from fmtl_datasets.shared.matlab import read_variable
from fmtl_datasets.shared.source import DataLayoutError
from PIL import Image
from torchvision import tv_tensors

Array = npt.NDArray[Any]
Decoder = Callable[[Path], Array]

NYUD_TASKS = DATA_SETS["nyud"].tasks

FOLDERS: Mapping[str, str] = {
    "image": "images",
    "semseg": "segmentation",
    "normals": "normals",
    "edge": "edge",
    "depth": "depth",
}
LISTS = ("train", "val", "train_mini", "val_mini")

MIN_NORMAL_LENGTH = 0.5
"""A decoded normal shorter than this is invalid: neither 8-bit rounding nor JPEG shortens a unit vector so far, while
the codes 127 and 128 that stand for "no normal" decode to a length of 0.007."""


def _pixels(path: Path) -> Array:
    with Image.open(path) as image:
        return np.asarray(image)


def _rgb(path: Path) -> Array:
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB"))


def _classes(labels: Array) -> Array:
    """Labels 1..40 to class indices 0..39; 0 (background or void) to ``IGNORE``."""
    # Written so that a value that is no number is refused too.
    if not (labels.min() >= 0 and labels.max() <= 40):
        raise ValueError(f"labels go from {labels.min()} to {labels.max()}, expected 0 to 40")
    return np.where(labels == 0, IGNORE, labels.astype(np.int64) - 1).astype(np.uint8)


def _classes_png(path: Path) -> Array:
    return _classes(_pixels(path))


def _classes_mat(path: Path) -> Array:
    return _classes(_matrix(path, "segmentation"))


def _classes_without_40(path: Path) -> Array:
    classes = _classes_png(path)
    return np.where(classes == 39, np.uint8(IGNORE), classes)


def _edge_png(path: Path) -> Array:
    pixels = _pixels(path)
    is_edge = pixels if pixels.dtype == np.bool_ else pixels >= 128
    return is_edge.astype(np.uint8)


def _edge_npy(path: Path) -> Array:
    is_edge: Array = np.load(path).squeeze() > 0.5
    return is_edge.astype(np.uint8)


def _unit(normals: Array) -> Array:
    length = np.linalg.norm(normals, axis=-1, keepdims=True)
    valid = np.isfinite(length) & (length >= MIN_NORMAL_LENGTH)
    unit: Array = np.where(valid, normals / np.where(valid, length, 1), 0).astype(np.float32)
    return unit


def _normals_rgb(path: Path) -> Array:
    return _unit(2 * _rgb(path).astype(np.float32) / 255 - 1)


def _normals_npy(path: Path) -> Array:
    return _unit(np.load(path).astype(np.float32))


def _metres(depth: Array) -> Array:
    return np.where(np.isfinite(depth) & (depth > 0), depth, 0).astype(np.float32)


def _depth_npy(path: Path) -> Array:
    return _metres(np.load(path).squeeze())


def _depth_mat(path: Path) -> Array:
    return _metres(_matrix(path, "depth"))


def _depth_code(path: Path) -> Array:
    """8-bit code q: (q + 0.5) / 25.5 metres, from 0 to 10 m in steps of 3.9 cm; every pixel is valid."""
    return ((_pixels(path).astype(np.float32) + 0.5) / 25.5).astype(np.float32)


def _matrix(path: Path, variable: str) -> Array:
    matrix = read_variable(path, variable)
    if matrix.ndim != 2 or not matrix.size or matrix.dtype.kind not in "uif":
        raise ValueError(f"'{variable}' is {matrix.dtype} of shape {matrix.shape}, expected a matrix of numbers")
    return matrix


@dataclass(frozen=True)
class Variant:
    """One of the packages.

    Attributes:
        name: short name, used in messages.
        summary: what distinguishes it, for error messages.
        files: file extension and decoder of the image and of each task.
        semseg_classes: number of classes of semantic segmentation.
    """

    name: str
    summary: str
    files: Mapping[str, tuple[str, Decoder]]
    semseg_classes: int = 40

    def path(self, root: Path, kind: str, image_id: str) -> Path:
        """File of one image or label."""
        return root / FOLDERS[kind] / f"{image_id}{self.files[kind][0]}"


VARIANTS: tuple[Variant, ...] = (
    Variant(
        "atrc",
        "ATRC repack: png images, segmentation, normals and edge, npy depth",
        {
            "image": (".png", _rgb),
            "semseg": (".png", _classes_png),
            "normals": (".png", _normals_rgb),
            "edge": (".png", _edge_png),
            "depth": (".npy", _depth_npy),
        },
    ),
    Variant(
        "vandenhende",
        "Vandenhende: jpg images, png segmentation, npy normals, edge and depth",
        {
            "image": (".jpg", _rgb),
            "semseg": (".png", _classes_png),
            "normals": (".npy", _normals_npy),
            "edge": (".npy", _edge_npy),
            "depth": (".npy", _depth_npy),
        },
    ),
    Variant(
        "astmt",
        "ASTMT: jpg images and normals, png edge, mat segmentation and depth",
        {
            "image": (".jpg", _rgb),
            "semseg": (".mat", _classes_mat),
            "normals": (".jpg", _normals_rgb),
            "edge": (".png", _edge_png),
            "depth": (".mat", _depth_mat),
        },
    ),
    Variant(
        "nyud320",
        "nyud320: jpg images and normals, png segmentation, edge and 8-bit depth",
        {
            "image": (".jpg", _rgb),
            "semseg": (".png", _classes_without_40),
            "normals": (".jpg", _normals_rgb),
            "edge": (".png", _edge_png),
            "depth": (".png", _depth_code),
        },
        # Its training labels cannot tell class 40 from void, so class 40 is void in both splits.
        semseg_classes=39,
    ),
)


class NyudLayoutError(DataLayoutError):
    """A folder that is none of the known NYUD-v2 packages, or not all of one."""


def find_variant(root: Path) -> Variant:
    """Tell which package lies in a folder.

    Args:
        root: the folder that holds ``images/``, ``gt_sets/`` and the label folders.

    Returns:
        The one variant whose five kinds of file are all there for the first training image.

    Raises:
        NyudLayoutError: no variant is there completely; the message names the first missing path of the nearest one.
    """
    if not root.is_dir():
        raise _incomplete(root, root)
    image_id = read_list(root, "train")[0]
    missing = {
        variant.name: [path for kind in FOLDERS if not (path := variant.path(root, kind, image_id)).is_file()]
        for variant in VARIANTS
    }
    for variant in VARIANTS:
        if not missing[variant.name]:
            return variant
    nearest = min(VARIANTS, key=lambda variant: len(missing[variant.name]))
    raise _incomplete(root, missing[nearest.name][0], nearest)


def _incomplete(root: Path, path: Path, nearest: Variant | None = None) -> NyudLayoutError:
    likely = f" The folder looks most like the variant {nearest.name}." if nearest else ""
    known = "; ".join(variant.summary for variant in VARIANTS)
    return NyudLayoutError(
        f"data-root = {str(root)!r} is not a complete NYUD-v2 folder: {path} is missing.{likely} "
        f"Known variants: {known}. Each has gt_sets/train.txt and gt_sets/val.txt. "
        f"Point data-root at the folder that holds images/, or complete it."
    )


def read_list(root: Path, name: str) -> tuple[str, ...]:
    """Image ids of one of the lists in ``gt_sets/``.

    Args:
        root: folder of the package.
        name: ``train``, ``val``, ``train_mini`` or ``val_mini`` (the mini lists exist in nyud320 only).

    Returns:
        Ids in file order.

    Raises:
        NyudLayoutError: no such list.
        ValueError: the list is empty, repeats an id, or holds something that is no plain file name.
    """
    path = root / "gt_sets" / f"{name}.txt"
    if not path.is_file():
        raise _incomplete(root, path)
    ids = tuple(line.strip() for line in path.read_text(encoding="utf-8").splitlines() if line.strip())
    if not ids or len(set(ids)) != len(ids) or any(Path(image_id).name != image_id for image_id in ids):
        raise ValueError(f"{path}: expected one image id per line, each once; restore this file from the package.")
    return ids


class Nyud:
    """NYUD-v2 with the tasks semseg, normals, edge and depth, decoded at their native size.

    Semantic segmentation has 40 classes in every variant but nyud320 (39): label 0 is ignored. The ASTMT code trains
    on label 0 as a 41st class; here it is void as in all later work, so that scores can be compared.

    Args:
        root: folder of the package.
        tasks: labels to decode.
        image_list: ``train``, ``val``, ``train_mini`` or ``val_mini``.
        indices: positions in the list to use, in this order; all where left out.

    Attributes:
        name: name of the data set.
        tasks: the tasks it gives.
        num_classes: number of classes of semseg, where asked for.
        variant: which package was found.
        ids: official ids of its images.

    Raises:
        NyudLayoutError: an unknown or incomplete folder; every file that the images and tasks need is looked for.
        ValueError: an unknown task.
    """

    name = "nyud"

    def __init__(
        self,
        root: Path,
        tasks: Sequence[str],
        *,
        image_list: str = "train",
        indices: Sequence[int] | npt.NDArray[np.int64] | None = None,
    ) -> None:
        unknown = [task for task in tasks if task not in NYUD_TASKS]
        if unknown:
            raise ValueError(f"NYUD-v2 has no {', '.join(unknown)}; it offers {', '.join(NYUD_TASKS)}.")
        self.root = root
        self.tasks = tuple(tasks)
        self.variant = find_variant(root)
        listed = read_list(root, image_list)
        self.ids = listed if indices is None else tuple(listed[int(index)] for index in indices)
        self.num_classes: dict[str, int] = {"semseg": self.variant.semseg_classes} if "semseg" in tasks else {}
        self._check_files()

    def _check_files(self) -> None:
        for image_id in self.ids:
            for kind in ("image", *self.tasks):
                path = self.variant.path(self.root, kind, image_id)
                if not path.is_file():
                    raise _incomplete(self.root, path, self.variant)

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, index: int) -> Sample:
        """Decode one image and its labels.

        Args:
            index: position in ``ids``.

        Returns:
            ``image`` uint8 (3, H, W) and the tasks' labels as tv_tensors.

        Raises:
            ValueError: a damaged file, or a label whose size differs from the image's.
        """
        image = self._decode("image", index)
        sample: Sample = {"image": tv_tensors.Image(torch.from_numpy(image.transpose(2, 0, 1).copy()))}
        for task in self.tasks:
            label = self._decode(task, index)
            if label.shape[:2] != image.shape[:2]:
                path = self.variant.path(self.root, task, self.ids[index])
                raise ValueError(f"{path}: the label is {label.shape[:2]} pixels, its image {image.shape[:2]}.")
            if task == "normals":
                label = label.transpose(2, 0, 1)
            elif task == "depth":
                label = label[None]
            sample[task] = tv_tensors.Mask(torch.from_numpy(label.copy()))
        return sample

    def _decode(self, kind: str, index: int) -> Array:
        path = self.variant.path(self.root, kind, self.ids[index])
        try:
            return self.variant.files[kind][1](path)
        except (OSError, EOFError, ValueError) as error:
            raise ValueError(
                f"{path}: cannot be read as {kind} of the variant {self.variant.name}: {error}. "
                f"Restore this file from the package."
            ) from error
