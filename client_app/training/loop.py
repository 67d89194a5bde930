"""The local training of one round."""

import logging
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn

from client_app.tasks.base import Task
from client_app.training.batches import LocalData, to_device, training_batches
from client_app.training.device import Arithmetic, reproducible_kernels
from client_app.training.errors import NonFiniteError
from client_app.training.look_ahead import LookAhead
from client_app.training.optimiser import rate_factor, set_rates
from client_app.training.pull import AttachedPull
from client_app.training.seeds import derive_seed
from fmtl_strategies.contract.groups import group_of, kind_of
from fmtl_strategies.contract.rule import LocalRule, Phase
from fmtl_strategies.contract.settings import LocalSettings
from fmtl_strategies.flower_compat import log

EVERYTHING = Phase(kinds=("encoder", "decoders", "heads"))


@dataclass(frozen=True)
class RoundPlan:
    """What one client does in one round.

    Attributes:
        client: its name.
        round: the round, from 1.
        completed_epochs: local epochs this client has completed before this round.
        local_epochs: the client's local epochs: one pass of a phase.
        batch_size: images in a step.
        settings: optimiser and schedule, equal for all clients.
        phases: parts of the round, in order.
        model: which of the client's models is trained, for messages; empty where there is only one.
    """

    client: str
    round: int
    completed_epochs: int
    local_epochs: int
    batch_size: int
    settings: LocalSettings
    phases: tuple[Phase, ...] = (EVERYTHING,)
    model: Literal["", "personal", "exchanged"] = ""

    @property
    def who(self) -> str:
        """Return what messages call the client and its model."""
        return f"{self.client} ({self.model} model)" if self.model else self.client

    @property
    def epochs(self) -> int:
        """Epochs of this round, over all phases."""
        return self.local_epochs * sum(phase.passes for phase in self.phases)

    @property
    def total_epochs(self) -> int:
        """Length of the client's schedule: rounds of the run times epochs of a round."""
        return self.settings.total_rounds * self.epochs


def phases_of(rule: LocalRule) -> tuple[Phase, ...]:
    """Return the phases a rule asks for: its own, or one that trains everything."""
    return rule.phases or (EVERYTHING.model_copy(update={"passes": rule.passes}),)


@dataclass(frozen=True)
class Learner:
    """What is trained, and with what: the parts that change during training.

    Attributes:
        pull: attraction of the model to an anchor; None for none.
        look_ahead: measures task affinities on the way; None for none.
    """

    model: nn.Module
    optimiser: torch.optim.Optimizer
    scaler: torch.amp.GradScaler
    arithmetic: Arithmetic
    pull: AttachedPull | None = None
    look_ahead: LookAhead | None = None


def train_round(
    learner: Learner, tasks: Mapping[str, Task], data: LocalData, plan: RoundPlan
) -> dict[str, float | None]:
    """Train for the round's epochs, phase by phase.

    Global random state is left as it was; what the layers draw (drop path) is seeded by run, client, round and epoch.

    Args:
        learner: model and optimiser, changed in place.
        tasks: the client's tasks by name.
        data: its data.
        plan: phases, epochs, batch size, seeds.

    Returns:
        Mean training loss by task over the last epoch, unweighted.

    Raises:
        NonFiniteError: a loss or a parameter became NaN or infinite.
    """
    losses: dict[str, float | None] = {}
    learner.model.train()
    done = 0
    for phase in plan.phases:
        with _only_trained(learner.model, phase):
            for number in range(done, done + plan.local_epochs * phase.passes):
                losses = _train_numbered_epoch(learner, tasks, data, plan, number)
        done += plan.local_epochs * phase.passes
    learner.optimiser.zero_grad(set_to_none=True)
    _require_finite_parameters(learner.model, plan)
    return losses


@contextmanager
def _only_trained(model: nn.Module, phase: Phase) -> Iterator[None]:
    """Freeze the parameters of the kinds a phase does not train, and only them: what was frozen before stays so after.

    The optimiser skips parameters without a gradient: no step, no weight decay, moments and step counts wait. The model
    stays in training mode, so statistics of batch norms whose weights are frozen go on following the data.
    """
    others = (p for name, p in model.named_parameters() if kind_of(group_of(name)) not in phase.kinds)
    frozen = [parameter for parameter in others if parameter.requires_grad]
    for parameter in frozen:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for parameter in frozen:
            parameter.requires_grad_(True)


