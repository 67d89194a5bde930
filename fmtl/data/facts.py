"""What is known of the data sets by name: how many images the official packages list."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType


@dataclass(frozen=True)
class Package:
    """A known package of a data set.

    Attributes:
        name: as a reader would call it.
        images: how many images each of its lists has.
    """

    name: str
    images: Mapping[str, int]


PACKAGES: Mapping[str, tuple[Package, ...]] = MappingProxyType(
    {
        "nyud": (Package("the official split", {"train": 795, "val": 654}),),
        "pascal_context": (Package("the full package", {"train": 4998, "val": 5105}),),
        "coco": (
            Package("COCO 2017", {"train2017": 118287, "val2017": 5000}),
            Package("the subset coco_mt200", {"train2017": 100, "val2017": 100}),
        ),
        "bsds_sod": (Package("BSDS300", {"train": 200, "val": 100}),),
    }
)
"""Known packages of each data set, the usual one first. Source: methods 3.2, 3.3, 3.6 and the packages' own lists."""


def unexpected_counts(dataset: str, found: Mapping[str, int]) -> dict[str, str]:
    """Lists whose length is that of no known package, with what was expected.

    Args:
        dataset: name of the data set.
        found: number of images of each list.

    Returns:
        A sentence for each such list; empty where one package fits all of its lists that were found.
    """
    packages = PACKAGES.get(dataset, ())
    if not packages or any(_fits(package, found) for package in packages):
        return {}
    usual = packages[0]
    return {
        name: f"{found[name]} images; {count} are expected in {usual.name}"
        for name, count in usual.images.items()
        if name in found and found[name] != count
    }


def _fits(package: Package, found: Mapping[str, int]) -> bool:
    shared = [name for name in package.images if name in found]
    return bool(shared) and all(found[name] == package.images[name] for name in shared)
