"""One step of training that is thrown away: does the client fit its device, and does its data train at all?"""

import math
import time
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from fmtl_datasets.scenarios.scenario import ClientEntry

from client_app.round.local_data import local_data
from client_app.round.local_model import client_tasks, prepare_model
from client_app.training.batches import to_device, training_batches
from client_app.training.device import choose_arithmetic, explain_out_of_memory
from client_app.training.errors import NonFiniteError
from client_app.training.loop import Learner, train_step
from client_app.training.optimiser import build_optimiser
from fmtl_strategies.contract.settings import LocalSettings


@dataclass(frozen=True)
class Trial:
    """What a step took.

    Attributes:
        device: where it ran.
        seconds: of the step, without loading.
        peak_bytes: most memory of the GPU in use; 0 on a CPU.
    """

    device: str
    seconds: float
    peak_bytes: int


def trial_step(entry: ClientEntry, cache: Path | None) -> Trial:
    """Load one batch and take one optimiser step with the client's own model, batch size and image size.

    Args:
        entry: the client.
        cache: folder for labels that are derived from the data set's files.

    Raises:
        DeviceError: the device does not exist or has no room for the step; names the settings to lower.
        NonFiniteError: the loss is NaN or infinite.
        ValueError: the data, the encoder or its weights cannot be used.
    """
    settings = LocalSettings(total_rounds=1)
    arithmetic = choose_arithmetic(entry.device, settings.precision)
    data = replace(local_data(entry, cache), threads=0)
    tasks = client_tasks(entry)
    with explain_out_of_memory(entry.name, entry.batch_size, entry.image_size, arithmetic.device):
        if arithmetic.on_gpu:
            torch.cuda.reset_peak_memory_stats(arithmetic.device)
        model = prepare_model(entry, data.num_classes, settings.seed)[0].to(arithmetic.device).train()
        optimiser = build_optimiser(model, settings)
        batch = to_device(next(training_batches(data, entry.batch_size, (0, entry.name, "trial"))), arithmetic.device)
        started = time.perf_counter()
        losses = train_step(Learner(model, optimiser, arithmetic.scaler(), arithmetic), tasks, batch).tolist()
        seconds = time.perf_counter() - started
    for name, value in zip(tasks, losses, strict=True):
        if not math.isfinite(value):
            raise NonFiniteError(f"client {entry.name}: the first loss of task {name!r} is {value}; look at its labels")
    peak = torch.cuda.max_memory_allocated(arithmetic.device) if arithmetic.on_gpu else 0
    return Trial(str(arithmetic.device), seconds, int(peak))
