"""Class names of the procedural scenes, shared by both domains."""

from __future__ import annotations

from typing import Literal, get_args

from fmtl_datasets.shared.conventions import names_in

Domain = Literal["indoor", "outdoor"]
DOMAINS: tuple[str, ...] = get_args(Domain)

SEMSEG_CLASSES: tuple[str, ...] = names_in(
    "wall, floor, overhead, opening, cover, table, seat, cabinet, bed, lamp, ball, plant, person"
)
"""Semantic classes; each has one meaning per domain.

wall: room wall or facade; floor: floor or ground; overhead: ceiling or sky; opening: door or window;
cover: rug or lawn; table; seat: chair, stool or bench; cabinet: cabinet or container; bed: bed or raised
planting bed; lamp: floor lamp or street light; ball; plant: pot plant or tree; person.
"""

WALL, FLOOR, OVERHEAD, OPENING, COVER, TABLE, SEAT, CABINET, BED, LAMP, BALL, PLANT, PERSON = range(13)

FIRST_THING = TABLE
"""Classes from here on are countable things; the ones before are background surfaces (stuff)."""

THING_CLASSES: tuple[str, ...] = SEMSEG_CLASSES[FIRST_THING:]
"""Classes of the instance label, in semantic order; panoptic classes are these and then the background ones."""

STUFF_CLASSES: tuple[str, ...] = ("things", "wall", "floor", "overhead", "opening", "cover")
"""Classes of the stuff label: index 0 for every thing, then the background classes in semantic order
(the convention of Panoptic-FPN, Kirillov et al. 2019, and of detectron2's COCO stuff labels)."""

PART_CLASSES: tuple[str, ...] = names_in("background, head, torso, upper arms, lower arms, upper legs, lower legs")
"""The six parts of PASCAL-Person-Part, with the background at 0."""

HEAD, TORSO, UPPER_ARM, LOWER_ARM, UPPER_LEG, LOWER_LEG = range(1, 7)

KEYPOINT_NAMES: tuple[str, ...] = names_in(
    "nose, left_eye, right_eye, left_ear, right_ear, left_shoulder, right_shoulder, left_elbow, right_elbow, "
    "left_wrist, right_wrist, left_hip, right_hip, left_knee, right_knee, left_ankle, right_ankle"
)
"""The 17 COCO keypoints in COCO order; left and right are the person's own."""
