"""Names and marks that every data set, transform and scenario agrees on."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

TASKS: tuple[str, ...] = (
    "semseg",
    "parts",
    "saliency",
    "normals",
    "edge",
    "depth",
    "instance",
    "keypoints",
    "stuff",
    "panoptic",
)
"""The ten tasks a client can have, in the order in which tables list them."""

NYUD_TASKS: tuple[str, ...] = ("semseg", "normals", "edge", "depth")
PASCAL_TASKS: tuple[str, ...] = ("semseg", "parts", "saliency", "normals", "edge")
COCO_TASKS: tuple[str, ...] = ("instance", "keypoints", "stuff", "panoptic")
BSDS_TASKS: tuple[str, ...] = ("saliency", "edge")

DATASET_TASKS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "procedural": TASKS,
        "nyud": NYUD_TASKS,
        "pascal_context": PASCAL_TASKS,
        "coco": COCO_TASKS,
        "bsds_sod": BSDS_TASKS,
        "folder": TASKS,
    }
)
"""What each data set can give, by the name used in a scenario file; a folder gives what its own file names."""

IGNORE = 255
"""Class index of a pixel that no class-like label (semseg, parts, saliency, edge, stuff) speaks about."""

CLASS_TASKS: frozenset[str] = frozenset({"semseg", "parts", "saliency", "stuff", "edge"})
"""Tasks whose label is a uint8 map with ``IGNORE`` as its ignore value."""

OBJECT_TASKS: frozenset[str] = frozenset({"instance", "keypoints", "panoptic"})
"""Tasks whose label is an ``ObjectLabel`` (``fmtl_datasets.shared.objects``) and not a map: ``Instances`` or
``PanopticSegments``."""

PANOPTIC_THINGS = "panoptic-things"
"""Key of ``num_classes`` that says how many of the panoptic classes, the first ones, are things.

``num_classes`` of a data set has a count for semseg, parts, stuff, instance (things without background) and panoptic
(things and stuff) where it labels them, and for panoptic this one too. Keypoints have one class, a person."""

Sample = dict[str, Any]
"""One image with its labels: ``image`` plus one key per task (tv_tensors and object labels before collation).

Where several people drew boundaries, ``edge-annotators`` stands beside ``edge``
(``fmtl_datasets.shared.edge_annotators``)."""