def _train_numbered_epoch(
    learner: Learner, tasks: Mapping[str, Task], data: LocalData, plan: RoundPlan, number: int
) -> dict[str, float | None]:
    """Train epoch `number` of the round, from 0; return the mean losses."""
    epoch = plan.completed_epochs + number
    seed = (plan.settings.seed, plan.client, plan.round, epoch)
    rates = set_rates(learner.optimiser, plan.settings, rate_factor(epoch, plan.total_epochs, plan.settings))
    devices = [learner.arithmetic.device] if learner.arithmetic.on_gpu else []
    with reproducible_kernels(), torch.random.fork_rng(devices):
        _seed_layers(derive_seed(*seed, "layers"), learner.arithmetic)
        started = time.perf_counter()
        table, images = _train_epoch(learner, tasks, training_batches(data, plan.batch_size, seed))
    _require_finite(table, list(tasks), plan.who, epoch)
    losses: dict[str, float | None] = dict(zip(tasks, table.mean(dim=0).tolist(), strict=True))
    _log_epoch(plan, number, losses, rates, images / (time.perf_counter() - started))
    return losses


def _train_epoch(
    learner: Learner, tasks: Mapping[str, Task], batches: Iterable[Mapping[str, Any]]
) -> tuple[Tensor, int]:
    """Train on every batch; return the losses (steps, tasks) in float64 on the CPU and the number of images."""
    rows, images = [], 0
    for batch in batches:
        images += len(batch["image"])
        rows.append(train_step(learner, tasks, to_device(batch, learner.arithmetic.device)))
    return torch.stack(rows).cpu().to(torch.float64), images


def train_step(learner: Learner, tasks: Mapping[str, Task], batch: Mapping[str, Any]) -> Tensor:
    """Take one optimiser step; return the losses (tasks,)."""
    if learner.look_ahead is not None:
        rate = learner.optimiser.param_groups[0]["lr"]
        learner.look_ahead.observe(learner.model, batch, learner.arithmetic, rate)
    learner.optimiser.zero_grad(set_to_none=True)
    with learner.arithmetic.autocast():
        predictions = learner.model(batch["image"])
    losses = {name: task.loss(predictions[name], batch[name]) for name, task in tasks.items()}
    total = torch.stack([task.loss_weight * losses[name] for name, task in tasks.items()]).sum()
    learner.scaler.scale(total).backward()  # type: ignore[no-untyped-call]
    if learner.pull is not None:
        learner.scaler.unscale_(learner.optimiser)
        learner.pull.add_to_gradients()
    scale = learner.scaler.get_scale()
    learner.scaler.step(learner.optimiser)
    learner.scaler.update()
    # A scale that falls says that the gradients overflowed and the optimiser's step was left out; so is the move.
    if learner.pull is not None and learner.scaler.get_scale() >= scale:
        learner.pull.move(learner.optimiser)
    return torch.stack([loss.detach() for loss in losses.values()])


def _seed_layers(seed: int, arithmetic: Arithmetic) -> None:
    torch.default_generator.manual_seed(seed)
    if arithmetic.on_gpu:
        with torch.cuda.device(arithmetic.device):
            torch.cuda.manual_seed(seed)


def _require_finite(table: Tensor, tasks: list[str], who: str, epoch: int) -> None:
    bad = (~torch.isfinite(table)).nonzero()
    if len(bad):
        step, column = (int(value) for value in bad[0])
        raise NonFiniteError(
            f"client {who}: the loss of task {tasks[column]!r} became {float(table[step, column])} in epoch "
            f"{epoch + 1}, step {step + 1} of {len(table)}. Lower the learning rates "
            f"(encoder-learning-rate, decoder-learning-rate) or look for wrong labels; the round is not counted."
        )


def _require_finite_parameters(model: nn.Module, plan: RoundPlan) -> None:
    for name, parameter in model.named_parameters():
        if not bool(torch.isfinite(parameter).all()):
            raise NonFiniteError(
                f"client {plan.who}: parameter {name} is not finite after round {plan.round}. Lower the learning "
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
        plan.who,
        plan.round,
        plan.settings.total_rounds,
        number + 1,
        plan.epochs,
        text,
        *rates,
        speed,
    )
