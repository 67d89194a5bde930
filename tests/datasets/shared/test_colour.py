"""Colours: normalisation and photometric distortion against plain restatements."""

from __future__ import annotations

import colorsys

import numpy as np
import pytest
import torch
from errors import naming
from fmtl_datasets.shared.colour import distort_colours, normalise, scale_saturation
from torch import Generator

PIXELS = torch.randint(256, (3, 6, 7), generator=Generator().manual_seed(3)).to(torch.uint8)


def test_imagenet_normalisation_subtracts_mean_and_divides_by_deviation() -> None:
    expected = (PIXELS.numpy() / 255 - np.array([0.485, 0.456, 0.406])[:, None, None]) / np.array(
        [0.229, 0.224, 0.225]
    )[:, None, None]
    assert np.allclose(normalise(PIXELS, "imagenet").numpy(), expected, atol=1e-5)


def test_half_normalisation_is_rgb_by_128_minus_1() -> None:
    assert normalise(torch.tensor([0, 128, 255], dtype=torch.uint8).view(3, 1, 1), "half").flatten().tolist() == [
        -1.0,
        0.0,
        255 / 128 - 1,
    ]


def test_normalising_twice_and_unknown_names_are_refused() -> None:
    with pytest.raises(ValueError, match=naming("uint8")):
        normalise(normalise(PIXELS, "half"), "half")
    with pytest.raises(ValueError, match=naming("normalisation", "none")):
        normalise(PIXELS, "none")  # type: ignore[arg-type]


@pytest.mark.parametrize("factor", [0.5, 0.9, 1.3, 1.5])
def test_saturation_matches_the_hsv_definition(factor: float) -> None:
    expected = np.empty(PIXELS.shape)
    for row, column in np.ndindex(*PIXELS.shape[1:]):
        h, s, v = colorsys.rgb_to_hsv(*(PIXELS[:, row, column].numpy() / 255))
        expected[:, row, column] = np.array(colorsys.hsv_to_rgb(h, min(1.0, s * factor), v)) * 255
    assert np.abs(scale_saturation(PIXELS, factor).numpy() - expected).max() <= 0.51


def test_grey_keeps_its_value_under_saturation() -> None:
    grey = torch.full((3, 2, 2), 77, dtype=torch.uint8)
    assert torch.equal(scale_saturation(grey, 1.5), grey)


def test_each_distortion_is_used_about_half_of_the_time_within_its_bounds() -> None:
    grey = torch.full((3, 1, 1), 100, dtype=torch.uint8)
    results = torch.stack([distort_colours(grey, Generator().manual_seed(seed)).flatten() for seed in range(400)])
    assert torch.equal(results.amin(1), results.amax(1)), "grey has no saturation or hue to change"
    unchanged = (results[:, 0] == 100).float().mean()
    assert 0.2 < unchanged < 0.32, "neither brightness nor contrast: a quarter"
    assert results.min() >= (100 - 32) * 0.5 - 1
    assert 160 < results.max() <= (100 + 32) * 1.5 + 1


def test_hue_turns_by_at_most_a_tenth_of_the_circle_and_contrast_is_multiplicative() -> None:
    red = torch.tensor([200, 40, 40], dtype=torch.uint8).view(3, 1, 1)
    turns = []
    for seed in range(200):
        r, g, b = (distort_colours(red, Generator().manual_seed(seed)).flatten() / 255).tolist()
        hue = colorsys.rgb_to_hsv(r, g, b)[0]
        turns.append(min(hue, 1 - hue))
    assert 0.08 < max(turns) < 0.105
    assert 60 < sum(turn < 0.002 for turn in turns) < 140
