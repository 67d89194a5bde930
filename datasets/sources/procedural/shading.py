"""From buffers to an RGB image: textures, light, contact shadows, haze and the camera's imperfections."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
from fmtl_datasets.sources.procedural import classes
from fmtl_datasets.sources.procedural.draws import chance, span
from fmtl_datasets.sources.procedural.layout import Light
from fmtl_datasets.sources.procedural.raster import Buffers, Camera
from fmtl_datasets.sources.procedural.scene import F32, I32, Primitives, Scene


def shade(
    scene: Scene, primitives: Primitives, buffers: Buffers, camera: Camera, light: Light, *, rng: np.random.Generator
) -> npt.NDArray[np.uint8]:
    """Paint a rasterised scene.

    Args:
        scene: gives the footprints.
        primitives: gives the materials.
        buffers: what is seen where.
        camera: the view.
        light: the illumination.
        rng: draws exposure, tint, blur and noise.

    Returns:
        (3, H, W) uint8 RGB.
    """
    flat = buffers.primitive.ravel()
    depth = buffers.depth.ravel()
    sky = flat == 0
    x, y = np.broadcast_arrays(camera.columns()[None, :], camera.rows()[:, None])
    ray = np.stack((x.ravel(), y.ravel(), np.ones_like(depth)))
    points = ray * depth
    local = np.where(sky, ray, buffers.local.reshape(3, -1))
    table = np.ascontiguousarray(primitives.material.T)
    albedo = _albedo(table, flat, local, depth / camera.focal)
    glow = table[19][flat]
    lit = _irradiance(buffers.normals.reshape(3, -1), points, camera, light)
    lit *= _contact(scene, primitives, flat, points, camera, light)
    lit = np.where(sky | (glow > 0), np.maximum(lit, 1.0 + glow), lit)
    colour = albedo * lit
    haze = np.exp(-depth / light.clear)
    haze_colour = np.array(light.haze, dtype=np.float32)[:, None]
    colour = colour * haze + haze_colour * (1.0 - haze)
    return _develop(colour.reshape(3, *camera.size), rng)


def _albedo(table: F32, flat: I32, local: F32, footprint: F32) -> F32:
    """Mix of the two colours of each pixel's material, (3, pixels); see ``scene.Material``."""
    wave = table[6:19].take(flat, axis=1, mode="clip")
    s1 = np.sin(wave[0] * local[0] + wave[1] * local[1] + wave[2] * local[2])
    s2 = np.sin(wave[3] * local[0] + wave[4] * local[1] + wave[5] * local[2] + wave[11] * s1)
    mixed = wave[6] * s1 + wave[7] * s2 + wave[8] * s1 * s2 + wave[9] * np.minimum(s1, s2)
    mixed = (wave[10] * (mixed - table[18][flat])).clip(-1.0, 1.0)
    # A pattern finer than a pixel would alias, so it fades into its mean with distance.
    frequency = np.sqrt((table[6:9] ** 2).sum(axis=0) + (table[9:12] ** 2).sum(axis=0))[flat]
    cycles = np.square(frequency * footprint)
    mixed /= 1.0 + cycles * cycles
    share = 0.5 + 0.5 * mixed
    first, second = table[0:3].take(flat, axis=1, mode="clip"), table[3:6].take(flat, axis=1, mode="clip")
    albedo: F32 = first + (second - first) * share
    return albedo


def _irradiance(normals: F32, points: F32, camera: Camera, light: Light) -> F32:
    """Lambert's law with one light and a sky-like ambient term, (3, pixels)."""
    rotation = camera.rotation()
    lamp = rotation @ (np.array(light.position, dtype=np.float32) - camera.position())
    away = lamp[:, None] - points
    distance = np.sqrt((away * away).sum(axis=0))
    cosine = np.maximum((normals * away).sum(axis=0) / distance, 0.0)
    reach = np.float32(np.linalg.norm(lamp)) / distance
    direct = light.strength * 1.35 * cosine * np.minimum(reach, 1.8)
    up = normals[0] * rotation[0, 1] + normals[1] * rotation[1, 1] + normals[2] * rotation[2, 1]
    ambient = (1.05 - light.strength) * (0.85 + 0.25 * up) + 0.12
    tint = np.array(light.colour, dtype=np.float32)[:, None]
    irradiance: F32 = tint * direct + ambient
    return irradiance


def _contact(scene: Scene, primitives: Primitives, flat: I32, points: F32, camera: Camera, light: Light) -> F32:
    """Soft shadows on the ground around the objects' footprints, drawn out away from the light, (pixels,)."""
    factor = np.ones(flat.shape, dtype=np.float32)
    if not scene.shadows:
        return factor
    categories = np.array(scene.categories)[primitives.object_id]
    at = np.flatnonzero(((categories == classes.FLOOR) | (categories == classes.COVER))[flat])
    rotation = camera.rotation()
    seen = points[:, at]
    world_x = rotation[0, 0] * seen[0] + rotation[1, 0] * seen[1] + rotation[2, 0] * seen[2]
    world_z = rotation[0, 2] * seen[0] + rotation[1, 2] * seen[1] + rotation[2, 2] * seen[2]
    kept = np.ones(at.shape, dtype=np.float32)
    for shadow in scene.shadows:
        dx, dz = shadow.x - light.position[0], shadow.z - light.position[2]
        run = math.hypot(dx, dz) + 1e-6
        stretch = min(1.2, 0.5 * shadow.height * run / max(light.position[1], 0.5))
        ux, uz = dx / run, dz / run
        px = world_x - (shadow.x + ux * stretch * 0.6)
        pz = world_z - (shadow.z + uz * stretch * 0.6)
        along = (px * ux + pz * uz) / (shadow.radius + stretch)
        across = (px * uz - pz * ux) / shadow.radius
        kept *= 1.0 - 0.6 * light.strength / (1.0 + (along * along + across * across) ** 2)
    factor[at] = kept
    return factor


def _develop(colour: F32, rng: np.random.Generator) -> npt.NDArray[np.uint8]:
    """Exposure, tint, vignette, lens blur, sensor noise and quantisation."""
    tint = np.array([span(rng, 0.92, 1.08) for _ in range(3)], dtype=np.float32)
    exposure = span(rng, 0.72, 1.2)
    _, height, width = colour.shape
    rows = np.linspace(-1.0, 1.0, height, dtype=np.float32)[:, None] ** 2
    columns = np.linspace(-1.0, 1.0, width, dtype=np.float32)[None, :] ** 2
    vignette = 1.0 - span(rng, 0.0, 0.12) * (rows + columns)
    image = colour * (tint[:, None, None] * exposure * vignette)
    blur = span(rng, 0.08, 0.2)
    if chance(rng, 0.85):
        image[:, 1:-1] += blur * (image[:, 2:] + image[:, :-2] - 2 * image[:, 1:-1])
        image[:, :, 1:-1] += blur * (image[:, :, 2:] + image[:, :, :-2] - 2 * image[:, :, 1:-1])
    # Grain is shared by the three channels, as in a sensor's luminance noise.
    grain = rng.standard_normal(image.shape[1:], dtype=np.float32)
    image = image + np.float32(span(rng, 0.008, 0.025)) * grain
    quantised: npt.NDArray[np.uint8] = (image * 255.0).clip(0.0, 255.0).astype(np.uint8)
    return quantised
