"""Names and marks that every data set, transform and scenario agrees on."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Literal

LabelKind = Literal["classes", "binary", "vectors", "metres", "objects", "segments"]

LABEL_KINDS: Mapping[str, LabelKind] = MappingProxyType(
    {
        "semseg": "classes",
        "parts": "classes",
        "saliency": "binary",
        "normals": "vectors",
        "edge": "binary",
        "depth": "metres",
        "instance": "objects",
        "keypoints": "objects",
        "stuff": "classes",
        "panoptic": "segments",
    }
)
"""The tasks a client can have, in the order in which tables list them, and the kind of their label: a map of
``classes``, of 0 and 1 (``binary``), of unit ``vectors`` or of ``metres``; ``objects`` or ``segments`` of an image."""

TASKS: tuple[str, ...] = tuple(LABEL_KINDS)

IGNORE = 255
"""Class index of a pixel that no class-like label (semseg, parts, saliency, edge, stuff) speaks about."""

CLASS_TASKS = frozenset(task for task, kind in LABEL_KINDS.items() if kind in ("classes", "binary"))
"""Tasks whose label is a uint8 map with ``IGNORE`` as its ignore value."""

OBJECT_TASKS = frozenset(task for task, kind in LABEL_KINDS.items() if kind in ("objects", "segments"))
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


def names_in(text: str) -> tuple[str, ...]:
    """The names in a text that has a comma and a space between them."""
    return tuple(text.split(", "))
