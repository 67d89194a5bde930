"""The places: rooms for the indoor domain, courtyards and streets for the outdoor one."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from fmtl_datasets.sources.procedural import classes
from fmtl_datasets.sources.procedural.draws import chance, pick, span, whole
from fmtl_datasets.sources.procedural.furnish import Bounds, Furnisher, Stage
from fmtl_datasets.sources.procedural.materials import Palette
from fmtl_datasets.sources.procedural.raster import Camera
from fmtl_datasets.sources.procedural.scene import Frame, Material, Scene


@dataclass(frozen=True)
class Light:
    """Illumination of a scene.

    Attributes:
        position: world position of the lamp or the sun, metres.
        strength: share of direct light; the rest is ambient.
        colour: RGB factor of the direct light.
        haze: RGB colour of the haze.
        clear: distance in metres over which haze takes 63 % of the contrast.
    """

    position: tuple[float, float, float]
    strength: float
    colour: tuple[float, float, float]
    haze: tuple[float, float, float]
    clear: float


def draw_scene(domain: str, rng: np.random.Generator, size: tuple[int, int]) -> tuple[Scene, Camera, Light]:
    """Draw a whole scene.

    Args:
        domain: "indoor" or "outdoor".
        rng: the only source of randomness.
        size: image height and width in pixels; it scales the view but does not change the scene.

    Returns:
        Scene, camera and light.
    """
    outdoor = domain == "outdoor"
    palette = Palette(domain, rng)
    scene = Scene(_sky(palette, rng))
    view = math.radians(span(rng, 56.0, 70.0))
    pitch = span(rng, -0.02, 0.16) if outdoor else span(rng, 0.04, 0.26)
    focal = size[1] / 2 / math.tan(view / 2)
    camera = Camera(span(rng, 1.25, 1.75), span(rng, -0.4, 0.4), pitch, focal, size)
    bounds = _courtyard(scene, palette, rng) if outdoor else _room(scene, palette, rng)
    Furnisher(scene, palette, Stage(bounds, camera, rng), rng, outdoor=outdoor).fill()
    return scene, camera, _light(bounds, rng, outdoor=outdoor)


def _sky(palette: Palette, rng: np.random.Generator) -> Material:
    colour = palette.colour(classes.OVERHEAD)
    f = span(rng, 2.0, 5.0)
    return Material(
        colour,
        (0.9, 0.92, 0.94),
        (f, f * 2, 0.0),
        (-f, f * 3, 0.0),
        (0.4, 0.5, 0.0, 0.0),
        1.2,
        2.5,
        span(rng, -0.2, 1.0),
    )


def _light(bounds: Bounds, rng: np.random.Generator, *, outdoor: bool) -> Light:
    if outdoor:
        turn, rise = span(rng, 0.0, 2 * math.pi), span(rng, 0.4, 1.3)
        sun = (90 * math.cos(rise) * math.cos(turn), 90 * math.sin(rise), 90 * math.cos(rise) * math.sin(turn))
        grey = span(rng, 0.6, 0.85)
        return Light(
            sun, span(rng, 0.35, 0.75), (1.05, 1.0, 0.94), (grey, grey + 0.03, grey + 0.08), span(rng, 20.0, 90.0)
        )
    place = (span(rng, bounds.left, bounds.right) * 0.8, bounds.height - 0.25, span(rng, 0.1, 0.8) * bounds.back)
    return Light(place, span(rng, 0.4, 0.75), (1.12, 0.98, 0.80), (0.5, 0.42, 0.32), 60.0)


def _room(scene: Scene, palette: Palette, rng: np.random.Generator) -> Bounds:
    width, share = span(rng, 3.8, 6.8), span(rng, 0.3, 0.7)
    bounds = Bounds(-width * share, width * (1 - share), span(rng, 4.2, 7.5), span(rng, 2.35, 3.0))
    wall = palette.material(classes.WALL, 1.5) if chance(rng, 0.6) else palette.plain(classes.WALL)
    accent = palette.material(classes.WALL, 1.5) if chance(rng, 0.3) else wall
    ceiling = palette.plain(classes.OVERHEAD)
    x, y, z = (1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0)
    origin = Frame(0.0, 0.0, 0.0)
    scene.body(classes.FLOOR, origin).plane((x, y, z), (0.0, 0.0, 0.0), palette.ground(classes.FLOOR))
    scene.body(classes.OVERHEAD, origin).plane((x, y, z), (0.0, bounds.height, 0.0), ceiling)
    scene.body(classes.WALL, origin).plane((y, x, z), (bounds.left, 0.0, 0.0), wall)
    scene.body(classes.WALL, origin).plane((y, x, z), (bounds.right, 0.0, 0.0), wall)
    scene.body(classes.WALL, origin).plane((x, z, y), (0.0, 0.0, bounds.back), accent)
    if chance(rng, 0.7):
        at = Frame(span(rng, bounds.left + 0.8, bounds.right - 0.8), 0.0, bounds.back)
        _opening(scene, palette, at, rng)
    if chance(rng, 0.6):
        left = chance(rng, 0.5)
        x_wall, yaw = (bounds.left, -math.pi / 2) if left else (bounds.right, math.pi / 2)
        _opening(scene, palette, Frame(x_wall, 0.0, span(rng, 2.0, bounds.back - 0.8), yaw), rng)
    if chance(rng, 0.55):
        rug = scene.body(classes.COVER, Frame(span(rng, -1.0, 1.0), 0.0, span(rng, 2.2, 4.0), span(rng, -0.4, 0.4)))
        if chance(rng, 0.3):
            rug.cylinder((0.0, 0.008, 0.0), span(rng, 0.7, 1.2), 0.008, palette.ground(classes.COVER))
        else:
            rug.box((0.0, 0.008, 0.0), (span(rng, 0.7, 1.5), 0.008, span(rng, 0.6, 1.1)), palette.ground(classes.COVER))
    return bounds


def _opening(scene: Scene, palette: Palette, at: Frame, rng: np.random.Generator) -> None:
    """A door, or a window with a frame and a bar, on the wall behind ``at``."""
    body = scene.body(classes.OPENING, at)
    pane = palette.plain(classes.OPENING)
    if chance(rng, 0.45):
        body.box((0.0, 1.02, 0.0), (span(rng, 0.4, 0.55), 1.02, 0.04), palette.material(classes.OPENING, 1.5))
        return
    half = (span(rng, 0.4, 0.9), span(rng, 0.4, 0.65))
    body.box((0.0, 1.5, 0.0), (half[0], half[1], 0.02), pane)
    trim = palette.plain(pick(rng, (classes.OPENING, classes.WALL)))
    for y in (-half[1], half[1]):
        body.box((0.0, 1.5 + y, 0.0), (half[0] + 0.04, 0.04, 0.05), trim)
    for x in (-half[0], 0.0, half[0]):
        body.box((x, 1.5, 0.0), (0.03, half[1], 0.05), trim)


def _courtyard(scene: Scene, palette: Palette, rng: np.random.Generator) -> Bounds:
    street = chance(rng, 0.5)
    near, far = (2.5, 5.0) if street else (4.0, 7.5)
    back = span(rng, 14.0, 28.0) if street else span(rng, 8.5, 14.0)
    bounds = Bounds(-span(rng, near, far), span(rng, near, far), back, 6.0)
    axes = ((1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0))
    ground = palette.ground(classes.FLOOR)
    scene.body(classes.FLOOR, Frame(0.0, 0.0, 0.0)).plane(axes, (0.0, 0.0, 0.0), ground)
    # No view turns far enough to see the side fronts nearer than 0.6 times their distance.
    for x, yaw in ((bounds.left, -math.pi / 2), (bounds.right, math.pi / 2)):
        start = 0.6 * abs(x)
        cuts = [start, *sorted(span(rng, start + 2.0, back - 2.0) for _ in range(whole(rng, 1, 2))), back]
        for low, high in zip(cuts[:-1], cuts[1:], strict=True):
            set_back = Frame(x + math.copysign(span(rng, 0.0, 0.6), x), 0.0, (low + high) / 2, yaw)
            _facade(scene, palette, set_back, (high - low) / 2, rng)
    cut = span(rng, -3.0, 3.0)
    for start, end in ((-14.0, cut), (cut, 14.0)):
        _facade(scene, palette, Frame((start + end) / 2, 0.0, back + span(rng, 0.0, 1.0)), (end - start) / 2, rng)
    for k in range(whole(rng, 0, 2)):
        x, z = span(rng, -0.8, 0.8) * bounds.right, span(rng, 4.0, min(10.0, back - 2))
        lawn = scene.body(classes.COVER, Frame(x, 0.0, z, span(rng, -0.2, 0.2)))
        # Lawns of one height would leave it to rounding which one shows where they overlap.
        high = 0.012 + 0.006 * k
        half = (span(rng, 0.8, 2.2), high, span(rng, 1.0, 2.5))
        lawn.box((0.0, high, 0.0), half, palette.ground(classes.COVER))
    return bounds


def _facade(scene: Scene, palette: Palette, at: Frame, half: float, rng: np.random.Generator) -> None:
    """A building front of half width ``half`` with doors and windows; the wall lies at +z of ``at``."""
    height = span(rng, 2.6, 6.5)
    body = scene.body(classes.WALL, at)
    body.box((0.0, height / 2, 0.31), (half, height / 2, 0.31), palette.material(classes.WALL, 1.6))
    pane, door = palette.plain(classes.OPENING), palette.plain(classes.OPENING)
    step = span(rng, 1.6, 2.6)
    half_width, half_height = span(rng, 0.35, 0.6), span(rng, 0.4, 0.7)
    # At most five openings a floor, spread around the middle, keep a long front cheap to draw.
    count = min(5, int(2 * half / step))
    entrance = whole(rng, 0, count) if chance(rng, 0.8) else -1
    for k in range(count):
        x = -half + step * (k + 0.5) + (2 * half - step * count) / 2
        for floor in range(2 if height > 4.6 else 1):
            opening = scene.body(classes.OPENING, at)
            if k == entrance and floor == 0:
                opening.box((x, 1.05, 0.0), (0.5, 1.05, 0.05), door)
            else:
                opening.box((x, 1.6 + 2.3 * floor, 0.0), (half_width, half_height, 0.03), pane)
