"""Ray casting of a scene's primitives into per-pixel buffers (a z-buffer in pure numpy).

Camera frame: x right, y down, z forward. Rays have z = 1, so the ray parameter is the depth.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from fmtl_datasets.sources.procedural.scene import BALL, BOX, CAPSULE, CYLINDER, F32, I32, PLANE, Primitives

I64 = npt.NDArray[np.int64]

NEAR = 0.15
"""Surfaces nearer to the camera than this (metres along the optical axis) are not drawn."""


@dataclass(frozen=True)
class Camera:
    """A pinhole camera. Pixel (row i, column j) is seen through the point (j + 0.5, i + 0.5).

    Attributes:
        height: metres above the ground, over the world origin.
        yaw: turn to the right, radians.
        pitch: tilt downwards, radians.
        focal: focal length in pixels.
        size: image height and width in pixels.
    """

    height: float
    yaw: float
    pitch: float
    focal: float
    size: tuple[int, int]

    def rotation(self) -> F32:
        """(3, 3) rows right, down and forward of the camera in world coordinates."""
        cy, sy = math.cos(self.yaw), math.sin(self.yaw)
        cp, sp = math.cos(self.pitch), math.sin(self.pitch)
        rows = ((cy, 0.0, -sy), (-sp * sy, -cp, -sp * cy), (cp * sy, -sp, cp * cy))
        return np.array(rows, dtype=np.float32)

    def position(self) -> F32:
        """(3,) world position of the pinhole, metres."""
        return np.array((0.0, self.height, 0.0), dtype=np.float32)

    def columns(self) -> F32:
        """(W,) x components of the rays."""
        width = self.size[1]
        return ((np.arange(width, dtype=np.float32) + 0.5 - width / 2) / self.focal).astype(np.float32)

    def rows(self) -> F32:
        """(H,) y components of the rays."""
        height = self.size[0]
        return ((np.arange(height, dtype=np.float32) + 0.5 - height / 2) / self.focal).astype(np.float32)


@dataclass(frozen=True)
class Buffers:
    """What one rasterisation yields.

    Attributes:
        primitive: (H, W) int32, row of the primitive seen in each pixel, 0 is the sky.
        depth: (H, W) float32, metres along the optical axis, 0 in the sky.
        normals: (3, H, W) float32, unit vectors in the camera frame with normal . ray < 0, 0 in the sky.
        local: (3, H, W) float32, the seen point in coordinates of its primitive, metres.
    """

    primitive: I32
    depth: F32
    normals: F32
    local: F32


def rasterise(primitives: Primitives, camera: Camera) -> Buffers:
    """Find the nearest surface in every pixel.

    All primitives of a kind are met with all pixels of their windows in one go: a scene has dozens of small
    primitives, and one array operation over all of them costs far less than one per primitive.

    Args:
        primitives: the scene; row 0 is the sky.
        camera: the view.

    Returns:
        The buffers from which image and labels derive.
    """
    rotation = camera.rotation()
    axes: F32 = primitives.axes @ rotation.T
    centre = ((primitives.centre - camera.position()) @ rotation.T).astype(np.float32, copy=False)
    to_unit = axes / primitives.size[:, :, None]
    origin = -np.einsum("nij,nj->ni", to_unit, centre)
    view = _View(to_unit, origin, primitives.length, _windows(primitives, axes, centre, camera))
    canvas = _Canvas(camera)
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        for row in np.flatnonzero(primitives.kind == PLANE):
            canvas.add_plane(int(row), to_unit[row, 1], float(origin[row, 1]))
        for kind, intersect in _INTERSECT.items():
            canvas.add(view, np.flatnonzero(primitives.kind == kind), intersect)
    canvas.depth[canvas.seen == 0] = 0.0
    return _surfaces(primitives, view, canvas)


@dataclass(frozen=True)
class _View:
    """The primitives as the camera sees them.

    Attributes:
        to_unit: (N, 3, 3) maps from camera coordinates to the unit shapes.
        origin: (N, 3) the pinhole in coordinates of the unit shapes.
        length: (N,) half lengths of the capsules.
        windows: (N, 4) top, bottom, left and right pixel bounds.
    """

    to_unit: F32
    origin: F32
    length: F32
    windows: I64


class _Canvas:
    """The z-buffer: depth and primitive of the nearest surface so far, over the flattened pixels."""

    def __init__(self, camera: Camera) -> None:
        self.size = camera.size
        x, y = np.broadcast_arrays(camera.columns()[None, :], camera.rows()[:, None])
        self.x, self.y = x.ravel(), y.ravel()
        self.depth = np.full(self.x.shape, np.inf, dtype=np.float32)
        self.seen = np.zeros(self.x.shape, dtype=np.int32)

    def add_plane(self, row: int, normal: F32, offset: float) -> None:
        hit = -offset / (normal[0] * self.x + normal[1] * self.y + normal[2])
        nearer = (hit > NEAR) & (hit < self.depth)
        np.copyto(self.depth, hit, where=nearer)
        np.copyto(self.seen, np.int32(row), where=nearer)

    def add(self, view: _View, rows: I64, intersect: Callable[[F32, F32, F32], F32]) -> None:
        """Add the given primitives, all of one kind."""
        top, bottom, left, right = view.windows[rows].T
        width = np.maximum(right - left, 0)
        area = np.maximum(bottom - top, 0) * width
        which = np.repeat(np.arange(rows.size), area)
        place = np.arange(which.size) - np.repeat(np.cumsum(area) - area, area)
        line = place // width[which]
        pixel = (top * self.size[1] + left)[which] + line * self.size[1] + (place - line * width[which])
        m = np.ascontiguousarray(view.to_unit[rows].transpose(1, 2, 0)).reshape(9, -1).take(which, axis=1)
        x, y = self.x[pixel], self.y[pixel]
        ray = np.stack((m[0] * x + m[1] * y + m[2], m[3] * x + m[4] * y + m[5], m[6] * x + m[7] * y + m[8]))
        origin = np.ascontiguousarray(view.origin[rows].T).take(which, axis=1)
        hit = intersect(origin, ray, view.length[rows][which])
        kept = np.flatnonzero((hit > NEAR) & (hit < self.depth[pixel]))
        # Of several values for one pixel numpy keeps the last, so the nearest must be written last.
        # Positive floats order like their bits, and plain integers sort several times faster than an argsort.
        keys = (hit[kept].view(np.int32).astype(np.int64) << 32) | kept
        kept = (np.sort(keys) & 0xFFFFFFFF)[::-1]
        self.depth[pixel[kept]] = hit[kept]
        self.seen[pixel[kept]] = rows[which[kept]]


def _windows(primitives: Primitives, axes: F32, centre: F32, camera: Camera) -> I64:
    """Pixel bounds (top, bottom, left, right) of each primitive's projected bounding box."""
    signs = np.array([[x, y, z] for x in (-1, 1) for y in (-1, 1) for z in (-1, 1)], dtype=np.float32)
    reach = primitives.size.copy()
    reach[:, 1] *= 1 + primitives.length
    corners = np.einsum("ks,ns,nsj->nkj", signs, reach, axes) + centre[:, None, :]
    z = np.maximum(corners[:, :, 2], 1e-3)
    height, width = camera.size
    u = corners[:, :, 0] / z * camera.focal + width / 2
    v = corners[:, :, 1] / z * camera.focal + height / 2
    limits = np.stack((np.floor(v.min(1)), np.ceil(v.max(1)), np.floor(u.min(1)), np.ceil(u.max(1))), axis=1)
    # A bounding box that reaches behind the near plane has no bounded projection.
    whole = corners[:, :, 2].min(1) < NEAR
    limits[whole] = (0, height, 0, width)
    limits[corners[:, :, 2].max(1) < NEAR] = 0
    limits[primitives.kind == PLANE] = (0, height, 0, width)
    limits[:, :2] = limits[:, :2].clip(0, height)
    limits[:, 2:] = limits[:, 2:].clip(0, width)
    return limits.astype(np.int64)


