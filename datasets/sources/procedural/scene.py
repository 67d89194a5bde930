"""A scene as a list of primitives, built object by object in world coordinates.

World frame: x right, y up, z into the scene, metres. Every primitive is an affine image of a unit
shape (cube, ball, cylinder, capsule) or a plane, so one 3x4 map per primitive takes a world point to
the unit shape and serves intersection, normals and textures alike.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
from fmtl_datasets.sources.procedural import classes

F32 = npt.NDArray[np.float32]
I32 = npt.NDArray[np.int32]
Point = tuple[float, float, float]
Axes = tuple[Point, Point, Point]

SKY, PLANE, BOX, BALL, CYLINDER, CAPSULE = range(6)
"""Kinds of primitive. SKY has no surface: it fills the pixels nothing else covers."""


@dataclass(frozen=True)
class Material:
    """Look of a surface: two colours mixed by a solid texture of two sine waves.

    With s1 = sin(k1 . p) and s2 = sin(k2 . p + warp * s1) for a point p in object coordinates (metres),
    the mix is clip(sharp * (mix[0]*s1 + mix[1]*s2 + mix[2]*s1*s2 + mix[3]*min(s1, s2) - offset), -1, 1).
    """

    colour: Point
    second: Point
    k1: Point = (3.0, 0.0, 0.0)
    k2: Point = (0.0, 3.0, 1.0)
    mix: tuple[float, float, float, float] = (0.0, 0.15, 0.0, 0.0)
    sharp: float = 1.0
    warp: float = 1.0
    offset: float = 0.0
    glow: float = 0.0

    def row(self) -> tuple[float, ...]:
        """All numbers in the column order that ``shading`` reads."""
        return (
            *self.colour,
            *self.second,
            *self.k1,
            *self.k2,
            *self.mix,
            self.sharp,
            self.warp,
            self.offset,
            self.glow,
        )


@dataclass(frozen=True)
class Frame:
    """Position of an object's origin (metres) and its turn about the vertical (radians)."""

    x: float
    y: float
    z: float
    yaw: float = 0.0

    def point(self, local: Point) -> Point:
        """World position of a point given in this frame."""
        c, s = math.cos(self.yaw), math.sin(self.yaw)
        return (self.x + c * local[0] + s * local[2], self.y + local[1], self.z - s * local[0] + c * local[2])

    def axes(self) -> Axes:
        """The frame's three unit axes in world coordinates."""
        c, s = math.cos(self.yaw), math.sin(self.yaw)
        return ((c, 0.0, -s), (0.0, 1.0, 0.0), (s, 0.0, c))


@dataclass(frozen=True)
class Person:
    """The 17 keypoints of one figure in world coordinates and how deep each lies below the skin."""

    object_id: int
    points: tuple[Point, ...]
    slack: tuple[float, ...]


@dataclass(frozen=True)
class Shadow:
    """An object's footprint: centre on the ground, radius and height in metres."""

    x: float
    z: float
    radius: float
    height: float


@dataclass(frozen=True)
class Primitives:
    """All primitives of a scene as arrays; row 0 is the sky.

    Attributes:
        kind: (N,) int32, one of SKY..CAPSULE.
        axes: (N, 3, 3) float32, rows are the unit axes in world coordinates.
        size: (N, 3) float32, half extents along the axes in metres.
        centre: (N, 3) float32, world position in metres.
        length: (N,) float32, half length of a capsule's axis in units of its radius, else 0.
        object_id: (N,) int32, index into the scene's objects.
        part: (N,) int32, body part or 0.
        material: (N, 20) float32, rows of ``Material.row``.
    """

    kind: I32
    axes: F32
    size: F32
    centre: F32
    length: F32
    object_id: I32
    part: I32
    material: F32


