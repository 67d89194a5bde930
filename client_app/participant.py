"""One participant, apart from Flower: who it is, how it starts, a round of training, an evaluation."""

from __future__ import annotations

import hashlib
import platform
import time
from collections.abc import Iterable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import numpy as np
import torch

from client_app.local_model import client_tasks, prepare_model, reusable_model
from client_app.training.batches import LocalData
from client_app.training.device import Arithmetic, choose_arithmetic, clear_memory_errors
from client_app.training.errors import StateError
from client_app.training.evaluation import evaluate
from client_app.training.loop import Learner, RoundPlan, train_round
from client_app.training.optimiser import build_optimiser, load_optimiser, optimiser_arrays
from client_app.training.state import Answer, ClientState, Counters, Restored, StateFolder
from client_app.training.vectors import group_layouts, load_buffers, load_groups, read_buffers, read_groups
from datasets.scenario import ClientEntry
from fmtl_strategies.contract.layout import FloatArray, GroupLayout
from fmtl_strategies.contract.messages import Instruction, Report, Score
from fmtl_strategies.contract.profile import PROTOCOL_VERSION, ClientProfile, TaskProfile
from fmtl_strategies.contract.settings import LocalSettings

Vectors = Mapping[str, FloatArray]
_REPORTED_PACKAGES = ("fmtl", "flwr", "torch", "torchvision", "timm", "numpy")


@dataclass(frozen=True)
class Participant:
    """One client of a run.

    Args:
        entry: its entry in the scenario.
        data: its data splits.
        state_root: folder under which clients on this machine keep what survives a round.
        metric_workers: processes that may share the work of a slow metric; 0 for none.
    """

    entry: ClientEntry
    data: LocalData
    state_root: Path
    metric_workers: int = 0

    def layouts(self) -> dict[str, GroupLayout]:
        """Return the layout of every group of this client's model."""
        return group_layouts(reusable_model(self.entry, self.data.num_classes))

    def profile(self, settings: LocalSettings) -> ClientProfile:
        """Return what the server may know of this client: names, counts, metrics and array layouts."""
        prepared = prepare_model(self.entry, self.data.num_classes, settings.seed)
        tasks = client_tasks(self.entry)
        return ClientProfile(
            protocol=PROTOCOL_VERSION,
            client=self.entry.name,
            dataset=_kind_of_data(self.entry),
            encoder=self.entry.encoder,
            tasks=tuple(
                TaskProfile(name=name, metric=task.metric_name, higher_is_better=task.higher_is_better)
                for name, task in tasks.items()
            ),
            train_examples=len(self.data.train),
            validation_examples=len(self.data.validation),
            local_epochs=self.entry.local_epochs,
            groups=group_layouts(prepared.model),
            weights_report=prepared.weights_report[:2000],
            versions=_versions(),
        )

    def initial(self, settings: LocalSettings, groups: Iterable[str]) -> dict[str, FloatArray]:
        """Return the parameters some groups start from, flat (D,) float32 by group.

        Raises:
            ValueError: the model has no such group.
        """
        return read_groups(prepare_model(self.entry, self.data.num_classes, settings.seed).model, groups)

    def train(self, instruction: Instruction, parameters: Vectors) -> Answer:
        """Do one round: load what arrived, score it if asked, train, keep the state.

        The same instruction with the same parameters gives the answer that was given before, without training again.

        Args:
            instruction: the round, what to upload, and how to train.
            parameters: flat (D,) float32 vector of every group the server sent; the other groups are the client's own.

        Returns:
            The report, and the updates (parameters after training minus before) of the groups asked for.

        Raises:
            StateError: what the client kept cannot be used for this round.
            NonFiniteError: training diverged.
            DeviceError: the device does not exist or ran out of memory.
            ValueError: parameters or groups that do not fit the model.
        """
        if instruction.round < 1:
            raise ValueError(f"a train instruction has round {instruction.round}; rounds count from 1")
        folder = StateFolder(self.state_root, instruction.experiment, self.entry.name)
        request = _digest(self.entry, instruction, parameters)
        kept = folder.answer(instruction.round, request)
        if kept is not None:
            return kept
        restored = folder.restore(before=instruction.round)
        arithmetic = choose_arithmetic(self.entry.device, instruction.settings.precision)
        with self._clear_memory_errors(arithmetic):
            learner = self._learner(instruction.settings, restored.state, parameters, arithmetic)
            received = read_groups(learner.model, instruction.upload_groups)
            report = self._train(learner, instruction, restored)
            after = read_groups(learner.model, instruction.upload_groups)
        answer = Answer(report, {group: after[group] - received[group] for group in received})
        folder.save(_captured(learner, report, restored.state, self.entry.local_epochs, request), answer)
        return answer

    def evaluate(self, instruction: Instruction, parameters: Vectors) -> Report:
        """Score what arrived, with the client's own groups as they were after the last finished round.

        Raises:
            As `train`, but for divergence.
        """
        folder = StateFolder(self.state_root, instruction.experiment, self.entry.name)
        restored = folder.restore(before=instruction.round + 1)
        arithmetic = choose_arithmetic(self.entry.device, "float32")
        with self._clear_memory_errors(arithmetic):
            learner = self._learner(instruction.settings, restored.state, parameters, arithmetic)
            scores, seconds = self._score(learner)
        return self._report(instruction, restored).model_copy(
            update={"scores": scores, "seconds": {"evaluation": seconds}}
        )

    def _train(self, learner: Learner, instruction: Instruction, restored: Restored) -> Report:
        scores: dict[str, Score] = {}
        seconds = {}
        if instruction.evaluate:
            scores, seconds["evaluation"] = self._score(learner)
        plan = RoundPlan(
            client=self.entry.name,
            round=instruction.round,
            completed_epochs=restored.state.counters.completed_epochs if restored.state else 0,
            epochs=self.entry.local_epochs,
            batch_size=self.entry.batch_size,
            settings=instruction.settings,
        )
        started = time.perf_counter()
        losses = train_round(learner, client_tasks(self.entry), self.data, plan)
        seconds["training"] = time.perf_counter() - started
        return self._report(instruction, restored).model_copy(
            update={"losses": losses, "scores": scores, "seconds": seconds}
        )

    def _score(self, learner: Learner) -> tuple[dict[str, Score], float]:
        started = time.perf_counter()
        tasks = client_tasks(self.entry, self.metric_workers)
        metrics = {name: task.new_metric(self.data.num_classes) for name, task in tasks.items()}
        scores = evaluate(learner.model, metrics, self.data, self.entry.batch_size, learner.arithmetic.device)
        return scores, time.perf_counter() - started

    def _learner(
        self, settings: LocalSettings, state: ClientState | None, parameters: Vectors, arithmetic: Arithmetic
    ) -> Learner:
        """Build model and optimiser, put back what was kept, and load what arrived over it."""
        if state is None:
            model = prepare_model(self.entry, self.data.num_classes, settings.seed).model
        else:
            model = reusable_model(self.entry, self.data.num_classes)
            _require_same_model(state, model, self.entry.name)
            load_groups(model, state.parameters)
            load_buffers(model, state.buffers)
        load_groups(model, parameters)
        model.to(arithmetic.device)
        if arithmetic.on_gpu:
            model.to(memory_format=torch.channels_last)
        optimiser, scaler = build_optimiser(model, settings), arithmetic.scaler()
        if state is not None:
            load_optimiser(model, optimiser, state.optimiser)
            if scaler.is_enabled() and state.counters.scaler:
                scaler.load_state_dict(dict(state.counters.scaler))
        return Learner(model, optimiser, scaler, arithmetic)

    def _report(self, instruction: Instruction, restored: Restored) -> Report:
        return Report(
            client=self.entry.name,
            round=instruction.round,
            train_examples=len(self.data.train),
            restored_round=restored.state.counters.round if restored.state else 0,
            diagnostics={"unreadable_states": float(len(restored.unreadable))} if restored.unreadable else {},
        )

    def _clear_memory_errors(self, arithmetic: Arithmetic) -> AbstractContextManager[None]:
        return clear_memory_errors(self.entry.name, self.entry.batch_size, self.entry.image_size, arithmetic.device)


