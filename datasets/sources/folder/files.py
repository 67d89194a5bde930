"""Finding images and labels below a data root, and refusing every path that leads out of it."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from fmtl_datasets.shared.paths import path_problem
from fmtl_datasets.shared.source import DataFileError, DataLayoutError

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".tif", ".tiff", ".bmp")

Where = Callable[..., str]
"""``where("tasks", "semseg", "folder")`` says at which file and line these keys stand."""


class DataRoot:
    """A data root and the paths below it.

    Args:
        folder: the data root.
        where: for messages.
    """

    def __init__(self, folder: Path, where: Where) -> None:
        self.folder = folder
        self.where = where
        self._real = Path(os.path.realpath(folder))

    def inside(self, given: str, *keys: str) -> Path:
        """Return a path of the description as a path that exists.

        Args:
            given: path below the data root, with forward slashes.
            keys: where in the description it stands.

        Raises:
            DataLayoutError: it leads out of the data root, or does not exist.
        """
        path = self.folder / given
        said = f"{self.where(*keys)}: {'.'.join(keys)} = {given!r}"
        if path_problem(given) is not None or not self._holds(path):
            raise DataLayoutError(
                f"{said} leads out of the data root {self.folder}. Move it inside, or make a folder that holds both "
                f"the data root."
            )
        if not path.exists():
            raise DataLayoutError(f"{said}: {path} does not exist. Correct the path or put the files there.")
        return path

    def require_inside(self, path: Path) -> Path:
        """Return a file that was found below the data root.

        Raises:
            DataLayoutError: it is a link that leads out of the data root.
        """
        if path.is_symlink() and not self._holds(path):
            raise DataLayoutError(
                f"{path} is a link that leads out of the data root {self.folder}. Put the file itself there, or make a "
                f"folder that holds both the data root."
            )
        return path

    def scan(self, folder: Path, suffixes: Sequence[str], ending: str = "") -> dict[str, Path]:
        """Find files below a folder, links to folders not followed.

        Args:
            folder: where to look.
            suffixes: file name endings that count, in small letters.
            ending: what the names end in before the suffix; other files are left out, and it is no part of the ids.

        Returns:
            Files by id: the path in the folder with forward slashes, without ``ending`` and suffix; sorted.

        Raises:
            DataLayoutError: the folder is none, or two files have the same id.
        """
        if not folder.is_dir():
            raise DataLayoutError(f"{folder} is no folder. Name the folder that holds the files.")
        found: dict[str, Path] = {}
        for place, _, names in os.walk(folder):
            inner = os.path.relpath(place, folder).replace(os.sep, "/")
            for name in names:
                stem, suffix = os.path.splitext(name)
                if suffix.lower() not in suffixes or name.startswith(".") or not stem.endswith(ending):
                    continue
                stem = stem.removesuffix(ending)
                image_id = stem if inner == "." else f"{inner}/{stem}"
                if image_id in found:
                    raise DataLayoutError(
                        f"{found[image_id]} and {os.path.join(place, name)} are both {image_id!r}. Keep one of them."
                    )
                found[image_id] = Path(place, name)
        return dict(sorted(found.items()))

    def _holds(self, path: Path) -> bool:
        return Path(os.path.realpath(path)).is_relative_to(self._real)


def read_list(path: Path, images: Mapping[str, Path], folder: Path) -> tuple[str, ...]:
    """Image ids of a list file.

    Args:
        path: text file with one id per line.
        images: the images there are.
        folder: where they lie, for messages.

    Returns:
        Ids in file order.

    Raises:
        DataFileError: no text, no id, an id twice, a path trick, or an id without an image.
    """
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataFileError(f"{path}: cannot be read as a list of image ids: {error}.") from error
    seen: dict[str, int] = {}
    for number, line in enumerate(lines, start=1):
        image_id = line.strip()
        if not image_id:
            continue
        if path_problem(image_id) is not None:
            raise DataFileError(
                f"{path}:{number}: {image_id!r} is no image id. Give the path of an image in {folder}, without its "
                f"ending, with forward slashes and without '..'."
            )
        if image_id in seen:
            raise DataFileError(f"{path}:{number}: {image_id!r} is listed twice (first on line {seen[image_id]}).")
        if image_id not in images:
            raise DataFileError(_no_image(path, number, image_id, images, folder))
        seen[image_id] = number
    if not seen:
        raise DataFileError(f"{path}: this list is empty. Write one image id per line.")
    return tuple(seen)


def _no_image(path: Path, number: int, image_id: str, images: Mapping[str, Path], folder: Path) -> str:
    without = os.path.splitext(image_id)[0]
    hint = "Correct the list, or put the image there."
    if without in images:
        hint = f"Leave out the ending: {without}."
    elif not images:
        hint = f"There is no image at all there; files ending in {', '.join(IMAGE_SUFFIXES)} count."
    else:
        hint += f" Ids there look like {next(iter(images))!r}."
    return f"{path}:{number}: no image {image_id!r} in {folder}. {hint}"


def divide(images: Sequence[str], fraction: float, seed: int) -> dict[str, tuple[str, ...]]:
    """Divide images into ``train`` and ``validation``.

    The images with the smallest hash of seed and id are for validation, so that the division depends neither on the
    machine nor on the order of files, and most images stay where they are when others are added.

    Args:
        images: at least two ids.
        fraction: how many are for validation, as a fraction of all; at least one image is left on either side.
        seed: changes which ones.
    """
    count = min(max(1, round(len(images) * fraction)), len(images) - 1)
    by_hash = sorted(images, key=lambda image_id: hashlib.sha256(f"{seed}/{image_id}".encode()).digest())
    held_out = set(by_hash[:count])
    return {
        "train": tuple(image_id for image_id in images if image_id not in held_out),
        "validation": tuple(image_id for image_id in images if image_id in held_out),
    }
