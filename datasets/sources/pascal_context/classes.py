"""Class names and numbers of PASCAL-Context."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from fmtl_datasets.shared.conventions import names_in

SEMSEG_CLASSES: tuple[str, ...] = names_in(
    "background, aeroplane, bicycle, bird, boat, bottle, bus, car, cat, chair, cow, diningtable, dog, horse, "
    "motorbike, person, pottedplant, sheep, sofa, train, tvmonitor"
)
"""The classes of PASCAL VOC, in its order."""

PERSON = 15
"""Number of the class person, in ``SEMSEG_CLASSES`` and in the objects of ``human_parts``."""

PARTS_CLASSES: tuple[str, ...] = names_in("background, head, torso, upper arms, lower arms, upper legs, lower legs")
"""Six parts of a person and all else, as every published experiment on this data divides a person."""

PART_INDEX: Mapping[str, int] = MappingProxyType(
    {
        **dict.fromkeys(("hair", "head", "lear", "rear", "lebrow", "rebrow", "leye", "reye", "mouth", "nose"), 1),
        **dict.fromkeys(("neck", "torso"), 2),
        **dict.fromkeys(("luarm", "ruarm"), 3),
        **dict.fromkeys(("llarm", "rlarm", "lhand", "rhand"), 4),
        **dict.fromkeys(("luleg", "ruleg"), 5),
        **dict.fromkeys(("llleg", "rlleg", "lfoot", "rfoot"), 6),
    }
)
"""Index in ``PARTS_CLASSES`` of each part of a person that PASCAL-Part annotates."""

CONTEXT_CLASSES = 459
"""The LabelMap of ``pascal-context`` has the numbers 1 to 459; 0 is a pixel without one."""

NORMALS_CONTEXT_NUMBERS: frozenset[int] = frozenset(
    (
        *(3, 4, 6, 9, 10, 11, 13, 15, 17, 18, 22, 23, 29, 30, 33, 34, 36, 37, 38, 39, 41, 43, 46, 49, 50, 51, 53),
        *(55, 56, 59, 61, 62, 65, 66, 68, 69, 72, 73, 78, 83, 84, 85, 87, 88, 95, 96, 101, 104, 105, 107, 111, 113),
        *(115, 122, 124, 135, 141, 142, 143, 146, 150, 154, 157, 158, 159, 165, 172, 174, 181, 183, 184, 191, 193),
        *(195, 197, 199, 202, 213, 215, 216, 219, 220, 223, 225, 228, 230, 232, 233, 238, 239, 242, 243, 246, 250),
        *(251, 252, 255, 260, 261, 263, 269, 272, 273, 275, 281, 283, 284, 285, 286, 287, 288, 290, 291, 292, 293),
        *(295, 304, 307, 309, 310, 314, 315, 319, 323, 329, 330, 331, 336, 342, 345, 349, 350, 351, 352, 355, 357),
        *(368, 370, 371, 374, 379, 380, 383, 384, 397, 401, 403, 405, 407, 408, 411, 412, 413, 414, 417, 419, 421),
        *(423, 427, 429, 430, 432, 440, 441, 442, 443, 444, 446, 454, 457),
    )
)
"""LabelMap numbers on which the distilled normals are valid: the 169 classes of PASCAL-Context whose name is also in
NYU's list, except "unknown", and tvmonitor. For the layout without class lists; the other brings the lists along."""
