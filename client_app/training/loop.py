"""The local training of one round."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import torch
from flwr.common.logger import log
from torch import Tensor, nn

from client_app.tasks.base import Task
from client_app.training.batches import LocalData, to_device, training_batches
from client_app.training.device import Arithmetic, reproducible_kernels
from client_app.training.errors import NonFiniteError
from client_app.training.optimiser import set_rates
from client_app.training.schedule import rate_factor
from client_app.training.seeds import derive_seed
from fmtl_strategies.contract.settings import LocalSettings


@dataclass(frozen=True)
class RoundPlan:
    """What one client does in one round.

    Attributes:
        client: its name.
        round: the round, from 1.
        completed_epochs: local epochs this client has completed before this round.
        epochs: local epochs of this round.
        batch_size: images in a step.
        settings: optimiser and schedule, equal for all clients.
    """

    client: str
    round: int
    completed_epochs: int
    epochs: int
    batch_size: int
    settings: LocalSettings

    @property
    def total_epochs(self) -> int:
        """Length of the client's schedule: rounds of the run times local epochs."""
        return self.settings.total_rounds * self.epochs


@dataclass(frozen=True)
class Learner:
    """What is trained, and with what: the parts that change during training."""

    model: nn.Module
    optimiser: torch.optim.Optimizer
    scaler: torch.amp.GradScaler
    arithmetic: Arithmetic


def train_round(
    learner: Learner, tasks: Mapping[str, Task], data: LocalData, plan: RoundPlan
) -> dict[str, float | None]:
    """Train for the round's epochs.

    Global random state is left as it was; what the layers draw (drop path) is seeded by run, client, round and epoch.

    Args:
        learner: model and optimiser, changed in place.
        tasks: the client's tasks by name.
        data: its data.
        plan: epochs, batch size, seeds.

    Returns:
        Mean training loss by task over the last epoch, unweighted.

    Raises:
        NonFiniteError: a loss or a parameter became NaN or infinite.
    """
    losses: dict[str, float | None] = {}
    device = learner.arithmetic.device
    learner.model.train()
    for number in range(plan.epochs):
        epoch = plan.completed_epochs + number
        seed = (plan.settings.seed, plan.client, plan.round, epoch)
        rates = set_rates(learner.optimiser, plan.settings, rate_factor(epoch, plan.total_epochs, plan.settings))
        with reproducible_kernels(), torch.random.fork_rng([device] if learner.arithmetic.on_gpu else []):
            _seed_layers(derive_seed(*seed, "layers"), learner.arithmetic)
            started = time.perf_counter()
            table, images = _train_epoch(learner, tasks, training_batches(data, plan.batch_size, seed))
        _require_finite(table, list(tasks), plan.client, epoch)
        losses = dict(zip(tasks, table.mean(dim=0).tolist(), strict=True))
        _log_epoch(plan, number, losses, rates, images / (time.perf_counter() - started))
    learner.optimiser.zero_grad(set_to_none=True)
    _require_finite_parameters(learner.model, plan)
    return losses


def _train_epoch(
    learner: Learner, tasks: Mapping[str, Task], batches: Iterable[Mapping[str, Tensor]]
) -> tuple[Tensor, int]:
    """Train on every batch; return the losses (steps, tasks) in float64 on the CPU and the number of images."""
    rows, images = [], 0
    for batch in batches:
        images += len(batch["image"])
        rows.append(_train_step(learner, tasks, to_device(batch, learner.arithmetic.device)))
    return torch.stack(rows).cpu().to(torch.float64), images


def _train_step(learner: Learner, tasks: Mapping[str, Task], batch: Mapping[str, Tensor]) -> Tensor:
    """Take one optimiser step; return the losses (tasks,)."""
    learner.optimiser.zero_grad(set_to_none=True)
    with learner.arithmetic.autocast():
        predictions = learner.model(batch["image"])
    losses = {name: task.loss(predictions[name], batch[name]) for name, task in tasks.items()}
    total = torch.stack([task.loss_weight * losses[name] for name, task in tasks.items()]).sum()
    learner.scaler.scale(total).backward()  # type: ignore[no-untyped-call]
    learner.scaler.step(learner.optimiser)
    learner.scaler.update()
    return torch.stack([loss.detach() for loss in losses.values()])


def _seed_layers(seed: int, arithmetic: Arithmetic) -> None:
    torch.default_generator.manual_seed(seed)
    if arithmetic.on_gpu:
        with torch.cuda.device(arithmetic.device):
            torch.cuda.manual_seed(seed)


def _require_finite(table: Tensor, tasks: list[str], client: str, epoch: int) -> None:
    bad = (~torch.isfinite(table)).nonzero()
    if len(bad):
        step, column = (int(value) for value in bad[0])
        raise NonFiniteError(
            f"client {client}: the loss of task {tasks[column]!r} became {float(table[step, column])} in epoch "
            f"{epoch + 1}, step {step + 1} of {len(table)}. Lower the learning rates "
            f"(encoder-learning-rate, decoder-learning-rate) or look for wrong labels; the round is not counted."
        )


def _require_finite_parameters(model: nn.Module, plan: RoundPlan) -> None:
    for name, parameter in model.named_parameters():
        if not bool(torch.isfinite(parameter).all()):
            raise NonFiniteError(
                f"client {plan.client}: parameter {name} is not finite after round {plan.round}. Lower the learning "
                f"rates (encoder-learning-rate, decoder-learning-rate) or set precision to float32; the round is not "
                f"counted."
            )


def _log_epoch(
    plan: RoundPlan,
    number: int,
    losses: Mapping[str, float | None],
    rates: tuple[float, float],
    speed: float,
) -> None:
    text = ", ".join(f"{task} {loss:.4f}" for task, loss in losses.items())
    log(
        logging.INFO,
        "%s: round %d/%d, epoch %d/%d: loss %s; rate %.2e encoder, %.2e decoders; %.1f images/s",
        plan.client,
        plan.round,
        plan.settings.total_rounds,
        number + 1,
        plan.epochs,
        text,
        *rates,
        speed,
    )
