"""Where things stand: rooms for the indoor domain, courtyards and streets for the outdoor one."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from datasets.procedural import classes
from datasets.procedural.draws import chance, pick, span, whole
from datasets.procedural.figures import add_figure, sitting, standing
from datasets.procedural.furniture import Workshop
from datasets.procedural.materials import Palette
from datasets.procedural.raster import Camera
from datasets.procedural.scene import Frame, Material, Scene


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


@dataclass(frozen=True)
class Bounds:
    """The free ground: x from left to right and z up to back, metres; height of the walls."""

    left: float
    right: float
    back: float
    height: float


class Stage:
    """Finds free spots on the ground that the camera sees."""

    def __init__(self, bounds: Bounds, camera: Camera, rng: np.random.Generator) -> None:
        """Set the free ground, the view and the generator."""
        self.bounds = bounds
        self._camera = camera
        self._rng = rng
        self._taken: list[tuple[float, float, float]] = []
        self._half_view = math.atan(camera.size[1] / 2 / camera.focal)

    def claim(self, x: float, z: float, radius: float) -> bool:
        """Reserve a disc; False, without effect, if it meets another one or comes too close to the camera."""
        clash = any(math.hypot(x - a, z - b) < radius + r for a, b, r in self._taken)
        if clash or math.hypot(x, z) < 1.2 + radius:
            return False
        self._taken.append((x, z, radius))
        return True

    def spot(self, radius: float, near: float, far: float) -> tuple[float, float] | None:
        """Reserve a random visible disc whose centre is near..far metres away; None if none was found."""
        rng, bounds = self._rng, self.bounds
        for _ in range(10):
            angle = self._camera.yaw + self._half_view * span(rng, -0.85, 0.85)
            distance = span(rng, near, far)
            x, z = distance * math.sin(angle), distance * math.cos(angle)
            inside = bounds.left + radius < x < bounds.right - radius and z < bounds.back - radius
            if inside and self.claim(x, z, radius):
                return x, z
        return None

    def by_wall(self, half_width: float, half_depth: float) -> Frame | None:
        """Reserve a place with its back to a wall; None if none was found."""
        rng, bounds = self._rng, self.bounds
        for _ in range(6):
            side = rng.random()
            gap = half_depth + 0.03
            if side < 0.5:
                frame = Frame(span(rng, bounds.left + half_width, bounds.right - half_width), 0.0, bounds.back - gap)
            elif side < 0.75:
                frame = Frame(bounds.left + gap, 0.0, span(rng, 2.0, bounds.back - half_width), -math.pi / 2)
            else:
                frame = Frame(bounds.right - gap, 0.0, span(rng, 2.0, bounds.back - half_width), math.pi / 2)
            bearing = math.atan2(frame.x, frame.z) - self._camera.yaw
            if abs(bearing) < self._half_view and self.claim(frame.x, frame.z, max(half_width, half_depth) * 0.9):
                return frame
        return None


class Furnisher:
    """Fills a stage with furniture and people."""

    def __init__(
        self, scene: Scene, palette: Palette, stage: Stage, rng: np.random.Generator, *, outdoor: bool
    ) -> None:
        """Set what to add to, the source of materials, the free ground, the generator and the domain."""
        self._scene, self._palette, self._stage, self._rng = scene, palette, stage, rng
        self._workshop = Workshop(scene, palette, rng, outdoor=outdoor)
        self._outdoor = outdoor
        self._near, self._far = (3.0, 9.0) if outdoor else (2.0, 5.5)

    def fill(self) -> None:
        """Add a random set of objects; a kind that finds no free spot is left out."""
        rng = self._rng
        for probability, add in (
            (0.55, self._dining),
            (0.5, self._person),
            (0.4, self._bed),
            (0.6, self._cabinet),
            (0.45, self._cabinet),
            (0.5, self._person),
            (0.45, self._lone_seat),
            (0.55, self._lamp),
            (0.6, self._plant),
            (0.5, self._ball),
            (0.35, self._plant),
            (0.3, self._ball),
            (0.25, self._person),
        ):
            if chance(rng, probability):
                add()

    def _dining(self) -> None:
        rng, workshop = self._rng, self._workshop
        wide, deep = span(rng, 0.35, 0.8), span(rng, 0.3, 0.5)
        place = self._stage.spot(max(wide, deep) + 0.35, self._near, self._far)
        if place is None:
            return
        yaw = span(rng, 0.0, 2 * math.pi)
        frame = Frame(place[0], 0.0, place[1], yaw)
        top = workshop.table(frame, wide, deep)
        for side in range(4):
            reach = (deep if side % 2 == 0 else wide) + span(rng, 0.1, 0.3)
            if (side % 2 == 0 or not self._outdoor) and chance(rng, 0.45):
                turn = side * math.pi / 2
                x, _, z = frame.point((reach * math.sin(turn), 0.0, reach * math.cos(turn)))
                self._seat(Frame(x, 0.0, z, yaw + turn), 0.3)
        if chance(rng, 0.6):
            x, y, z = frame.point((span(rng, -0.5, 0.5) * wide, top, span(rng, -0.5, 0.5) * deep))
            on_top = Frame(x, y, z)
            kind = rng.random()
            if kind < 0.4:
                workshop.ball(on_top, span(rng, 0.07, 0.14))
            elif kind < 0.7 and not self._outdoor:
                workshop.plant(on_top, span(rng, 0.3, 0.5))
            elif not self._outdoor:
                workshop.lamp(on_top, small=True)

    def _lone_seat(self) -> None:
        place = self._stage.spot(0.4, self._near, self._far)
        if place is not None:
            self._seat(Frame(place[0], 0.0, place[1], self._facing(place, 1.2)), 0.45)

    def _seat(self, frame: Frame, occupied: float) -> None:
        rng = self._rng
        seat = self._workshop.seat(frame)
        if not chance(rng, occupied):
            return
        height = span(rng, 1.5, 1.9)
        x, y, z = frame.point((span(rng, -0.3, 0.3) if self._outdoor else 0.0, 0.0, 0.02))
        pose = sitting(rng, seat / height)
        add_figure(self._scene, Frame(x, y, z, frame.yaw), height, pose, self._palette, rng)

    def _person(self) -> None:
        rng = self._rng
        place = self._stage.spot(0.3, self._near, self._far * 0.85)
        if place is None:
            return
        frame = Frame(place[0], 0.0, place[1], self._facing(place, 2.0))
        height = span(rng, 1.05, 1.4) if chance(rng, 0.2) else span(rng, 1.5, 1.95)
        add_figure(self._scene, frame, height, standing(rng), self._palette, rng)

    def _facing(self, place: tuple[float, float], spread: float) -> float:
        """A yaw that turns an object's front roughly to the camera."""
        return math.atan2(place[0], place[1]) + span(self._rng, -spread, spread)

    def _bed(self) -> None:
        rng = self._rng
        wide, long = span(rng, 0.45, 0.85), span(rng, 0.9, 1.05)
        frame = self._stage.by_wall(wide, long)
        if frame is not None:
            self._workshop.bed(frame, wide, long)

    def _cabinet(self) -> None:
        rng = self._rng
        wide, deep = span(rng, 0.3, 0.75), span(rng, 0.2, 0.35)
        frame = self._stage.by_wall(wide, deep)
        if self._outdoor and chance(rng, 0.5):
            place = self._stage.spot(wide, self._near, self._far)
            frame = None if place is None else Frame(place[0], 0.0, place[1], self._facing(place, 1.0))
        if frame is None:
            return
        top = self._workshop.cabinet(frame, wide, deep)
        if not self._outdoor and top < 1.3 and chance(rng, 0.5):
            above = Frame(frame.x, top, frame.z, frame.yaw)
            if chance(rng, 0.5):
                self._workshop.plant(above, span(rng, 0.3, 0.55))
            else:
                self._workshop.lamp(above, small=True)

    def _lamp(self) -> None:
        place = self._stage.spot(0.25, self._near + 0.5, self._far)
        if place is not None:
            self._workshop.lamp(Frame(place[0], 0.0, place[1], span(self._rng, 0.0, 6.0)))

    def _plant(self) -> None:
        rng = self._rng
        height = span(rng, 2.4, 4.5) if self._outdoor else span(rng, 0.6, 1.7)
        place = self._stage.spot(0.2 * height, self._near + (1.5 if self._outdoor else 0.3), self._far + 2.0)
        if place is not None:
            self._workshop.plant(Frame(place[0], 0.0, place[1], span(rng, 0.0, 6.0)), height)

    def _ball(self) -> None:
        rng = self._rng
        radius = span(rng, 0.12, 0.34)
        place = self._stage.spot(radius, self._near - 0.3, self._far * 0.8)
        if place is not None:
            self._workshop.ball(Frame(place[0], 0.0, place[1], span(rng, 0.0, 6.0)), radius)


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
