"""Attraction of live parameters to an anchor: FedProx, Ditto, FedAMP, M-Fed.

The gradient reaches the optimiser: it is added to `parameter.grad`, never computed from detached copies that
carry none (the defect that makes FedProx equal to FedAvg in public code; field-notes section 5).
"""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from client_app.training.vectors import group_layouts
from fmtl_strategies.contract.groups import group_of, relative_name
from fmtl_strategies.contract.layout import FloatArray
from fmtl_strategies.contract.rule import Pull


@dataclass(frozen=True)
class AttachedPull:
    """A pull bound to the parameters of one model.

    Attributes:
        pull: strength and form.
        pairs: every pulled parameter with its anchor, on one device.
    """

    pull: Pull
    pairs: tuple[tuple[nn.Parameter, Tensor], ...]

    def add_to_gradients(self) -> None:
        """Coupled form, after backward and before the optimiser's step: grad <- grad + s (w - anchor).

        Gradients must be unscaled. Parameters without a gradient are frozen or unused in this step and left alone.
        """
        if self.pull.form != "coupled":
            return
        with torch.no_grad():
            for parameter, anchor in self.pairs:
                if parameter.grad is not None:
                    parameter.grad.add_(parameter - anchor, alpha=self.pull.strength)

    def move(self, optimiser: torch.optim.Optimizer) -> None:
        """Decoupled form, after the optimiser's step: w <- w - rate * s * (w - anchor).

        Raises:
            ValueError: rate * s is above 1, so that the step would go beyond the anchor; nothing is moved then.
        """
        if self.pull.form != "decoupled":
            return
        rates = {parameter: group["lr"] for group in optimiser.param_groups for parameter in group["params"]}
        rate = max(rates[parameter] for parameter, _ in self.pairs)
        if rate * self.pull.strength > 1:
            raise ValueError(
                f"decoupled pull of strength {self.pull.strength:g} at learning rate {rate:g} goes "
                f"{rate * self.pull.strength:.3g} times the way to the anchor, at most 1 is stable; lower the "
                f"strategy's strength of the pull, or encoder-learning-rate and decoder-learning-rate"
            )
        with torch.no_grad():
            for parameter, anchor in self.pairs:
                if parameter.grad is not None:
                    parameter.lerp_(anchor, rates[parameter] * self.pull.strength)


def attach(pull: Pull | None, model: nn.Module, anchors: Mapping[str, FloatArray]) -> AttachedPull | None:
    """Bind a pull to a model.

    Args:
        pull: what to bind; None gives None.
        model: on its device already.
        anchors: flat (D,) float32 vector by group; holds every group of the pull.

    Raises:
        ValueError: a group without an anchor, or that the model does not have.
    """
    if pull is None:
        return None
    layouts = group_layouts(model)
    for group in pull.groups:
        if group not in layouts or group not in anchors:
            raise ValueError(
                f"the rule pulls {group}, but the model has {', '.join(layouts)} and anchors arrived for "
                f"{', '.join(anchors) or 'no group'}"
            )
    targets = {group: layouts[group].unpack(anchors[group]) for group in pull.groups}
    pairs = [
        (parameter, torch.tensor(targets[group_of(name)][relative_name(name)]).to(parameter))
        for name, parameter in model.named_parameters()
        if group_of(name) in targets
    ]
    return AttachedPull(pull, tuple(pairs))
