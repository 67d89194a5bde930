"""The preset of FedHCA2's Swin-T pads to whole windows, then shifts, as a plain re-statement of both does."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from torch import nn

from client_app.model.encoder import PadsFirst, build_encoder

SIDE = 7
"""Tokens along a window."""

Float64s = np.ndarray[tuple[int, ...], np.dtype[np.float64]]


def restated(block: PadsFirst, tokens_hwc: Float64s, shift: int) -> Float64s:
    """Shifted-window attention (arXiv 2103.14030, section 3.2) in float64, one window, head and pair at a time."""
    height, width, channels = tokens_hwc.shape
    padded = np.zeros((-(-height // SIDE) * SIDE, -(-width // SIDE) * SIDE, channels))
    padded[:height, :width] = tokens_hwc
    attention = block.attn
    weights = {name: value.detach().double().numpy() for name, value in attention.state_dict().items()}
    qkv = padded @ weights["qkv.weight"].T + weights["qkv.bias"]
    heads, table = attention.num_heads, weights["relative_position_bias_table"]
    query, key, value = np.moveaxis(qkv.reshape(*padded.shape[:2], 3, heads, channels // heads), 2, 0)
    mixed = np.zeros((*padded.shape[:2], heads, channels // heads))
    rows, columns = padded.shape[:2]
    for top, left in itertools.product(range(0, rows, SIDE), range(0, columns, SIDE)):
        # Where the window's tokens were before the shift, and whether the shift carried them around the border.
        places = []
        for r, c in itertools.product(range(SIDE), repeat=2):
            y, x = top + r + shift, left + c + shift
            places.append((r, c, y % rows, x % columns, (y >= rows, x >= columns)))
        for r, c, y, x, carried in places:
            for head in range(heads):
                scores = np.array(
                    [
                        query[y, x, head] @ key[v, u, head] * attention.scale
                        + table[(r - rr + SIDE - 1) * (2 * SIDE - 1) + c - cc + SIDE - 1, head]
                        + (0.0 if carried == other else -100.0)
                        for rr, cc, v, u, other in places
                    ]
                )
                shares = np.exp(scores - scores.max())
                shares /= shares.sum()
                mixed[y, x, head] = sum(
                    share * value[v, u, head] for share, (_, _, v, u, _) in zip(shares, places, strict=True)
                )
    projected = mixed.reshape(*padded.shape) @ weights["proj.weight"].T + weights["proj.bias"]
    return np.asarray(projected[:height, :width])


@pytest.mark.parametrize(("number", "shift"), [(0, 0), (1, 3)])
def test_padding_comes_before_the_shift(number: int, shift: int) -> None:
    """A map of 14 x 9 tokens: one side is whole windows, the other is not."""
    torch.manual_seed(0)
    encoder = build_encoder("swin-t-fedhca2", (56, 36)).eval()
    blocks = [module for module in encoder.modules() if isinstance(module, PadsFirst)]
    assert len(blocks) == 12
    block = blocks[number]
    nn.init.normal_(block.attn.relative_position_bias_table)
    tokens = torch.randn(1, 14, 9, 96)
    with torch.no_grad():
        found = block._attn(tokens)[0].double().numpy()
    expected = restated(block, tokens[0].double().numpy(), shift)
    np.testing.assert_allclose(found, expected, atol=1e-5 * np.abs(expected).max())


def test_other_swin_networks_stay_as_timm_builds_them() -> None:
    encoder = build_encoder("swin_tiny_patch4_window7_224", (224, 224))
    assert not any(isinstance(module, PadsFirst) for module in encoder.modules())
