"""Learned mixing weights of FedHCA2 (alpha per client, beta per decoder and layer), stepped by SGD (Eq. 15-17)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from fmtl_strategies.maths.fedhca2_settings import FedHCA2Parameters
from fmtl_strategies.maths.rows import Float64Array


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


def step_weights(
    weights: HyperWeights, products: Mapping[str, Float64Array], settings: FedHCA2Parameters
) -> HyperWeights:
    """One SGD step for the rows in `products`; all other rows keep value and momentum.

    The gradient of a weight is minus the inner product of the aggregate its row received and its row's next
    update (Eq. 16-17). Update rule as torch.optim.SGD: decay is added to the gradient, the first momentum is the
    gradient itself.

    Args:
        weights: current weights; every key of `products` must be present.
        products: (S,) inner products by row key.
        settings: SGD constants and mode. "stable" always takes the gradient and clips the stored value after each step;
            the others keep the raw value free and have gradient 0 at and outside [0, 1], as torch.clamp.

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
        if settings.mode != "stable":
            gradient = np.where((value > 0) & (value < 1), gradient, 0.0)
        decayed = gradient + settings.weight_decay * value
        momentum = settings.momentum * momenta[key] + decayed if key in momenta else decayed
        moved = value - settings.learning_rate * momentum
        values[key] = np.clip(moved, 0.0, 1.0) if settings.mode == "stable" else moved
        momenta[key] = momentum
    return HyperWeights(values, momenta)
