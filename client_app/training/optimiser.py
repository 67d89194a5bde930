"""AdamW with one learning rate for the encoder and one for decoders and heads, their schedule, its state as arrays.

The cosine schedule is that of FedHCA2's code (methods.md section 5).
"""

import math
from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from client_app.training.vectors import NamedArrays
from fmtl_strategies.contract.groups import group_of
from fmtl_strategies.contract.settings import LocalSettings

WARMUP_START = 1.25e-3
"""First warm-up rate as a fraction of the peak: 1.25e-7 for the published peak 1e-4."""

FLOOR = 1.25e-2
"""Lowest rate of the cosine as a fraction of the peak: 1.25e-6 for the published peak 1e-4."""

_MOMENTS = ("exp_avg", "exp_avg_sq", "step")


def build_optimiser(model: nn.Module, settings: LocalSettings) -> torch.optim.AdamW:
    """Return AdamW over all parameters, decoupled weight decay on every one (methods.md section 5).

    The learning rates are the peaks; `set_rates` applies the schedule.
    """
    named = list(model.named_parameters())
    encoder = [parameter for name, parameter in named if group_of(name) == "encoder"]
    others = [parameter for name, parameter in named if group_of(name) != "encoder"]
    groups = [
        {"params": encoder, "lr": settings.encoder_learning_rate},
        {"params": others, "lr": settings.decoder_learning_rate},
    ]
    return torch.optim.AdamW(groups, weight_decay=settings.weight_decay)


def rate_factor(epoch: int, total_epochs: int, settings: LocalSettings) -> float:
    """Return the learning rate of one epoch as a fraction of its peak.

    The published code asks the schedule for a new rate after every epoch and hands it that epoch's number, not the
    next one's: epochs 0 and 1 both use the first warm-up rate and every later epoch runs one step late. That is
    kept. Deviation: start and floor are fractions of the peak, so that two peak rates can share one schedule; at
    the published peak they equal the published values.

    Args:
        epoch: number of epochs this client has completed, from 0.
        total_epochs: length of the client's schedule: rounds of the run times local epochs.
        settings: kind of schedule and length of its warm-up.

    Returns:
        A factor in (0, 1].
    """
    if settings.schedule == "constant":
        return 1.0
    position = max(epoch - 1, 0)
    if position < settings.warmup_epochs:
        return WARMUP_START + position * (1.0 - WARMUP_START) / settings.warmup_epochs
    length = max(total_epochs - settings.warmup_epochs, 1)
    progress = min((position - settings.warmup_epochs) / length, 1.0)
    return FLOOR + 0.5 * (1.0 - FLOOR) * (1.0 + math.cos(math.pi * progress))


def set_rates(optimiser: torch.optim.Optimizer, settings: LocalSettings, factor: float) -> tuple[float, float]:
    """Set both learning rates to `factor` times their peak; return (encoder rate, decoder rate)."""
    rates = (settings.encoder_learning_rate * factor, settings.decoder_learning_rate * factor)
    for group, rate in zip(optimiser.param_groups, rates, strict=True):
        group["lr"] = rate
    return rates


def optimiser_arrays(model: nn.Module, optimiser: torch.optim.Optimizer) -> NamedArrays:
    """Return copies of both moments and the step counter of every parameter that was ever stepped.

    Returns:
        Arrays named `<moment>/<parameter name>`.
    """
    arrays: NamedArrays = {}
    for name, parameter in model.named_parameters():
        for key in _MOMENTS if parameter in optimiser.state else ():
            arrays[f"{key}/{name}"] = np.array(optimiser.state[parameter][key].cpu().numpy())
    return arrays


def load_optimiser(
    model: nn.Module, optimiser: torch.optim.Optimizer, arrays: Mapping[str, npt.NDArray[np.generic]]
) -> None:
    """Put back what `optimiser_arrays` returned.

    Raises:
        ValueError: an array is missing, superfluous or of another shape than its parameter.
    """
    left = set(arrays)
    for name, parameter in model.named_parameters():
        keys = [f"{key}/{name}" for key in _MOMENTS]
        present = [key for key in keys if key in left]
        if not present:
            continue
        if present != keys:
            raise ValueError(f"optimiser state of {name!r} is incomplete: only {', '.join(present)}")
        moments = [torch.tensor(arrays[key]) for key in keys]
        for moment in moments[:2]:
            if moment.shape != parameter.shape:
                raise ValueError(
                    f"optimiser state of {name!r} has shape {tuple(moment.shape)}, expected {tuple(parameter.shape)}"
                )
        optimiser.state[parameter] = {
            "step": moments[2].to(torch.float32),
            "exp_avg": torch.empty_like(parameter).copy_(moments[0]),
            "exp_avg_sq": torch.empty_like(parameter).copy_(moments[1]),
        }
        left -= set(keys)
    if left:
        raise ValueError(f"optimiser state holds arrays of no parameter of this model: {sorted(left)[:5]}")
