"""Class names of NYUD-v2."""

from __future__ import annotations

from fmtl_datasets.shared.conventions import names_in

SEMSEG_CLASSES: tuple[str, ...] = names_in(
    "wall, floor, cabinet, bed, chair, sofa, table, door, window, bookshelf, picture, counter, blinds, desk, shelves, "
    "curtain, dresser, pillow, mirror, floor mat, clothes, ceiling, books, refrigerator, television, paper, towel, "
    "shower curtain, box, whiteboard, person, night stand, toilet, sink, lamp, bathtub, bag, other structure, "
    "other furniture, other prop"
)
"""The 40 classes of Gupta et al. 2013, in the order of their labels 1 to 40. nyud320 has the first 39."""
