"""Learning rate by local epoch (methods.md section 5; the cosine schedule of FedHCA2's code)."""

import math

from fmtl_strategies.contract.settings import LocalSettings

WARMUP_START = 1.25e-3
"""First warm-up rate as a fraction of the peak: 1.25e-7 for the published peak 1e-4."""

FLOOR = 1.25e-2
"""Lowest rate of the cosine as a fraction of the peak: 1.25e-6 for the published peak 1e-4."""


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
