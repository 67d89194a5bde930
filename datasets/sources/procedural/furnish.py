"""Fills the free ground of a scene with furniture and people."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from fmtl_datasets.sources.procedural.draws import chance, span
from fmtl_datasets.sources.procedural.figures import add_figure, sitting, standing
from fmtl_datasets.sources.procedural.furniture import Workshop
from fmtl_datasets.sources.procedural.materials import Palette
from fmtl_datasets.sources.procedural.raster import Camera
from fmtl_datasets.sources.procedural.scene import Frame, Scene


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
        self._near, self._far = (2.4, 7.0) if outdoor else (1.9, 5.0)

    def fill(self) -> None:
        """Add a random set of objects; a kind that finds no free spot is left out."""
        rng = self._rng
        for probability, add in (
            (0.55, self._dining),
            (0.65, self._person),
            (0.45, self._bed),
            (0.6, self._cabinet),
            (0.45, self._cabinet),
            (0.5, self._person),
            (0.45, self._lone_seat),
            (0.55, self._lamp),
            (0.6, self._plant),
            (0.5, self._ball),
            (0.35, self._plant),
            (0.3, self._ball),
            (0.3, self._person),
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
        add_figure(self._scene, Frame(x, y, z, frame.yaw), height, pose, palette=self._palette, rng=rng)

    def _person(self) -> None:
        rng = self._rng
        place = self._stage.spot(0.3, self._near, self._far * 0.75)
        if place is None:
            return
        frame = Frame(place[0], 0.0, place[1], self._facing(place, 2.0))
        height = span(rng, 1.05, 1.4) if chance(rng, 0.2) else span(rng, 1.5, 1.95)
        add_figure(self._scene, frame, height, standing(rng), palette=self._palette, rng=rng)

    def _facing(self, place: tuple[float, float], spread: float) -> float:
        """A yaw that turns an object's front roughly to the camera."""
        return math.atan2(place[0], place[1]) + span(self._rng, -spread, spread)

    def _bed(self) -> None:
        rng = self._rng
        wide, long = span(rng, 0.45, 0.85), span(rng, 0.9, 1.05)
        frame = self._stage.by_wall(wide, long)
        if self._outdoor and chance(rng, 0.6):
            place = self._stage.spot(long * 0.8, self._near + 0.5, self._far)
            frame = None if place is None else Frame(place[0], 0.0, place[1], span(rng, 0.0, math.pi))
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
