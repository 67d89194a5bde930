"""Articulated human figures: joints, body parts of capsules, and COCO keypoints from the same joints.

In a figure's frame y is up, the figure faces -z and its own left is +x. Lengths are shares of the body
height, after the segment lengths of Drillis and Contini (1966), rounded.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from fmtl_datasets.sources.procedural import classes
from fmtl_datasets.sources.procedural.draws import chance, pick, span
from fmtl_datasets.sources.procedural.materials import Palette
from fmtl_datasets.sources.procedural.scene import Body, Frame, Material, Person, Point, Scene

_SHOULDER, _HIP_HALF = 0.115, 0.055
_UPPER_ARM, _LOWER_ARM, _THIGH, _SHIN = 0.165, 0.20, 0.235, 0.235
_TRUNK, _NECK = 0.285, 0.105

_FACE_SLACK, _JOINT_SLACK = 0.02, 0.075
"""How deep a keypoint may lie below the visible surface: the face is on the skin, joints are inside limbs."""

LEG = _THIGH + _SHIN + 0.035
"""Height of the hips of a standing figure, as a share of the body height."""


@dataclass(frozen=True)
class Limb:
    """Angles of an arm or a leg in radians: away from the body, forward swing, bend of elbow or knee."""

    out: float
    swing: float
    bend: float


@dataclass(frozen=True)
class Pose:
    """A body posture.

    Attributes:
        lean: forward lean of the trunk, radians.
        look: turn of the head to the figure's left, radians.
        arms: left and right arm.
        legs: left and right leg.
        hips: height of the hips as a share of the body height.
    """

    lean: float
    look: float
    arms: tuple[Limb, Limb]
    legs: tuple[Limb, Limb]
    hips: float


def standing(rng: np.random.Generator) -> Pose:
    """A figure that stands, walks, points or waves."""
    step = pick(rng, (0.0, 0.05, 0.25, 0.45)) * pick(rng, (-1.0, 1.0))
    bends = (span(rng, 0.0, 0.15) + max(0.0, -step), span(rng, 0.0, 0.15) + max(0.0, step))
    legs = (Limb(span(rng, 0.02, 0.12), step, bends[0]), Limb(span(rng, 0.02, 0.12), -step, bends[1]))
    arms = (_arm(rng, -step), _arm(rng, step))
    # The straighter leg carries the body, so that one foot stays on the ground.
    drop = min(_THIGH * (1 - math.cos(abs(leg.swing))) + _SHIN * (1 - math.cos(leg.swing - leg.bend)) for leg in legs)
    return Pose(span(rng, -0.05, 0.2), span(rng, -0.8, 0.8), arms, legs, LEG - drop)


def sitting(rng: np.random.Generator, seat: float) -> Pose:
    """A figure on a seat whose height is given as a share of the body height."""
    legs = tuple(Limb(span(rng, 0.05, 0.25), span(rng, 1.35, 1.6), span(rng, 1.2, 1.7)) for _ in range(2))
    arms = tuple(Limb(span(rng, 0.1, 0.4), span(rng, 0.1, 0.7), span(rng, 0.3, 1.3)) for _ in range(2))
    return Pose(span(rng, -0.15, 0.25), span(rng, -0.7, 0.7), (arms[0], arms[1]), (legs[0], legs[1]), seat + 0.05)


def _arm(rng: np.random.Generator, swing: float) -> Limb:
    kind = rng.random()
    if kind < 0.6:
        return Limb(span(rng, 0.08, 0.3), swing + span(rng, -0.2, 0.2), span(rng, 0.1, 0.6))
    if kind < 0.8:
        return Limb(span(rng, 0.1, 0.5), span(rng, 1.0, 1.8), span(rng, 0.0, 0.8))
    return Limb(span(rng, 1.0, 2.4), span(rng, -0.2, 0.3), span(rng, 0.0, 0.9))


def add_figure(
    scene: Scene, frame: Frame, height: float, pose: Pose, *, palette: Palette, rng: np.random.Generator
) -> None:
    """Add a figure and its keypoints to a scene.

    Args:
        scene: the scene to add to.
        frame: where it stands, and where it faces (its -z).
        height: body height, metres.
        pose: posture.
        palette: source of skin, hair and clothes.
        rng: draws the cut of the clothes.
    """
    body = scene.body(classes.PERSON, frame)
    joints = _joints(pose, height)
    skin, shirt, trousers = palette.skin(), palette.clothing(), palette.clothing()
    if chance(rng, 0.25):
        trousers = shirt
    sleeve = shirt if chance(rng, 0.5) else skin
    shoe = palette.plain(classes.LAMP)
    _trunk(body, joints, height, (shirt, skin, palette.hair()))
    for side in ("left", "right"):
        j = {name: joints[f"{side}_{name}"] for name in ("shoulder", "elbow", "wrist", "hip", "knee", "ankle", "toe")}
        body.limb(j["shoulder"], j["elbow"], 0.028 * height, shirt, part=classes.UPPER_ARM)
        body.limb(j["elbow"], _beyond(j["elbow"], j["wrist"], 1.25), 0.023 * height, sleeve, part=classes.LOWER_ARM)
        body.limb(j["hip"], j["knee"], 0.047 * height, trousers, part=classes.UPPER_LEG)
        body.limb(j["knee"], j["ankle"], 0.032 * height, trousers, part=classes.LOWER_LEG)
        body.limb(j["ankle"], j["toe"], 0.025 * height, shoe, part=classes.LOWER_LEG)
    body.footprint(0.16 * height, height)
    points = tuple(frame.point(joints[name]) for name in classes.KEYPOINT_NAMES)
    slack = tuple(height * (_FACE_SLACK if k < 5 else _JOINT_SLACK) for k in range(len(points)))
    scene.people.append(Person(body.object_id, points, slack))


def _trunk(body: Body, joints: dict[str, Point], height: float, materials: tuple[Material, Material, Material]) -> None:
    """Torso, neck and head; materials are shirt, skin and hair."""
    shirt, skin, hair = materials
    chest, pelvis, head = joints["chest"], joints["pelvis"], joints["head"]
    for side in (-1.0, 1.0):
        top = (chest[0] + side * 0.055 * height, chest[1] - 0.045 * height, chest[2])
        low = (pelvis[0] + side * 0.028 * height, pelvis[1] + 0.03 * height, pelvis[2])
        body.limb(low, top, 0.066 * height, shirt, part=classes.TORSO)
    body.limb(joints["left_shoulder"], joints["right_shoulder"], 0.034 * height, shirt, part=classes.TORSO)
    body.limb(chest, head, 0.028 * height, skin, part=classes.HEAD)
    body.ball(head, (0.048 * height, 0.068 * height, 0.056 * height), skin, part=classes.HEAD)
    back = joints["crown"]
    body.ball(back, (0.053 * height, 0.058 * height, 0.052 * height), hair, part=classes.HEAD)


def _joints(pose: Pose, height: float) -> dict[str, Point]:
    """Joint positions in the figure's frame, metres."""
    pelvis = (0.0, pose.hips, 0.0)
    up = (0.0, math.cos(pose.lean), -math.sin(pose.lean))
    chest = _along(pelvis, up, _TRUNK)
    neck_up = (0.0, math.cos(pose.lean / 2), -math.sin(pose.lean / 2))
    head = _along(chest, neck_up, _NECK)
    joints = {"pelvis": pelvis, "chest": chest, "head": head}
    c, s = math.cos(pose.look), math.sin(pose.look)
    face = {
        "nose": (0.0, -0.006, -0.062),
        "left_eye": (0.022, 0.014, -0.048),
        "right_eye": (-0.022, 0.014, -0.048),
        "left_ear": (0.049, 0.0, 0.004),
        "right_ear": (-0.049, 0.0, 0.004),
        "crown": (0.0, 0.022, 0.016),
    }
    for name, (x, y, z) in face.items():
        joints[name] = (head[0] + c * x - s * z, head[1] + y, head[2] + s * x + c * z)
    for side, sign, arm, leg in (
        ("left", 1.0, pose.arms[0], pose.legs[0]),
        ("right", -1.0, pose.arms[1], pose.legs[1]),
    ):
        shoulder = (chest[0] + sign * _SHOULDER, chest[1] - 0.02, chest[2])
        hip = (sign * _HIP_HALF, pose.hips, 0.0)
        elbow = _along(shoulder, _hang(sign * arm.out, arm.swing), _UPPER_ARM)
        wrist = _along(elbow, _hang(sign * arm.out, arm.swing + arm.bend), _LOWER_ARM * 0.8)
        knee = _along(hip, _hang(sign * leg.out, leg.swing), _THIGH)
        ankle = _along(knee, _hang(sign * leg.out * 0.5, leg.swing - leg.bend), _SHIN)
        toe = _along(ankle, (0.0, -0.05, -1.0), 0.075)
        limbs = {
            "shoulder": shoulder,
            "elbow": elbow,
            "wrist": wrist,
            "hip": hip,
            "knee": knee,
            "ankle": ankle,
            "toe": toe,
        }
        joints.update({f"{side}_{name}": point for name, point in limbs.items()})
    return {name: (x * height, y * height, z * height) for name, (x, y, z) in joints.items()}


def _hang(out: float, swing: float) -> Point:
    """Direction of a limb that hangs down, then swings forward and away from the body."""
    return (math.sin(out), -math.cos(out) * math.cos(swing), -math.cos(out) * math.sin(swing))


def _along(start: Point, direction: Point, length: float) -> Point:
    return (start[0] + direction[0] * length, start[1] + direction[1] * length, start[2] + direction[2] * length)


def _beyond(start: Point, end: Point, factor: float) -> Point:
    """The point at ``factor`` times the way from start to end."""
    return _along(start, (end[0] - start[0], end[1] - start[1], end[2] - start[2]), factor)
