"""Furniture and street furniture, one function per semantic class and domain.

Every function adds one object in a given frame. An object's front is its -z side.
"""

from __future__ import annotations

import math

import numpy as np
from fmtl_datasets.sources.procedural import classes
from fmtl_datasets.sources.procedural.draws import chance, pick, span, whole
from fmtl_datasets.sources.procedural.materials import Palette
from fmtl_datasets.sources.procedural.scene import Frame, Material, Scene


class Workshop:
    """Adds furniture of one domain to one scene."""

    def __init__(self, scene: Scene, palette: Palette, rng: np.random.Generator, *, outdoor: bool) -> None:
        """Set the scene to add to, the source of materials, the generator and the domain."""
        self._scene = scene
        self._palette = palette
        self._rng = rng
        self._outdoor = outdoor

    def table(self, frame: Frame, half_width: float, half_depth: float) -> float:
        """A table with legs, a pedestal or side panels; returns the height of its top in metres."""
        rng, wood = self._rng, self._palette.material(classes.TABLE)
        legs = wood if chance(rng, 0.6) else self._palette.plain(classes.TABLE)
        body = self._scene.body(classes.TABLE, frame)
        height, thick = span(rng, 0.45, 0.8), span(rng, 0.02, 0.05)
        style = pick(rng, ("legs", "legs", "pedestal", "panels"))
        if style == "pedestal":
            radius = min(half_width, half_depth)
            body.cylinder((0, height - thick, 0), radius, thick, wood)
            body.cylinder((0, height / 2, 0), 0.06, height / 2, legs)
            body.cylinder((0, 0.03, 0), radius * 0.5, 0.03, legs)
        else:
            body.box((0, height - thick, 0), (half_width, thick, half_depth), wood)
            x, z = half_width - 0.06, half_depth - 0.06
            if style == "legs":
                for sx, sz in ((x, z), (-x, z), (x, -z), (-x, -z)):
                    body.box((sx, height / 2 - thick, sz), (0.03, height / 2 - thick, 0.03), legs)
            else:
                for sx in (-x, x):
                    body.box((sx, height / 2 - thick, 0), (0.025, height / 2 - thick, z), legs)
        body.footprint(max(half_width, half_depth), height)
        return height

    def seat(self, frame: Frame) -> float:
        """A chair or stool (indoor) or a bench (outdoor); returns the height of the seat in metres."""
        rng = self._rng
        main, other = self._palette.material(classes.SEAT, 0.6), self._palette.plain(classes.SEAT)
        body = self._scene.body(classes.SEAT, frame)
        height = span(rng, 0.40, 0.50)
        wide = span(rng, 0.55, 0.95) if self._outdoor else span(rng, 0.2, 0.25)
        deep = span(rng, 0.18, 0.24)
        body.footprint(max(wide, deep), 0.7)
        if not self._outdoor and chance(rng, 0.2):
            body.cylinder((0, height - 0.03, 0), 0.19, 0.03, main)
            body.cylinder((0, height / 2 - 0.03, 0), 0.03, height / 2 - 0.03, other)
            body.cylinder((0, 0.015, 0), 0.16, 0.015, other)
            return height
        body.box((0, height - 0.025, 0), (wide, 0.025, deep), main)
        if chance(rng, 0.25):
            body.box((0, height / 2 - 0.03, 0), (wide * 0.96, height / 2 - 0.03, deep * 0.9), other)
        else:
            for x in (-wide + 0.05, wide - 0.05):
                for z in (-deep + 0.03, deep - 0.03):
                    body.box((x, height / 2 - 0.025, z), (0.022, height / 2 - 0.025, 0.022), other)
        if not self._outdoor or chance(rng, 0.7):
            back = span(rng, 0.18, 0.28)
            body.box((0, height + back + 0.04, deep - 0.02), (wide, back, 0.02), main)
            if self._outdoor or chance(rng, 0.3):
                for x in (-wide + 0.02, wide - 0.02):
                    body.box((x, height + 0.12, 0), (0.02, 0.1, deep), other)
        return height

    def cabinet(self, frame: Frame, half_width: float, half_depth: float) -> float:
        """A cabinet or chest of drawers (indoor) or a container (outdoor); returns its height in metres."""
        rng, palette = self._rng, self._palette
        main, front = palette.material(classes.CABINET), palette.plain(classes.CABINET)
        body = self._scene.body(classes.CABINET, frame)
        tall = span(rng, 0.7, 1.4) if self._outdoor or chance(rng, 0.5) else span(rng, 1.4, 2.1)
        body.box((0, tall / 2, 0), (half_width, tall / 2, half_depth), main)
        body.footprint(max(half_width, half_depth), tall)
        if self._outdoor:
            lid = span(rng, 0.02, 0.06)
            body.box((0, tall + lid, 0), (half_width + 0.04, lid, half_depth + 0.04), front)
            if chance(rng, 0.5):
                body.box((0, tall * 0.7, -half_depth), (half_width * 0.4, 0.04, 0.03), front)
            return tall + 2 * lid
        rows, columns = whole(rng, 1, 4), whole(rng, 1, 2)
        for row in range(rows):
            for column in range(columns):
                x = (2 * column + 1 - columns) * half_width / columns
                y = tall * (row + 0.5) / rows
                size = (half_width / columns - 0.03, tall / rows / 2 - 0.03, 0.012)
                body.box((x, y, -half_depth), size, front)
        return tall

    def bed(self, frame: Frame, half_width: float, half_length: float) -> None:
        """A bed with its head at +z (indoor) or a raised planting bed with shrubs (outdoor)."""
        rng, palette = self._rng, self._palette
        base, cloth = palette.material(classes.BED), palette.material(classes.BED, 0.8)
        body = self._scene.body(classes.BED, frame)
        low = span(rng, 0.2, 0.35)
        body.box((0, low / 2, 0), (half_width, low / 2, half_length), base)
        body.footprint(max(half_width, half_length), 0.6)
        if self._outdoor:
            green = palette.material(classes.PLANT, 0.4)
            for k in range(whole(rng, 2, 4)):
                x, z = span(rng, -0.6, 0.6) * half_width, (k - 1.5) * 0.5 * half_length
                r = span(rng, 0.16, 0.32)
                body.ball((x, low + r * 0.5, z), (r, r * span(rng, 0.6, 1.1), r), green)
            return
        body.box((0, low + 0.09, -0.02), (half_width - 0.02, 0.09, half_length - 0.04), cloth)
        pillow = palette.plain(classes.OVERHEAD)
        spots = (0.0,) if half_width < 0.6 else (-half_width / 2, half_width / 2)
        for x in spots:
            body.ball((x, low + 0.22, half_length - 0.25), (half_width * 0.42 / len(spots) + 0.14, 0.08, 0.17), pillow)
        if chance(rng, 0.7):
            body.box((0, low + 0.3, half_length), (half_width, low + 0.2, 0.03), base)

    def lamp(self, frame: Frame, *, small: bool = False) -> None:
        """A floor lamp, a table lamp (small) or a street light."""
        rng, palette = self._rng, self._palette
        pole = palette.plain(classes.LAMP)
        body = self._scene.body(classes.LAMP, frame)
        glow = (
            palette.glowing((1.0, 0.92, 0.72), span(rng, 0.3, 0.9)) if chance(rng, 0.6) else palette.plain(classes.LAMP)
        )
        if self._outdoor:
            height, arm = span(rng, 2.6, 4.2), span(rng, -0.6, 0.6)
            body.cylinder((0, height / 2, 0), span(rng, 0.05, 0.09), height / 2, pole)
            body.cylinder((0, 0.15, 0), 0.13, 0.15, pole)
            body.limb((0, height, 0), (arm, height + 0.05, 0), 0.04, pole)
            body.ball((arm, height, 0), (0.2, 0.12, 0.2), glow)
        else:
            height = span(rng, 0.25, 0.4) if small else span(rng, 1.2, 1.7)
            wide = 0.11 if small else span(rng, 0.16, 0.24)
            body.cylinder((0, height / 2, 0), 0.018, height / 2, pole)
            body.cylinder((0, 0.015, 0), wide * 0.8, 0.015, pole)
            if chance(rng, 0.6):
                body.cylinder((0, height + wide * 0.5, 0), wide, wide * 0.7, glow)
            else:
                body.ball((0, height + wide * 0.6, 0), (wide, wide, wide), glow)
        if not small:
            body.footprint(0.2, 1.0)

    def ball(self, frame: Frame, radius: float) -> None:
        """A ball that lies on the frame's ground."""
        body = self._scene.body(classes.BALL, frame)
        body.ball((0, radius, 0), (radius, radius, radius), self._palette.material(classes.BALL, 0.6))
        body.footprint(radius, radius)

    def plant(self, frame: Frame, height: float) -> None:
        """A pot plant (indoor) or a tree (outdoor) of about the given height in metres."""
        rng, palette = self._rng, self._palette
        leaf = self._foliage()
        body = self._scene.body(classes.PLANT, frame)
        trunk = palette.plain(classes.SEAT)
        pot = 0.0
        if not self._outdoor:
            pot, radius = height * span(rng, 0.2, 0.3), height * span(rng, 0.12, 0.17)
            body.cylinder((0, pot / 2, 0), radius, pot / 2, palette.material(classes.BED, 0.5))
        crown = height * span(rng, 0.5, 0.68)
        body.limb((0, pot * 0.5, 0), (span(rng, -0.05, 0.05), crown, 0), max(0.018, 0.035 * height), trunk)
        for _ in range(whole(rng, 3, 5)):
            r = height * span(rng, 0.13, 0.2)
            turn, out = span(rng, 0, 2 * math.pi), height * span(rng, 0.02, 0.16)
            centre = (out * math.cos(turn), crown + height * span(rng, -0.1, 0.22), out * math.sin(turn))
            body.ball(centre, (r, r * span(rng, 0.7, 1.3), r), leaf)
        body.footprint(0.25 * height, height)

    def _foliage(self) -> Material:
        colour = self._palette.colour(classes.PLANT)
        dark = (colour[0] * 0.5, colour[1] * 0.55, colour[2] * 0.5)
        f = span(self._rng, 18.0, 34.0)
        return Material(colour, dark, (f, f * 0.4, -f), (-f * 0.5, f, f * 0.7), (0.4, 0.7, 0.0, 0.0), 1.3, 2.0)
