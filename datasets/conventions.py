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

TRAINED_TASKS: tuple[str, ...] = TASKS[:6]
"""The dense tasks, which have a decoder; the others have labels only."""

NYUD_TASKS: tuple[str, ...] = ("semseg", "normals", "edge", "depth")

DATASET_TASKS: Mapping[str, tuple[str, ...]] = MappingProxyType({"procedural": TASKS, "nyud": NYUD_TASKS})
"""What each data set can give, by the name used in a scenario file."""

IGNORE = 255
"""Class index of a pixel that no class-like label (semseg, parts, saliency, edge, stuff) speaks about."""

CLASS_TASKS: frozenset[str] = frozenset({"semseg", "parts", "saliency", "stuff", "edge"})
"""Tasks whose label is a uint8 map with ``IGNORE`` as its ignore value."""

ID_TASKS: frozenset[str] = frozenset({"instance", "panoptic"})
"""Tasks whose label is an int32 map of identifiers, 0 where there is none."""

Sample = dict[str, Any]
"""One image with its labels: ``image`` plus one key per task (tv_tensors before collation)."""
