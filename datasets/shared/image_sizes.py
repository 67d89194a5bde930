"""How large images are, read from the heads of their files, and the size at which a client with ``fit: pad`` is scored.

Training cuts every image to ``image-size``. Evaluation neither cuts nor scales (methods 3.4), so images that are larger
than ``image-size`` are padded to a larger size: one for all, so that a score does not depend on what shares a batch.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path

from fmtl_datasets.scenarios.client_entry import ClientEntry
from fmtl_datasets.scenarios.scenario_file import ScenarioError
from fmtl_datasets.shared.source import DataFileError, Indices, Source
from PIL import Image

Size = tuple[int, int]
"""Height and width in pixels."""

STRIDE = 32
"""Encoders reduce an image 32 times; sides that it divides fit all of them."""

LARGEST_FACTOR = 2
"""Random scaling halves an image at most, so training never sees the whole of one that is larger than this."""


def image_sizes(source: Source, image_list: str, indices: Indices) -> dict[Path, Size]:
    """Sizes of some images of a list by their files; no pixel is decoded.

    Raises:
        DataFileError: a file is no image.
    """
    ids = source.ids(image_list)
    chosen = {ids[int(index)] for index in indices}
    files = (file.path for file in source.files(image_list, ()) if file.kind == "image" and file.image_id in chosen)
    return dict(_sizes(tuple((path, *_stamp(path)) for path in files)))


def _stamp(path: Path) -> tuple[int, int]:
    status = path.stat()
    return status.st_size, status.st_mtime_ns


@lru_cache(maxsize=8)
def _sizes(stamped: tuple[tuple[Path, int, int], ...]) -> Mapping[Path, Size]:
    """Read once, while the files stay as they are, for all clients of a process that are scored on the same images."""
    return {path: _size(path) for path, _, _ in stamped}


def _size(path: Path) -> Size:
    try:
        with Image.open(path) as image:
            return image.height, image.width
    except (OSError, SyntaxError, ValueError, EOFError, Image.DecompressionBombError) as error:
        raise DataFileError(f"{path}: cannot be read as an image: {error}. Restore this file.") from error


def scored_size(entry: ClientEntry, sizes: Mapping[Path, Size]) -> Size:
    """What the validation images of a client with ``fit: pad`` are padded to.

    That is ``image-size``; a side that an image exceeds becomes the longest of all images, rounded up to a multiple of
    ``STRIDE``.

    Args:
        entry: the client.
        sizes: of its validation images.

    Raises:
        ScenarioError: an image is larger than ``LARGEST_FACTOR`` times ``image-size``.
    """
    limit = (LARGEST_FACTOR * entry.image_size[0], LARGEST_FACTOR * entry.image_size[1])
    _require_within(entry, sizes, limit, f"images to score on may be up to {LARGEST_FACTOR} times as high and wide")
    longest = [max((size[side] for size in sizes.values()), default=0) for side in (0, 1)]
    height, width = (
        side if most <= side else -(-most // STRIDE) * STRIDE
        for side, most in zip(entry.image_size, longest, strict=True)
    )
    return height, width


def require_trainable(entry: ClientEntry, sizes: Mapping[Path, Size]) -> None:
    """Refuse training images that a client with ``fit: pad`` would have to cut, where its augmentation does not.

    Raises:
        ScenarioError: an image is larger than ``image-size``.
    """
    _require_within(entry, sizes, entry.image_size, f"augment: {entry.augment} does not cut images")


def _require_within(entry: ClientEntry, sizes: Mapping[Path, Size], limit: Size, why: str) -> None:
    too_large = [path for path, size in sizes.items() if size[0] > limit[0] or size[1] > limit[1]]
    if not too_large:
        return
    height, width = sizes[too_large[0]]
    others = f" ({len(too_large)} of {len(sizes)} images are too large)" if len(too_large) > 1 else ""
    cut = "" if entry.augment == "reference" else ", or augment: reference"
    raise ScenarioError(
        f"client {entry.name}: {too_large[0]} has {height} x {width} pixels{others}, which is too large for "
        f"image-size = [{entry.image_size[0]}, {entry.image_size[1]}] under fit: pad; {why}. Give an image-size that "
        f"holds every image, or use fit: inside or fit: resize{cut}."
    )
