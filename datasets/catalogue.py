"""The data sets that a client can have: what each is called, gives and is asked for; one entry for each."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from fmtl_datasets.shared.conventions import TASKS

BSDS_EDGE_DISTANCE = 0.0075
_LISTS = ("train_list", "validation_list", "own_validation")


@dataclass(frozen=True)
class DataSet:
    """What is known of a kind of data set before any file is opened.

    Attributes:
        title: what people call it.
        tasks: what it can give; a folder gives what its own file names.
        first_tasks: what a site's file suggests.
        source: the module whose function ``open_source`` reads a folder of that kind; None where no files are read.
        training_list: the list that a client trains on where it names none, so that naming it makes no other pool.
        own_keys: keys of a client, with underscores, that only some data sets know: those that this one does.
        edge_distance: matching distance of odsF as a fraction of the image diagonal (methods 4.3).
    """

    title: str
    tasks: tuple[str, ...]
    first_tasks: tuple[str, ...]
    source: str | None
    training_list: str = "train"
    own_keys: tuple[str, ...] = _LISTS
    edge_distance: float = BSDS_EDGE_DISTANCE


DATA_SETS: Mapping[str, DataSet] = {
    "procedural": DataSet("procedural scenes", TASKS, ("semseg", "depth"), None, own_keys=("domain",)),
    "nyud": DataSet(
        "NYUD-v2",
        ("semseg", "normals", "edge", "depth"),
        ("semseg", "depth"),
        "fmtl_datasets.sources.nyud.source",
        edge_distance=0.011,
    ),
    "pascal_context": DataSet(
        "PASCAL-Context",
        ("semseg", "parts", "saliency", "normals", "edge"),
        ("semseg",),
        "fmtl_datasets.sources.pascal_context.source",
        own_keys=(*_LISTS, "parts_flags"),
    ),
    "coco": DataSet(
        "MS COCO 2017",
        ("instance", "keypoints", "stuff", "panoptic"),
        ("keypoints",),
        "fmtl_datasets.sources.coco.source",
        training_list="train2017",
        own_keys=(*_LISTS, "stuff_labels"),
    ),
    "bsds_sod": DataSet(
        "BSDS with saliency masks", ("saliency", "edge"), ("edge",), "fmtl_datasets.sources.bsds_sod.source"
    ),
    "folder": DataSet("your own images", TASKS, ("semseg",), "fmtl_datasets.sources.folder.source"),
}

OWN_KEYS: Mapping[str, tuple[str, ...]] = {
    key: tuple(name for name, known in DATA_SETS.items() if key in known.own_keys)
    for key in dict.fromkeys(key for known in DATA_SETS.values() for key in known.own_keys)
}
"""Keys of a client that only some data sets know, with the names of these."""
