"""Colour: photometric distortion and normalisation of images (methods 3.4)."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Generator, Tensor
from torchvision import tv_tensors
from torchvision.transforms.v2 import functional as geometry

BRIGHTNESS = 32.0
CONTRAST = (0.5, 1.5)
SATURATION = (0.5, 1.5)
HUE = 18 / 180
"""OpenCV counts hue from 0 to 179, so +-18 of its units are a tenth of the circle."""

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


def distort_colours(image: Tensor, generator: Generator) -> tv_tensors.Image:
    """Random brightness, contrast, saturation and hue, each with probability 0.5, in 8 bits.

    Brightness is added (+-32), contrast multiplies all channels (0.5 to 1.5) either before or after the colour steps
    (even odds), saturation multiplies that of HSV (0.5 to 1.5), hue turns by up to a tenth of the circle. The result is
    rounded to 8 bits after each step, as in the published chain.

    Args:
        image: uint8 (3, H, W).
        generator: source of randomness; the same number of draws whatever they decide.

    Returns:
        uint8 (3, H, W).
    """
    use = torch.rand(4, generator=generator) < 0.5
    contrast_first = bool(torch.rand((), generator=generator) < 0.5)
    amounts = torch.rand(4, generator=generator, dtype=torch.float64).tolist()
    ranges = ((-BRIGHTNESS, BRIGHTNESS), CONTRAST, SATURATION, (-HUE, HUE))
    shift, contrast, saturation, turn = (
        low + (high - low) * amount for (low, high), amount in zip(ranges, amounts, strict=True)
    )
    pixels = image.as_subclass(Tensor)
    if use[0]:
        pixels = _eight_bits(pixels.float() + shift)
    if use[1] and contrast_first:
        pixels = _eight_bits(pixels.float() * contrast)
    if use[2]:
        pixels = scale_saturation(pixels, saturation)
    if use[3]:
        pixels = geometry.adjust_hue(pixels, turn)
    if use[1] and not contrast_first:
        pixels = _eight_bits(pixels.float() * contrast)
    return tv_tensors.Image(pixels)


def _eight_bits(pixels: Tensor) -> Tensor:
    return pixels.round_().clamp_(0, 255).to(torch.uint8)


def scale_saturation(image: Tensor, factor: float) -> Tensor:
    """Multiply the HSV saturation, leaving hue and value.

    With V the largest channel and S = 1 - min/V, every channel is V - (V - channel) S'/S, where S' = min(factor S, 1).
    (torchvision's ``adjust_saturation`` blends with grey instead and changes V.)

    Args:
        image: uint8 (3, H, W).
        factor: at least 0.

    Returns:
        uint8 (3, H, W).
    """
    pixels = image.float()
    value = pixels.amax(0, keepdim=True)
    chroma = value - pixels.amin(0, keepdim=True)
    ratio = torch.minimum(torch.full_like(value, factor), value / chroma.clamp(min=1))
    return _eight_bits(value - (value - pixels) * ratio)


def normalise(image: Tensor, normalisation: Literal["imagenet", "half"]) -> tv_tensors.Image:
    """8-bit RGB to the numbers an encoder was trained on.

    Args:
        image: uint8 (3, H, W).
        normalisation: ``imagenet``: RGB / 255, minus mean, by standard deviation; ``half``: RGB / 128 - 1.

    Returns:
        float32 (3, H, W).

    Raises:
        ValueError: unknown normalisation, or an image that is not uint8.
    """
    if image.dtype != torch.uint8:
        raise ValueError(f"an image to normalise must be uint8, this one is {image.dtype}; it may be normalised twice.")
    pixels = image.as_subclass(Tensor).float()
    if normalisation == "half":
        return tv_tensors.Image(pixels / 128 - 1)
    if normalisation != "imagenet":
        raise ValueError(f"normalisation = {normalisation!r} is not known; expected imagenet or half.")
    mean, std = (torch.tensor(values)[:, None, None] for values in (IMAGENET_MEAN, IMAGENET_STD))
    return tv_tensors.Image((pixels / 255 - mean) / std)
