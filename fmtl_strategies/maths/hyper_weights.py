"""Learned mixing weights of FedHCA2 (alpha per client, beta per decoder and layer), stepped by SGD (Eq. 15-17)."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from fmtl_strategies.maths.rows import Float64Array

Bounds = Literal["clamp", "project"]


@dataclass(frozen=True)
class SgdSettings:
    """Constants of the weights' SGD; defaults are those of the authors' code.

    bounds: "clamp" keeps the raw value free, uses it clipped to [0, 1], and has gradient 0 at and outside the
    bounds (as torch.clamp); "project" always takes the gradient and clips the stored value after each step.
    """

    learning_rate: float = 0.01
    momentum: float = 0.9
    weight_decay: float = 1e-4
    bounds: Bounds = "clamp"

    def __post_init__(self) -> None:
        """Reject constants that SGD cannot use."""
        for name in ("learning_rate", "momentum", "weight_decay"):
            value = getattr(self, name)
            if not (math.isfinite(value) and value >= 0):
                raise ValueError(f"{name} must be a finite number >= 0, got {value!r}")
        if self.bounds not in ("clamp", "project"):
            raise ValueError(f"bounds must be 'clamp' or 'project', got {self.bounds!r}")


@dataclass(frozen=True)
class HyperWeights:
    """Weights by row key: one vector of S values per row (S = 1 for alpha, the number of layers for beta).

    values: raw values, (S,) float64 by row key.
    momenta: SGD momentum, (S,) float64; a row that was never stepped has none.
    """

    values: Mapping[str, Float64Array] = field(default_factory=dict)
    momenta: Mapping[str, Float64Array] = field(default_factory=dict)

    def effective(self, keys: list[str], initial: float, size: int) -> Float64Array:
        """Weights used in the combination: (N, S) float64 within [0, 1]; unknown rows have the initial value."""
        start = np.full(size, initial)
        clipped: Float64Array = np.clip(np.stack([self.values.get(key, start) for key in keys]), 0.0, 1.0)
        return clipped

    def with_rows(self, keys: list[str], initial: float, size: int) -> HyperWeights:
        """Same weights with the initial value for every key that is not there yet."""
        values = dict(self.values)
        for key in keys:
            if key not in values:
                values[key] = np.full(size, initial)
            elif values[key].shape != (size,):
                raise ValueError(f"weights of row {key!r} have shape {values[key].shape}, expected ({size},)")
        return HyperWeights(values, dict(self.momenta))


def step_weights(weights: HyperWeights, products: Mapping[str, Float64Array], settings: SgdSettings) -> HyperWeights:
    """One SGD step for the rows in `products`; all other rows keep value and momentum.

    The gradient of a weight is minus the inner product of the aggregate its row received and its row's next
    update (Eq. 16-17). Update rule as torch.optim.SGD: decay is added to the gradient, the first momentum is the
    gradient itself.

    Args:
        weights: current weights; every key of `products` must be present.
        products: (S,) inner products by row key.
        settings: SGD constants and the rule at the bounds.

    Returns:
        New weights; the argument is unchanged.

    Raises:
        ValueError: an inner product is NaN or infinite, or has the wrong shape.
    """
    values, momenta = dict(weights.values), dict(weights.momenta)
    for key, product in products.items():
        value = values[key]
        if product.shape != value.shape or not np.isfinite(product).all():
            raise ValueError(f"inner products of row {key!r} must be {value.size} finite numbers, got {product}")
        gradient = -product
        if settings.bounds == "clamp":
            gradient = np.where((value > 0) & (value < 1), gradient, 0.0)
        decayed = gradient + settings.weight_decay * value
        momentum = settings.momentum * momenta[key] + decayed if key in momenta else decayed
        moved = value - settings.learning_rate * momentum
        values[key] = np.clip(moved, 0.0, 1.0) if settings.bounds == "project" else moved
        momenta[key] = momentum
    return HyperWeights(values, momenta)
