"""Colours and letters of pictures of labels."""

from __future__ import annotations

import colorsys
from functools import cache

import numpy as np
import numpy.typing as npt
from fmtl_datasets.shared.conventions import IGNORE
from PIL import ImageFont

U8 = npt.NDArray[np.uint8]
RGB = tuple[int, int, int]
Font = ImageFont.FreeTypeFont | ImageFont.ImageFont

IGNORED: RGB = (128, 128, 128)
BACKGROUND: RGB = (60, 60, 60)
PAPER: RGB = (255, 255, 255)
INK: RGB = (20, 20, 20)
MUTED: RGB = (105, 105, 105)

_STEP = 0.565
"""Share of the colour circle between two neighbouring classes. Of 365 steps it keeps the nearest two of 14, 22, 41 and
134 classes farthest apart in the CIELAB space."""

_SHADES = ((0.85, 0.95), (0.55, 1.0), (1.0, 0.62), (0.6, 0.75), (0.35, 0.95))
"""Saturation and value, one after the other, so that the few hues an eye can tell apart serve for many classes."""


@cache
def class_colour(index: int) -> RGB:
    """The colour of a class or object, the same in every picture; ``IGNORE`` is grey."""
    if index == IGNORE:
        return IGNORED
    saturation, value = _SHADES[index % len(_SHADES)]
    red, green, blue = colorsys.hsv_to_rgb((0.02 + index * _STEP) % 1.0, saturation, value)
    return (round(red * 255), round(green * 255), round(blue * 255))


@cache
def class_colours() -> U8:
    """Colours (256, 3) of every value that a uint8 map can have."""
    return np.array([class_colour(index) for index in range(256)], dtype=np.uint8)


@cache
def font(size: int) -> Font:
    """Pillow's own font at a height in pixels."""
    return ImageFont.load_default(size)
