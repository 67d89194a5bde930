"""Ray casting of a scene's primitives into per-pixel buffers (a z-buffer in pure numpy).

Camera frame: x right, y down, z forward. Rays have z = 1, so the ray parameter is the depth.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from datasets.procedural.scene import BALL, BOX, CAPSULE, CYLINDER, F32, I32, PLANE, Primitives

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

    Args:
        primitives: the scene; row 0 is the sky.
        camera: the view.

    Returns:
        The buffers from which image and labels derive.
    """
    rotation = camera.rotation()
    axes: F32 = primitives.axes @ rotation.T
    centre: F32 = (primitives.centre - camera.position()) @ rotation.T
    to_unit = axes / primitives.size[:, :, None]
    origin = -np.einsum("nij,nj->ni", to_unit, centre)
    windows = _windows(primitives, axes, centre, camera)
    columns, rows = camera.columns(), camera.rows()
    depth = np.full(camera.size, np.inf, dtype=np.float32)
    seen = np.zeros(camera.size, dtype=np.int32)
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        for n in range(1, len(windows)):
            top, bottom, left, right = windows[n]
            if top >= bottom or left >= right:
                continue
            m = to_unit[n]
            across = m[:, 0, None] * columns[left:right]
            down = m[:, 1, None] * rows[top:bottom] + m[:, 2, None]
            ray = across[:, None, :] + down[:, :, None]
            hit = _INTERSECT[int(primitives.kind[n])](origin[n], ray, float(primitives.length[n]))
            window = depth[top:bottom, left:right]
            nearer = (hit > NEAR) & (hit < window)
            np.copyto(window, hit, where=nearer)
            np.copyto(seen[top:bottom, left:right], np.int32(n), where=nearer)
    depth[seen == 0] = 0.0
    return _surfaces(primitives, to_unit, origin, camera, (seen, depth))


def _windows(primitives: Primitives, axes: F32, centre: F32, camera: Camera) -> list[list[int]]:
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
    bounds: list[list[int]] = limits.astype(np.int64).tolist()
    return bounds


def _hit_plane(o: F32, d: F32, _: float) -> F32:
    hit: F32 = -o[1] / d[1]
    return hit


def _hit_box(o: F32, d: F32, _: float) -> F32:
    inverse = 1.0 / d
    middle = -o[:, None, None] * inverse
    half = np.abs(inverse)
    enter: F32 = (middle - half).max(axis=0)
    leave = (middle + half).min(axis=0)
    enter[~(enter <= leave)] = np.inf
    return enter


def _hit_ball(o: F32, d: F32, _: float) -> F32:
    a = (d * d).sum(axis=0)
    b = d[0] * o[0] + d[1] * o[1] + d[2] * o[2]
    under = b * b - a * (float(o @ o) - 1.0)
    hit: F32 = -(b + np.sqrt(under)) / a
    return hit


def _hit_cylinder(o: F32, d: F32, _: float) -> F32:
    a = d[0] * d[0] + d[2] * d[2]
    b = d[0] * o[0] + d[2] * o[2]
    root = np.sqrt(b * b - a * float(o[0] * o[0] + o[2] * o[2] - 1.0))
    inverse = 1.0 / d[1]
    middle, half = -o[1] * inverse, np.abs(inverse)
    enter: F32 = np.maximum((-b - root) / a, middle - half)
    leave = np.minimum((-b + root) / a, middle + half)
    enter[~(enter <= leave)] = np.inf
    return enter


def _hit_capsule(o: F32, d: F32, length: float) -> F32:
    a = d[0] * d[0] + d[2] * d[2]
    b = d[0] * o[0] + d[2] * o[2]
    side = -(b + np.sqrt(b * b - a * float(o[0] * o[0] + o[2] * o[2] - 1.0))) / a
    side[~(np.abs(o[1] + side * d[1]) <= length)] = np.inf
    a = a + d[1] * d[1]
    for end in (-length, length):
        y = float(o[1]) - end
        half = b + d[1] * y
        under = half * half - a * float(o[0] * o[0] + o[2] * o[2] + y * y - 1.0)
        side = np.fmin(side, -(half + np.sqrt(under)) / a)
    return side


_INTERSECT: dict[int, Callable[[F32, F32, float], F32]] = {
    PLANE: _hit_plane,
    BOX: _hit_box,
    BALL: _hit_ball,
    CYLINDER: _hit_cylinder,
    CAPSULE: _hit_capsule,
}


def _surfaces(primitives: Primitives, to_unit: F32, origin: F32, camera: Camera, buffers: tuple[I32, F32]) -> Buffers:
    """Points and normals of the surfaces seen, computed once for all pixels."""
    seen, depth = buffers
    flat = seen.ravel()
    maps = np.take(np.ascontiguousarray(to_unit.reshape(-1, 9).T), flat, axis=1).reshape(3, 3, -1)
    x, y = np.broadcast_arrays(camera.columns()[None, :], camera.rows()[:, None])
    z = depth.ravel()
    px, py = x.ravel() * z, y.ravel() * z
    unit = maps[:, 0] * px + maps[:, 1] * py + maps[:, 2] * z + np.take(origin.T, flat, axis=1)
    gradient = _gradients(unit, primitives.kind[flat], primitives.length[flat])
    normal = (maps * gradient[:, None, :]).sum(axis=0)
    facing = normal[0] * px + normal[1] * py + normal[2] * z
    norm = np.sqrt((normal * normal).sum(axis=0))
    norm[norm == 0] = 1.0
    normal *= np.where(facing > 0, -1.0, 1.0).astype(np.float32) / norm
    normal[:, flat == 0] = 0.0
    local = unit * np.take(np.ascontiguousarray(primitives.size.T), flat, axis=1)
    shape = (3, *seen.shape)
    return Buffers(seen, depth, normal.reshape(shape), local.reshape(shape))


def _gradients(unit: F32, kind: I32, length: F32) -> F32:
    """Outward directions on the unit shapes at points of their surfaces, (3, pixels)."""
    out = np.zeros_like(unit)
    out[1, kind == PLANE] = 1.0
    at = np.flatnonzero(kind == BOX)
    points = unit[:, at]
    face = np.abs(points).argmax(axis=0)
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