def _hit_box(o: F32, d: F32, _: F32) -> F32:
    inverse = 1.0 / d
    middle, half = -o * inverse, np.abs(inverse)
    low, high = middle - half, middle + half
    enter: F32 = np.maximum(np.maximum(low[0], low[1]), low[2])
    enter[~(enter <= np.minimum(np.minimum(high[0], high[1]), high[2]))] = np.inf
    return enter


def _hit_ball(o: F32, d: F32, _: F32) -> F32:
    a = d[0] * d[0] + d[1] * d[1] + d[2] * d[2]
    b = d[0] * o[0] + d[1] * o[1] + d[2] * o[2]
    c = o[0] * o[0] + o[1] * o[1] + o[2] * o[2] - 1.0
    hit: F32 = -(b + np.sqrt(b * b - a * c)) / a
    return hit


def _hit_cylinder(o: F32, d: F32, _: F32) -> F32:
    a = d[0] * d[0] + d[2] * d[2]
    b = d[0] * o[0] + d[2] * o[2]
    root = np.sqrt(b * b - a * (o[0] * o[0] + o[2] * o[2] - 1.0))
    inverse = 1.0 / d[1]
    middle, half = -o[1] * inverse, np.abs(inverse)
    enter: F32 = np.maximum((-b - root) / a, middle - half)
    enter[~(enter <= np.minimum((-b + root) / a, middle + half))] = np.inf
    return enter


