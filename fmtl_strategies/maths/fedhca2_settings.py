"""Hyper-parameters of FedHCA2, as its aggregation takes them."""

from typing import Literal

from fmtl_strategies.maths.attention import Scale, Span
from fmtl_strategies.maths.conflict_averse import Method
from fmtl_strategies.parameters import StrategyParameters, parameter

Mode = Literal["reference", "paper", "stable"]
HyperGradient = Literal["inner-product", "cosine"]
Parts = Literal["both", "encoder", "decoder"]
Weights = Literal["learned", "fixed"]
_CODE = "the authors' code"


class FedHCA2Parameters(StrategyParameters):
    """Hyper-parameters of FedHCA2; what the modes are says `fmtl_strategies.maths.fedhca2`.

    With the gradient `cosine` a step of alpha or beta is at most learning_rate / (1 - momentum) once the momentum has
    built up.
    """

    mode: Mode = parameter(
        "reference", "`reference`: as the authors' code; `paper`: as the equations; `stable`: sound numerics", "ours"
    )
    c: float = parameter(0.4, "radius of the conflict-averse search around the mean update", _CODE, ge=0, le=1)
    alpha_initial: float = parameter(0.1, "share of the common encoder update at the start", _CODE, ge=0, le=1)
    beta_initial: float = parameter(0.1, "share of the attended decoder updates at the start", _CODE, ge=0, le=1)
    learning_rate: float = parameter(0.01, "SGD learning rate of alpha and beta", _CODE, ge=0, le=1e3)
    momentum: float = parameter(0.9, "SGD momentum of alpha and beta", _CODE, ge=0, lt=1)
    weight_decay: float = parameter(1e-4, "SGD weight decay of alpha and beta", _CODE, ge=0, le=1)
    attention_scale: Scale = parameter(
        "inv-sqrt-d",
        "inner products in the attention: over sqrt(size), as `cosine` (wants a temperature of about 4), or `raw`",
        "paper, Eq. 12",
    )
    attention_temperature: float = parameter(
        1.0, "factor on the logits of the attention; 1 changes nothing", "ours (the paper has none)", ge=0, le=1e6
    )
    hyper_gradient: HyperGradient = parameter(
        "inner-product",
        "gradient of alpha and beta: `inner-product`, or `cosine` (free of size and dimension)",
        "paper, Eq. 16-17",
    )
    parts: Parts = parameter("both", "ablation: aggregate `both`, only the `encoder`, or only the `decoder`", "paper")
    weights: Weights = parameter("learned", "ablation: `learned` weights, or `fixed` at their start", "ours")

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
