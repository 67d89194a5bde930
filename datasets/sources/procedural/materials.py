"""Colours and textures by class and domain.

A class has typical colours, but a share of the objects takes any colour of the domain and textures are
shared between classes: appearance hints at the class without giving it away.
"""

from __future__ import annotations

import math

import numpy as np
from fmtl_datasets.sources.procedural import classes
from fmtl_datasets.sources.procedural.draws import chance, pick, span
from fmtl_datasets.sources.procedural.scene import Material, Point

_INDOOR: dict[int, tuple[Point, ...]] = {
    classes.WALL: ((0.86, 0.80, 0.68), (0.75, 0.66, 0.56), (0.66, 0.70, 0.62), (0.82, 0.70, 0.62), (0.60, 0.48, 0.42)),
    classes.FLOOR: ((0.52, 0.36, 0.23), (0.66, 0.50, 0.34), (0.40, 0.29, 0.22), (0.62, 0.56, 0.48)),
    classes.OVERHEAD: ((0.93, 0.90, 0.84), (0.85, 0.80, 0.72), (0.74, 0.68, 0.60)),
    classes.OPENING: ((0.80, 0.88, 0.95), (0.60, 0.42, 0.28), (0.90, 0.87, 0.80), (0.45, 0.33, 0.26)),
    classes.COVER: ((0.62, 0.22, 0.20), (0.28, 0.30, 0.46), (0.72, 0.60, 0.42), (0.36, 0.42, 0.34)),
    classes.TABLE: ((0.58, 0.38, 0.22), (0.72, 0.54, 0.36), (0.34, 0.23, 0.17), (0.85, 0.82, 0.76)),
    classes.SEAT: ((0.50, 0.32, 0.20), (0.62, 0.24, 0.18), (0.30, 0.34, 0.40), (0.70, 0.62, 0.46)),
    classes.CABINET: ((0.66, 0.48, 0.32), (0.80, 0.75, 0.66), (0.40, 0.27, 0.19), (0.52, 0.56, 0.50)),
    classes.BED: ((0.80, 0.76, 0.72), (0.46, 0.36, 0.52), (0.66, 0.40, 0.32), (0.42, 0.50, 0.58)),
    classes.LAMP: ((0.92, 0.82, 0.56), (0.85, 0.62, 0.40), (0.36, 0.32, 0.30)),
    classes.BALL: ((0.80, 0.26, 0.18), (0.86, 0.66, 0.20), (0.26, 0.40, 0.62), (0.80, 0.76, 0.70)),
    classes.PLANT: ((0.28, 0.44, 0.20), (0.40, 0.50, 0.26), (0.52, 0.44, 0.22)),
    classes.PERSON: (
        (0.60, 0.24, 0.22),
        (0.26, 0.30, 0.44),
        (0.72, 0.66, 0.56),
        (0.34, 0.40, 0.30),
        (0.44, 0.30, 0.22),
    ),
}

_OUTDOOR: dict[int, tuple[Point, ...]] = {
    classes.WALL: ((0.60, 0.62, 0.66), (0.54, 0.36, 0.32), (0.74, 0.74, 0.72), (0.42, 0.48, 0.56), (0.66, 0.64, 0.54)),
    classes.FLOOR: ((0.46, 0.47, 0.50), (0.58, 0.58, 0.58), (0.36, 0.38, 0.42), (0.56, 0.54, 0.46)),
    classes.OVERHEAD: ((0.42, 0.62, 0.92), (0.58, 0.74, 0.94), (0.70, 0.78, 0.86)),
    classes.OPENING: ((0.22, 0.28, 0.36), (0.34, 0.42, 0.52), (0.28, 0.34, 0.28), (0.60, 0.68, 0.78)),
    classes.COVER: ((0.26, 0.46, 0.20), (0.36, 0.52, 0.28), (0.62, 0.60, 0.54), (0.44, 0.48, 0.24)),
    classes.TABLE: ((0.46, 0.42, 0.38), (0.34, 0.46, 0.44), (0.60, 0.60, 0.62), (0.52, 0.40, 0.30)),
    classes.SEAT: ((0.30, 0.44, 0.36), (0.46, 0.40, 0.34), (0.28, 0.34, 0.48), (0.60, 0.60, 0.60)),
    classes.CABINET: ((0.24, 0.40, 0.34), (0.28, 0.36, 0.56), (0.56, 0.58, 0.60), (0.60, 0.48, 0.26)),
    classes.BED: ((0.52, 0.50, 0.48), (0.46, 0.36, 0.30), (0.66, 0.66, 0.62), (0.36, 0.42, 0.38)),
    classes.LAMP: ((0.22, 0.24, 0.28), (0.40, 0.44, 0.48), (0.28, 0.38, 0.36)),
    classes.BALL: ((0.88, 0.88, 0.88), (0.86, 0.40, 0.16), (0.28, 0.44, 0.76), (0.80, 0.80, 0.30)),
    classes.PLANT: ((0.18, 0.38, 0.16), (0.28, 0.48, 0.18), (0.40, 0.46, 0.16), (0.22, 0.34, 0.26)),
    classes.PERSON: (
        (0.24, 0.30, 0.48),
        (0.58, 0.58, 0.60),
        (0.30, 0.42, 0.32),
        (0.70, 0.30, 0.26),
        (0.24, 0.24, 0.28),
    ),
}

_PALETTES = {"indoor": _INDOOR, "outdoor": _OUTDOOR}
_SKIN: tuple[Point, ...] = ((0.90, 0.72, 0.60), (0.80, 0.58, 0.44), (0.58, 0.40, 0.29), (0.38, 0.26, 0.20))
_HAIR: tuple[Point, ...] = ((0.12, 0.09, 0.08), (0.32, 0.20, 0.12), (0.62, 0.46, 0.26), (0.55, 0.53, 0.52))