def _captured(learner: Learner, report: Report, before: ClientState | None, epochs: int, request: str) -> ClientState:
    layouts = group_layouts(learner.model)
    return ClientState(
        counters=Counters(
            round=report.round,
            restored_round=report.restored_round,
            completed_epochs=(before.counters.completed_epochs if before else 0) + epochs,
            model={group: layout.signature for group, layout in layouts.items()},
            scaler=learner.scaler.state_dict(),
            request=request,
        ),
        parameters=read_groups(learner.model, layouts),
        buffers=read_buffers(learner.model),
        optimiser=optimiser_arrays(learner.model, learner.optimiser),
    )


def _require_same_model(state: ClientState, model: torch.nn.Module, client: str) -> None:
    signatures = {group: layout.signature for group, layout in group_layouts(model).items()}
    if signatures != state.counters.model:
        different = sorted(
            group
            for group in signatures.keys() | state.counters.model.keys()
            if signatures.get(group) != state.counters.model.get(group)
        )
        raise StateError(
            f"client {client}: the state kept after round {state.counters.round} belongs to another model "
            f"({', '.join(different)} differ). Tasks, encoder and decoder width must stay as they were during a run; "
            f"start a new run to change them."
        )


def _kind_of_data(entry: ClientEntry) -> str:
    """Return what tells data sets apart for the server: indoor and outdoor scenes are two of them."""
    return f"{entry.dataset}-{entry.domain}" if entry.domain else entry.dataset


def _digest(entry: ClientEntry, instruction: Instruction, parameters: Vectors) -> str:
    """Return the hash of everything an answer depends on."""
    digest = hashlib.sha256(entry.model_dump_json().encode())
    digest.update(instruction.model_dump_json().encode())
    for group in sorted(parameters):
        digest.update(f"{group} {parameters[group].size}".encode())
        digest.update(np.ascontiguousarray(parameters[group]).data)
    return digest.hexdigest()


def _versions() -> dict[str, str]:
    found = {"python": platform.python_version()}
    for package in _REPORTED_PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found
