"""Constants and switches of FedHCA2."""

import math
from dataclasses import dataclass
from typing import Literal, get_args

from fmtl_strategies.maths.attention import Scale, Span
from fmtl_strategies.maths.conflict_averse import Method
from fmtl_strategies.maths.hyper_weights import SgdSettings

Mode = Literal["reference", "paper", "stable"]
HyperGradient = Literal["inner-product", "cosine"]
Parts = Literal["both", "encoder", "decoder"]
Weights = Literal["learned", "fixed"]


@dataclass(frozen=True)
class FedHCA2Settings:
    """Settings of FedHCA2; defaults are those of the authors' code.

    mode: see `fmtl_strategies.maths.fedhca2`. c: radius of the conflict-averse search, in [0, 1].
    alpha_initial, beta_initial: weights a row starts with, in [0, 1].
    learning_rate, momentum, weight_decay: SGD of the weights.
    attention_scale, attention_temperature: see `attention_coefficients`.
    hyper_gradient: "inner-product" as published, or "cosine": a step is then free of size and dimension, and at
        most learning_rate / (1 - momentum) once the momentum has built up.
    parts: which groups are aggregated; the others only take their own update (ablation).
    weights: "learned", or "fixed" at their initial values (ablation).
    """

    mode: Mode = "reference"
    c: float = 0.4
    alpha_initial: float = 0.1
    beta_initial: float = 0.1
    learning_rate: float = 0.01
    momentum: float = 0.9
    weight_decay: float = 1e-4
    attention_scale: Scale = "inv-sqrt-d"
    attention_temperature: float = 1.0
    hyper_gradient: HyperGradient = "inner-product"
    parts: Parts = "both"
    weights: Weights = "learned"

    def __post_init__(self) -> None:
        """Reject values outside their range, naming the setting."""
        choices = {
            "mode": Mode, "attention_scale": Scale, "hyper_gradient": HyperGradient, "parts": Parts, "weights": Weights,
        }  # fmt: skip
        for name, kind in choices.items():
            if getattr(self, name) not in get_args(kind):
                allowed = ", ".join(get_args(kind))
                raise ValueError(f"fedhca2: {name} must be one of {allowed}; got {getattr(self, name)!r}")
        for name in ("c", "alpha_initial", "beta_initial"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"fedhca2: {name} must be in [0, 1], got {getattr(self, name)!r}")
        for name in ("learning_rate", "momentum", "weight_decay", "attention_temperature"):
            value = getattr(self, name)
            if not (math.isfinite(value) and value >= 0):
                raise ValueError(f"fedhca2: {name} must be a finite number >= 0, got {value!r}")

    @property
    def sgd(self) -> SgdSettings:
        """Constants of the weights' SGD; "stable" projects the weights, the other modes clamp them."""
        bounds: Literal["clamp", "project"] = "project" if self.mode == "stable" else "clamp"
        return SgdSettings(self.learning_rate, self.momentum, self.weight_decay, bounds)

    @property
    def solver(self) -> Method:
        """Method of the conflict-averse solve."""
        return "reference" if self.mode == "reference" else "exact"

    @property
    def rescale(self) -> float:
        """Divisor of the aggregate: 1 + c^2 in the authors' code, nothing in the paper's equations."""
        return 1.0 if self.mode == "paper" else 1.0 + self.c**2

    @property
    def attention_span(self) -> Span:
        """What attends as one unit: an array in the authors' code, a layer in the paper's text."""
        return "layer" if self.mode == "paper" else "array"
