"""Small draws from a generator; each takes one uniform number, which is much cheaper than ``rng.uniform``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

import numpy as np

T = TypeVar("T")


def span(rng: np.random.Generator, low: float, high: float) -> float:
    """A uniform number in [low, high)."""
    return low + (high - low) * rng.random()


def pick(rng: np.random.Generator, options: Sequence[T]) -> T:
    """One of the options, all equally likely."""
    return options[int(rng.random() * len(options))]


def chance(rng: np.random.Generator, probability: float) -> bool:
    """True with the given probability."""
    return rng.random() < probability


def whole(rng: np.random.Generator, low: int, high: int) -> int:
    """A whole number in [low, high], both included."""
    return low + int(rng.random() * (high - low + 1))