ODD_COLOUR = 0.3
"""Share of the objects that take any colour of the domain instead of one typical of their class."""


class Palette:
    """Draws materials of one domain."""

    def __init__(self, domain: str, rng: np.random.Generator) -> None:
        """Set the domain ("indoor" or "outdoor") and the generator that every draw advances."""
        self._colours = _PALETTES[domain]
        self._rng = rng

    def colour(self, category: int) -> Point:
        """A jittered colour for an object of a class, RGB in [0, 1]."""
        rng = self._rng
        odd = category >= classes.COVER and chance(rng, ODD_COLOUR)
        options = self._colours[any_thing(rng)] if odd else self._colours[category]
        return self._jitter(pick(rng, options), 0.10)

    def material(self, category: int, scale: float = 1.0) -> Material:
        """A textured material for an object of a class.

        Args:
            category: semantic class.
            scale: typical size of the pattern in units of 0.25 m.
        """
        colour = self.colour(category)
        return self.pattern(colour, scale)

    def plain(self, category: int) -> Material:
        """A material with next to no texture."""
        colour = self.colour(category)
        return Material(colour, self._jitter(colour, 0.05))

    def pattern(self, colour: Point, scale: float = 1.0) -> Material:
        """A random texture (plain, stripes, checks, tiles or clouds) over a base colour."""
        rng = self._rng
        second = self._shade(colour)
        f = span(rng, 8.0, 22.0) / scale
        style = pick(rng, ("plain", "plain", "stripes", "checks", "tiles", "clouds", "clouds"))
        if style == "plain":
            return Material(colour, self._jitter(colour, 0.06), self._direction(f), self._direction(f))
        if style == "stripes":
            k = pick(rng, ((f, 0.0, 0.0), (0.0, f, 0.0), (f, 0.0, f), (0.0, 0.0, f), (f, f, 0.0)))
            return Material(
                colour, second, k, mix=(1.0, 0.0, 0.0, 0.0), sharp=span(rng, 1.0, 5.0), offset=span(rng, -0.5, 0.5)
            )
        if style == "clouds":
            k1, k2 = self._direction(f * 0.7), self._direction(f)
            return Material(colour, second, k1, k2, (0.3, 0.9, 0.0, 0.0), span(rng, 0.7, 1.6), span(rng, 1.0, 3.0))
        k1, k2 = (f, 0.0, f * pick(rng, (0.0, 1.0))), (0.0, f, f)
        mix = (0.0, 0.0, 1.0, 0.0) if style == "checks" else (0.0, 0.0, 0.0, 1.0)
        return Material(colour, second, k1, k2, mix, span(rng, 3.0, 8.0), 0.0, span(rng, -0.6, 0.2))

    def ground(self, category: int) -> Material:
        """Boards, tiles, lawn or asphalt for a horizontal surface."""
        rng = self._rng
        colour = self.colour(category)
        second = self._jitter(colour, 0.16)
        f = span(rng, 5.0, 14.0)
        if chance(rng, 0.3):
            return Material(
                colour, second, self._direction(3 * f), self._direction(4 * f), (0.5, 0.8, 0.0, 0.0), 1.0, 2.0
            )
        turn = span(rng, 0.0, math.pi / 2)
        c, s = f * math.cos(turn), f * math.sin(turn)
        k1, k2 = (c, 0.0, s), (-s, 0.0, c)
        if chance(rng, 0.4):
            return Material(colour, second, k1, k2, (1.0, 0.0, 0.0, 0.0), 4.0, 0.0, -0.75)
        mix = pick(rng, ((0.0, 0.0, 1.0, 0.0), (0.0, 0.0, 0.0, 1.0)))
        return Material(colour, second, k1, k2, mix, 6.0, 0.0, span(rng, -0.5, 0.0))

    def clothing(self) -> Material:
        """A garment."""
        return self.pattern(self.colour(classes.PERSON), 0.35)

    def skin(self) -> Material:
        """Skin of one figure."""
        colour = self._jitter(pick(self._rng, _SKIN), 0.05)
        return Material(colour, self._jitter(colour, 0.03))

    def hair(self) -> Material:
        """Hair of one figure."""
        colour = self._jitter(pick(self._rng, _HAIR), 0.05)
        return Material(colour, self._jitter(colour, 0.05))

    def glowing(self, colour: Point, strength: float) -> Material:
        """A surface that shines by itself, such as a lit lamp shade."""
        return Material(self._jitter(colour, 0.05), colour, glow=strength)

    def _jitter(self, colour: Point, amount: float) -> Point:
        rng = self._rng
        common = span(rng, -amount, amount)
        r, g, b = (min(1.0, max(0.02, c + common + span(rng, -amount / 2, amount / 2))) for c in colour)
        return (r, g, b)

    def _shade(self, colour: Point) -> Point:
        rng = self._rng
        if chance(rng, 0.25):
            return self.colour(any_thing(rng))
        factor = pick(rng, (0.45, 0.6, 0.75, 1.25, 1.45))
        r, g, b = (min(1.0, c * factor) for c in colour)
        return (r, g, b)

    def _direction(self, length: float) -> Point:
        rng = self._rng
        x, y, z = rng.random() - 0.5, rng.random() - 0.5, rng.random() - 0.5
        scale = length / (math.sqrt(x * x + y * y + z * z) + 1e-6)
        return (x * scale, y * scale, z * scale)


def any_thing(rng: np.random.Generator) -> int:
    """Any thing class, to borrow its colours."""
    return classes.FIRST_THING + int(rng.random() * (len(classes.SEMSEG_CLASSES) - classes.FIRST_THING))