def _hit_capsule(o: F32, d: F32, length: F32) -> F32:
    a = d[0] * d[0] + d[2] * d[2]
    b = d[0] * o[0] + d[2] * o[2]
    c = o[0] * o[0] + o[2] * o[2] - 1.0
    hit: F32 = -(b + np.sqrt(b * b - a * c)) / a
    hit[~(np.abs(o[1] + hit * d[1]) <= length)] = np.inf
    a = a + d[1] * d[1]
    for y in (o[1] + length, o[1] - length):
        half = b + d[1] * y
        hit = np.fmin(hit, -(half + np.sqrt(half * half - a * (c + y * y))) / a)
    return hit


_INTERSECT: dict[int, Callable[[F32, F32, F32], F32]] = {
    BOX: _hit_box,
    BALL: _hit_ball,
    CYLINDER: _hit_cylinder,
    CAPSULE: _hit_capsule,
}
"""Depths at which rays d from o enter the unit shapes, (n,); inf or nan where they miss."""


def _surfaces(primitives: Primitives, view: _View, canvas: _Canvas) -> Buffers:
    """Points and normals of the surfaces seen, computed once for all pixels."""
    flat, z = canvas.seen, canvas.depth
    maps = np.ascontiguousarray(view.to_unit.reshape(-1, 9).T).take(flat, axis=1, mode="clip").reshape(3, 3, -1)
    px, py = canvas.x * z, canvas.y * z
    origin = np.ascontiguousarray(view.origin.T).take(flat, axis=1, mode="clip")
    unit = np.stack([maps[k, 0] * px + maps[k, 1] * py + maps[k, 2] * z + origin[k] for k in range(3)])
    gradient = _gradients(unit, primitives.kind[flat], primitives.length[flat])
    normal = maps[0] * gradient[0] + maps[1] * gradient[1] + maps[2] * gradient[2]
    facing = normal[0] * px + normal[1] * py + normal[2] * z
    norm = np.sqrt(normal[0] * normal[0] + normal[1] * normal[1] + normal[2] * normal[2])
    norm[flat == 0] = np.inf
    normal /= np.copysign(norm, -facing)
    local = unit * np.ascontiguousarray(primitives.size.T).take(flat, axis=1, mode="clip")
    shape = (3, *canvas.size)
    return Buffers(flat.reshape(canvas.size), z.reshape(canvas.size), normal.reshape(shape), local.reshape(shape))


def _gradients(unit: F32, kind: I32, length: F32) -> F32:
    """Outward directions on the unit shapes at points of their surfaces, (3, pixels)."""
    out = np.zeros_like(unit)
    out[1] = kind == PLANE
    at = np.flatnonzero(kind == BOX)
    points = unit[:, at]
    size = np.abs(points)
    face = np.where(size[0] > size[1], np.where(size[0] > size[2], 0, 2), np.where(size[1] > size[2], 1, 2))
    out[face, at] = np.sign(points[face, np.arange(at.size)])
    at = np.flatnonzero(kind == BALL)
    out[:, at] = unit[:, at]
    at = np.flatnonzero(kind == CYLINDER)
    points = unit[:, at]
    cap = np.abs(points[1]) > np.hypot(points[0], points[2])
    out[0, at], out[2, at] = np.where(cap, 0, points[0]), np.where(cap, 0, points[2])
    out[1, at] = np.where(cap, np.sign(points[1]), 0)
    at = np.flatnonzero(kind == CAPSULE)
    points = unit[:, at]
    points[1] -= points[1].clip(-length[at], length[at])
    out[:, at] = points
    return out
