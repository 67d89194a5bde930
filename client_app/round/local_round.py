"""One round of one client, from what was kept and what arrived to what is kept and what is sent."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import torch
from fmtl_datasets.scenarios.scenario import ClientEntry

from client_app.model.multi_task_model import MultiTaskModel
from client_app.privacy import fresh_generator, keep_variances, privatise
from client_app.round.local_model import client_tasks, prepare_model, reusable_model
from client_app.training.batches import LocalData
from client_app.training.device import Arithmetic
from client_app.training.errors import StateError
from client_app.training.evaluation import evaluate
from client_app.training.look_ahead import LookAhead
from client_app.training.loop import Learner, RoundPlan, phases_of, train_round
from client_app.training.optimiser import build_optimiser, load_optimiser, optimiser_arrays
from client_app.training.pull import attach
from client_app.training.state import ClientState, ModelState
from client_app.training.vectors import (
    buffer_layouts,
    group_layouts,
    load_buffers,
    load_groups,
    read_buffers,
    read_groups,
)
from fmtl_strategies.contract.layout import FloatArray
from fmtl_strategies.contract.messages import Instruction, Score
from fmtl_strategies.contract.rule import Pull
from fmtl_strategies.contract.sparse import sparsify

Vectors = Mapping[str, FloatArray]


@dataclass(frozen=True)
class Received:
    """Flat (D,) float32 vectors by group that came with an instruction.

    Attributes:
        parameters: overwrite the client's own.
        anchors: never overwrite; a client without a state starts from them.
    """

    parameters: Vectors = field(default_factory=dict)
    anchors: Vectors = field(default_factory=dict)

    @property
    def anchor_of(self) -> dict[str, FloatArray]:
        """What a pull draws each group to: its anchor, or else what arrived as parameters."""
        return {**self.parameters, **self.anchors}

    @property
    def reference(self) -> dict[str, FloatArray]:
        """What an update is counted from: the parameters that arrived, or else the anchor."""
        return {**self.anchors, **self.parameters}


@dataclass(frozen=True)
class Trained:
    """What a round of training leaves of one model.

    Attributes:
        model: what is kept of it.
        updates: flat (D,) float32 vector by group asked for.
        losses: mean training loss by task over the last epoch.
        affinities: task affinities measured on the way.
        scaler: state of the loss scaler.
    """

    model: ModelState
    updates: dict[str, FloatArray]
    losses: dict[str, float | None]
    affinities: dict[str, dict[str, float]]
    scaler: dict[str, int | float]


@dataclass(frozen=True)
class LocalRound:
    """The round of one client.

    Args:
        entry: the client.
        data: its data.
        instruction: what to do.
        received: what came with it.
        state: what the client kept; None at its start.
        arithmetic: device and precision.
        metric_workers: processes that may share the work of a slow metric.
    """

    entry: ClientEntry
    data: LocalData
    instruction: Instruction
    received: Received
    state: ClientState | None
    arithmetic: Arithmetic
    metric_workers: int = 0

    @property
    def completed_epochs(self) -> int:
        """Local epochs completed before this round."""
        return self.state.counters.completed_epochs if self.state else 0

    def plan(self) -> RoundPlan:
        """Return what is trained in this round."""
        return RoundPlan(
            client=self.entry.name,
            round=self.instruction.round,
            completed_epochs=self.completed_epochs,
            local_epochs=self.entry.local_epochs,
            batch_size=self.entry.batch_size,
            settings=self.instruction.settings,
            phases=phases_of(self.instruction.rule),
        )

    def score(self, model: MultiTaskModel) -> dict[str, Score]:
        """Score the model that `scored_model` gives."""
        tasks = client_tasks(self.entry, self.metric_workers)
        metrics = {name: task.new_metric(self.data.num_classes) for name, task in tasks.items()}
        return evaluate(model, metrics, self.data, self.entry.batch_size, self.arithmetic.device)

    def scored_model(self) -> MultiTaskModel:
        """Return the client's model as it is before training; the next caller in this process overwrites it."""
        overwrite = self.instruction.rule.personal is None
        return self._model(self.state.model if self.state else None, overwrite=overwrite)

    def train(self) -> tuple[Trained, Trained | None]:
        """Train the client's model, the one that is scored, and after it the exchanged one where that is another.

        Raises:
            NonFiniteError: training diverged.
            ValueError: groups or values that do not fit the model.
        """
        rule, state = self.instruction.rule, self.state
        plan, asked = self.plan(), self.instruction.upload_groups
        kept, scaler = (state.model, state.counters.scaler) if state else (None, {})
        if rule.personal is None:
            return self._train(self._learner(kept, scaler), plan, rule.pull, asked), None
        # Both models use one network object: the first is read out before the second is loaded.
        own = self._train(self._learner(kept, scaler), replace(plan, model="personal"), rule.personal.pull, ())
        kept, scaler = (state.exchanged, state.counters.exchanged_scaler) if state else (None, {})
        learner = self._learner(kept, scaler, exchanged=True)
        return own, self._train(learner, replace(plan, model="exchanged"), rule.pull, asked)

    def _train(self, learner: Learner, plan: RoundPlan, pull: Pull | None, upload_groups: Sequence[str]) -> Trained:
        model, before = learner.model, self._before(learner, upload_groups)
        pulled = replace(learner, pull=attach(pull, model, self.received.anchor_of))
        losses = train_round(pulled, client_tasks(self.entry), self.data, plan)
        kept = ModelState(
            parameters=read_groups(model, group_layouts(model)),
            buffers=read_buffers(model),
            optimiser=optimiser_arrays(model, learner.optimiser),
        )
        affinities = learner.look_ahead.affinities() if learner.look_ahead else {}
        updates = self._updates(learner, kept.parameters, before)
        return Trained(kept, updates, losses, affinities, learner.scaler.state_dict())

    def _before(self, learner: Learner, asked: Sequence[str]) -> dict[str, FloatArray]:
        """Return what the updates are counted from: what arrived, or the model's own where nothing did."""
        arrived = self.received.reference
        own = read_groups(learner.model, [group for group in asked if group not in arrived])
        return own | {group: arrived[group] for group in asked if group in arrived}

    def _updates(self, learner: Learner, parameters: Vectors, before: Vectors) -> dict[str, FloatArray]:
        """Return what is sent: values after training, `parameters` and the model's buffers, minus those before."""
        buffers = read_groups(learner.model, [group for group in before if group not in parameters])
        after = {**parameters, **buffers}
        updates = {group: after[group] - before[group] for group in before}
        rule = self.instruction.rule.sparsify
        layouts = group_layouts(learner.model)
        if self.entry.privacy is not None and updates:
            noisy = privatise(updates, self.entry.privacy, fresh_generator())
            updates = keep_variances(noisy, self.received.reference, layouts | buffer_layouts(learner.model))
        dense = {group: update for group, update in updates.items() if group in layouts}
        if rule is not None and dense:
            updates.update(sparsify(dense, layouts, rule))
        return updates

    def _learner(
        self, kept: ModelState | None, scaler_state: Mapping[str, int | float], *, exchanged: bool = False
    ) -> Learner:
        """Build model and optimiser, put back what was kept, and load what arrived over it.

        Affinities are measured on the client's own model only.
        """
        model = self._model(kept, overwrite=exchanged or self.instruction.rule.personal is None)
        settings = self.instruction.settings
        optimiser, scaler = build_optimiser(model, settings), self.arithmetic.scaler()
        if kept is not None:
            load_optimiser(model, optimiser, kept.optimiser)
            if scaler.is_enabled() and scaler_state:
                scaler.load_state_dict(dict(scaler_state))
        every = 0 if exchanged else self.instruction.rule.look_ahead_every
        look_ahead = LookAhead(every, client_tasks(self.entry)) if every else None
        return Learner(model, optimiser, scaler, self.arithmetic, look_ahead=look_ahead)

    def _model(self, kept: ModelState | None, *, overwrite: bool) -> MultiTaskModel:
        if kept is None:
            model = prepare_model(self.entry, self.data.num_classes, self.instruction.settings.seed)[0]
            load_groups(model, self.received.reference)
        else:
            model = reusable_model(self.entry, self.data.num_classes)
            self._require_same_model(model)
            load_groups(model, kept.parameters)
            load_buffers(model, kept.buffers)
            if overwrite:
                load_groups(model, self.received.parameters)
        model.to(self.arithmetic.device)
        if self.arithmetic.on_gpu:
            model.to(memory_format=torch.channels_last)
        return model

    def _require_same_model(self, model: torch.nn.Module) -> None:
        if self.state is None:
            return
        counters = self.state.counters
        signatures = {group: layout.signature for group, layout in group_layouts(model).items()}
        if signatures != counters.model:
            different = sorted(
                group
                for group in signatures.keys() | counters.model.keys()
                if signatures.get(group) != counters.model.get(group)
            )
            raise StateError(
                f"client {self.entry.name}: the state kept after round {counters.round} belongs to another model "
                f"({', '.join(different)} differ). Tasks, encoder and decoder width must stay as they were during a "
                f"run; start a new run to change them."
            )