@dataclass
class Scene:
    """Objects, figures and footprints drawn so far, and the primitives they consist of."""

    sky: Material
    categories: list[int] = field(default_factory=list)
    people: list[Person] = field(default_factory=list)
    shadows: list[Shadow] = field(default_factory=list)
    _kinds: list[tuple[int, int, int]] = field(default_factory=list)
    _numbers: list[tuple[float, ...]] = field(default_factory=list)
    _materials: list[tuple[float, ...]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.categories.append(classes.OVERHEAD)
        axes = ((1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0))
        self.append((SKY, 0, 0), axes, (0.0, 0.0, 0.0), (1.0, 1.0, 1.0, 0.0), self.sky)

    def body(self, category: int, frame: Frame) -> Body:
        """Begin a new object of a semantic class; its primitives are given in ``frame``."""
        self.categories.append(category)
        return Body(self, len(self.categories) - 1, frame)

    def append(
        self,
        kinds: tuple[int, int, int],
        axes: Axes,
        centre: Point,
        size: tuple[float, float, float, float],
        material: Material,
    ) -> None:
        """Add a primitive.

        Args:
            kinds: kind, object id and body part.
            axes: unit axes in world coordinates.
            centre: world position, metres.
            size: half extents along the axes in metres, then the relative half length of a capsule.
            material: its look.
        """
        self._kinds.append(kinds)
        self._numbers.append((*axes[0], *axes[1], *axes[2], *size, *centre))
        self._materials.append(material.row())

    def primitives(self) -> Primitives:
        """The primitives as arrays."""
        kinds = np.array(self._kinds, dtype=np.int32)
        numbers = np.array(self._numbers, dtype=np.float32)
        return Primitives(
            kind=kinds[:, 0],
            axes=numbers[:, :9].reshape(-1, 3, 3),
            size=numbers[:, 9:12],
            centre=numbers[:, 13:16],
            length=numbers[:, 12],
            object_id=kinds[:, 1],
            part=kinds[:, 2],
            material=np.array(self._materials, dtype=np.float32),
        )


@dataclass(frozen=True)
class Body:
    """One object under construction. Lengths in metres, positions in the object's frame."""

    scene: Scene
    object_id: int
    frame: Frame

    def plane(self, axes: Axes, point: Point, material: Material) -> None:
        """An endless plane through a world point; the second axis is its normal."""
        self.scene.append((PLANE, self.object_id, 0), axes, point, (1.0, 1.0, 1.0, 0.0), material)

    def box(self, centre: Point, half: Point, material: Material) -> None:
        """A box with half extents ``half`` along the frame's axes."""
        self._add(BOX, centre, half, material)

    def ball(self, centre: Point, radii: Point, material: Material, part: int = 0) -> None:
        """An ellipsoid with its radii along the frame's axes."""
        self._add(BALL, centre, radii, material, part)

    def cylinder(self, centre: Point, radius: float, half_height: float, material: Material) -> None:
        """An upright cylinder."""
        self._add(CYLINDER, centre, (radius, half_height, radius), material)

    def limb(self, start: Point, end: Point, radius: float, material: Material, *, part: int = 0) -> None:
        """A capsule (rounded rod) between two points."""
        a, b = self.frame.point(start), self.frame.point(end)
        delta = (b[0] - a[0], b[1] - a[1], b[2] - a[2])
        length = math.sqrt(delta[0] ** 2 + delta[1] ** 2 + delta[2] ** 2) + 1e-6
        along = (delta[0] / length, delta[1] / length, delta[2] / length)
        centre = ((a[0] + b[0]) / 2, (a[1] + b[1]) / 2, (a[2] + b[2]) / 2)
        size = (radius, radius, radius, length / 2 / radius)
        self.scene.append((CAPSULE, self.object_id, part), axes_along(along), centre, size, material)

    def footprint(self, radius: float, height: float) -> None:
        """Note where this object stands, so that it darkens the ground around it."""
        self.scene.shadows.append(Shadow(self.frame.x, self.frame.z, radius, height))

    def _add(self, kind: int, centre: Point, half: Point, material: Material, part: int = 0) -> None:
        place = self.frame.point(centre)
        self.scene.append((kind, self.object_id, part), self.frame.axes(), place, (*half, 0.0), material)


def axes_along(along: Point) -> Axes:
    """Three unit axes of which the second is the given unit vector."""
    x, y, z = along
    if abs(y) < 0.9:
        norm = math.hypot(x, z)
        first = (z / norm, 0.0, -x / norm)
    else:
        norm = math.hypot(y, z)
        first = (0.0, z / norm, -y / norm)
    third = (
        first[1] * z - first[2] * y,
        first[2] * x - first[0] * z,
        first[0] * y - first[1] * x,
    )
    return (first, along, third)
