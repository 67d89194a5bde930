"""Task affinity by look-ahead: what one step for task i does to the loss of task j (TAG, arXiv 2109.04617; MAS).

Z_{i->j} = 1 - L_j(theta after a step on L_i) / L_j(theta), on one batch; positive where learning i helps j.
"""

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from client_app.tasks.base import Task
from client_app.training.device import Arithmetic, reproducible_kernels
from fmtl_strategies.contract.groups import group_of


@dataclass
class LookAhead:
    """Measures affinities at every so many steps and keeps their sums.

    As in TAG the step is plain gradient descent at the learning rate of the moment, whatever the optimiser, and only
    what tasks share moves: the encoder. Nothing is measured while the encoder is frozen or its rate is 0.

    Attributes:
        every: measure at the first step and every so many steps after it.
        tasks: the client's tasks by name.
    """

    every: int
    tasks: Mapping[str, Task]
    _steps: int = 0
    _sums: dict[tuple[str, str], float] = field(default_factory=dict)
    _counts: dict[tuple[str, str], int] = field(default_factory=dict)

    def observe(self, model: nn.Module, batch: Mapping[str, Any], arithmetic: Arithmetic, rate: float) -> None:
        """Measure on this batch if it is its turn; leaves the model, its gradients and random state as they were.

        Args:
            model: in training mode.
            batch: image and labels, on the model's device.
            arithmetic: where the model is.
            rate: learning rate of the step, the encoder's.
        """
        due = self.every > 0 and len(self.tasks) > 1 and self._steps % self.every == 0
        self._steps += 1
        if not due or rate <= 0 or not _trained_encoder(model):
            return
        for pair, value in look_ahead(model, self.tasks, batch, arithmetic, rate).items():
            if math.isfinite(value):
                self._sums[pair] = self._sums.get(pair, 0.0) + value
                self._counts[pair] = self._counts.get(pair, 0) + 1

    def affinities(self) -> dict[str, dict[str, float]]:
        """Return the mean affinity Z_{i->j} by i and j over what was measured; empty where nothing was."""
        means: dict[str, dict[str, float]] = {}
        for (i, j), total in self._sums.items():
            means.setdefault(i, {})[j] = total / self._counts[i, j]
        return means


def look_ahead(
    model: nn.Module, tasks: Mapping[str, Task], batch: Mapping[str, Any], arithmetic: Arithmetic, rate: float
) -> dict[tuple[str, str], float]:
    """Return Z_{i->j} for every ordered pair of different tasks on one batch.

    The step is the one training would take for task i, so on its loss times its weight. Forward passes run in training
    mode (batch-norm statistics are put back), all with the same random draws, and in float32 whatever the
    precision of training, on a GPU without TF32: what one step changes is lost in bfloat16. A task whose loss is 0
    before the step gives NaN as j: there is nothing to be relative to.

    Args:
        model: in training mode, with an encoder that is not frozen.
        tasks: the client's tasks by name.
        batch: image and labels, on the model's device.
        arithmetic: where the model is.
        rate: length of the step per unit of gradient.

    Returns:
        Z by (i, j); NaN or infinite where a loss is.
    """
    encoder = _trained_encoder(model)
    changed = [*encoder, *model.buffers()]
    found: dict[tuple[str, str], float] = {}
    with reproducible_kernels(allow_tf32=False):
        with _put_back(changed, arithmetic):
            losses = _losses(model, tasks, batch)
            before = {name: float(loss.detach()) for name, loss in losses.items()}
            gradients = {
                name: torch.autograd.grad(loss * tasks[name].loss_weight, encoder, retain_graph=True, allow_unused=True)
                for name, loss in losses.items()
            }
            # Frees the graph before the next forward passes need memory.
            del losses
        for i in tasks:
            with _put_back(changed, arithmetic), torch.no_grad():
                for parameter, gradient in zip(encoder, gradients.pop(i), strict=True):
                    if gradient is not None:
                        parameter.sub_(gradient, alpha=rate)
                after = {name: float(loss) for name, loss in _losses(model, tasks, batch).items()}
            for j in tasks:
                if j != i:
                    found[i, j] = 1.0 - after[j] / before[j] if before[j] else float("nan")
    return found


def _trained_encoder(model: nn.Module) -> list[nn.Parameter]:
    return [p for name, p in model.named_parameters() if group_of(name) == "encoder" and p.requires_grad]


def _losses(model: nn.Module, tasks: Mapping[str, Task], batch: Mapping[str, Any]) -> dict[str, Tensor]:
    predictions = model(batch["image"])
    return {name: task.loss(predictions[name], batch[name]) for name, task in tasks.items()}


@contextmanager
def _put_back(tensors: list[Tensor], arithmetic: Arithmetic) -> Iterator[None]:
    """Put tensors and random state back at the end, so that every forward pass starts alike and sees the same draws."""
    kept = [tensor.detach().clone() for tensor in tensors]
    with torch.random.fork_rng([arithmetic.device] if arithmetic.on_gpu else []):
        try:
            yield
        finally:
            with torch.no_grad():
                for tensor, value in zip(tensors, kept, strict=True):
                    tensor.copy_(value)
