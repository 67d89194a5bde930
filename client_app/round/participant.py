"""One participant, apart from Flower: who it is, how it starts, a round of training, an evaluation."""

import hashlib
import platform
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import numpy as np
from fmtl_datasets.scenarios.scenario import ClientEntry

from client_app.privacy import account_file, read_account, reasons_kept, require_budget, write_account
from client_app.round.description import describe
from client_app.round.local_model import client_tasks, prepare_model, reusable_model
from client_app.round.local_round import LocalRound, Received, Trained
from client_app.saved_model.files import save_model
from client_app.training.batches import LocalData
from client_app.training.device import Arithmetic, choose_arithmetic, explain_out_of_memory
from client_app.training.state import Answer, ClientState, Counters, Restored, StateFolder
from client_app.training.vectors import buffer_layouts, group_layouts, read_groups
from fmtl_strategies.contract.files import explain_disk_full
from fmtl_strategies.contract.layout import FloatArray, GroupLayout
from fmtl_strategies.contract.messages import Instruction, Report, Score
from fmtl_strategies.contract.paths import MODEL_FOLDER
from fmtl_strategies.contract.profile import PROTOCOL_VERSION, ClientProfile, TaskProfile
from fmtl_strategies.contract.settings import LocalSettings

_REPORTED_PACKAGES = ("fmtl", "flwr", "torch", "torchvision", "timm", "numpy")


@dataclass(frozen=True)
class Participant:
    """One client of a run.

    Args:
        entry: its entry in the scenario.
        data: its data splits.
        state_root: folder under which clients on this machine keep what survives a round.
        metric_workers: processes that may share the work of a slow metric; 0 for none.
        strategy: name of the run's strategy, for the saved model; empty where the run does not say.
    """

    entry: ClientEntry
    data: LocalData
    state_root: Path
    metric_workers: int = 0
    strategy: str = ""

    def layouts(self) -> dict[str, GroupLayout]:
        """Return the layout of every group of this client's model, `buffers.` groups included."""
        model = reusable_model(self.entry, self.data.num_classes)
        return group_layouts(model) | buffer_layouts(model)

    def profile(self, settings: LocalSettings) -> ClientProfile:
        """Return what the server may know of this client: names, counts, metrics and array layouts."""
        model, weights_report = prepare_model(self.entry, self.data.num_classes, settings.seed)
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
            groups=group_layouts(model) | buffer_layouts(model),
            weights_report=weights_report[:2000],
            versions=_versions(),
        )

    def initial(self, settings: LocalSettings, groups: Iterable[str]) -> dict[str, FloatArray]:
        """Return the parameters some groups start from, flat (D,) float32 by group.

        Raises:
            ValueError: the model has no such group.
        """
        return read_groups(prepare_model(self.entry, self.data.num_classes, settings.seed)[0], groups)

    def train(self, instruction: Instruction, received: Received) -> Answer:
        """Do one round: load what arrived, score it if asked, train, keep the state.

        The same instruction with the same arrays gives the answer that was given before, without training again.

        Args:
            instruction: the round, what to upload, how to train, and the method's rule.
            received: flat (D,) float32 vector of every group the server sent; the other groups are the client's own.

        Returns:
            The report, and the updates of the groups asked for.

        Raises:
            StateError: what the client kept cannot be used for this round.
            NonFiniteError: training diverged.
            DeviceError: the device does not exist or ran out of memory.
            ValueError: parameters or groups that do not fit the model.
            PrivacyError: the client asks for privacy, and its limit is reached, or training failed for a reason that
                it keeps to itself.
        """
        if instruction.round < 1:
            raise ValueError(f"a train instruction has round {instruction.round}; rounds count from 1")
        folder = StateFolder(self.state_root, instruction.experiment, self.entry.name)
        request = _digest(self.entry, instruction, received)
        kept = folder.answer(instruction.round, request)
        if kept is not None:
            return kept
        uploads = bool(instruction.upload_groups)
        spent = self._spent(uploads=uploads)
        restored = folder.restore(before=instruction.round)
        arithmetic = choose_arithmetic(self.entry.device, instruction.settings.precision)
        with self._clear_errors(arithmetic):
            this_round = self._round(instruction, received, restored, arithmetic)
            seconds: dict[str, float] = {}
            scores: dict[str, Score] = {}
            if instruction.evaluate:
                with _timed(seconds, "evaluation"):
                    model = this_round.scored_model()
                    scores = this_round.score(model)
                described = describe(this_round, instruction.round - 1, scores, self.strategy, _versions())
                save_model(model, described, folder.path / MODEL_FOLDER)
            with _timed(seconds, "training"):
                own, exchanged = this_round.train()
        report = self._report(instruction, restored).model_copy(
            update={"losses": own.losses, "scores": scores, "seconds": seconds, "affinities": own.affinities}
        )
        answer = Answer(self._without_secrets(report, spent), (exchanged or own).updates)
        # Booked after all that may fail, for a failed round sends nothing; and before the answer can be read back.
        book = self._book if uploads else None
        folder.save(_captured(this_round, (own, exchanged), answer.report, request), answer, book)
        return answer

    def evaluate(self, instruction: Instruction, received: Received) -> Report:
        """Score what arrived, with the client's own groups as they were after the last finished round.

        Raises:
            As `train`, but for divergence.
        """
        spent = self._spent(uploads=False)
        folder = StateFolder(self.state_root, instruction.experiment, self.entry.name)
        restored = folder.restore(before=instruction.round + 1)
        arithmetic = choose_arithmetic(self.entry.device, "float32")
        with self._clear_errors(arithmetic):
            this_round = self._round(instruction, received, restored, arithmetic)
            seconds: dict[str, float] = {}
            with _timed(seconds, "evaluation"):
                model = this_round.scored_model()
                scores = this_round.score(model)
            described = describe(this_round, instruction.round, scores, self.strategy, _versions())
            save_model(model, described, folder.path / MODEL_FOLDER)
            if self.entry.contact_sheet:
                # Pillow and the drawing code are of no use to a client that draws nothing.
                from client_app.pictures.contact_sheet import draw_predictions

                draw_predictions(this_round, folder.path)
        report = self._report(instruction, restored).model_copy(update={"scores": scores, "seconds": seconds})
        return self._without_secrets(report, spent)

    @property
    def _account_file(self) -> Path:
        return account_file(self.state_root, self.entry.name)

    def _spent(self, *, uploads: bool) -> dict[str, float]:
        """Return what the client will have given away with this answer; nothing where it asks for no privacy.

        Raises:
            PrivacyError: an upload would exceed the limit, or nobody can tell.
        """
        privacy = self.entry.privacy
        if privacy is None:
            return {}
        account = read_account(self._account_file)
        if uploads:
            require_budget(account, privacy, self.entry.name)
            account = account.with_upload(privacy.noise)
        return {"privacy_epsilon": account.epsilon(privacy.delta), "privacy_uploads": float(account.count)}

    def _book(self) -> None:
        """Write an upload into the account."""
        if self.entry.privacy is not None:
            write_account(self._account_file, read_account(self._account_file).with_upload(self.entry.privacy.noise))

    def _without_secrets(self, report: Report, spent: Mapping[str, float]) -> Report:
        """Take out of a report what noise does not cover, where the client asks for privacy."""
        privacy = self.entry.privacy
        if privacy is None:
            return report
        changes: dict[str, object] = {"losses": {}, "affinities": {}, "diagnostics": {**report.diagnostics, **spent}}
        if privacy.scores == "keep":
            self._keep_scores(report)
            kept = Score(missing_because="kept by the client, which asks for privacy (privacy: scores: keep)")
            changes["scores"] = dict.fromkeys(report.scores, kept)
        return report.model_copy(update=changes)

    def _keep_scores(self, report: Report) -> None:
        """Append scores and losses to a file of the client's own."""
        if not report.scores and not report.losses:
            return
        place = self._account_file.with_name(f"{self.entry.name}-scores.jsonl")
        place.parent.mkdir(parents=True, exist_ok=True)
        with explain_disk_full(place), place.open("a", encoding="utf-8") as stream:
            stream.write(report.model_dump_json(include={"round", "scores", "losses"}) + "\n")

    def _round(
        self, instruction: Instruction, received: Received, restored: Restored, arithmetic: Arithmetic
    ) -> LocalRound:
        return LocalRound(self.entry, self.data, instruction, received, restored.state, arithmetic, self.metric_workers)

    def _report(self, instruction: Instruction, restored: Restored) -> Report:
        return Report(
            client=self.entry.name,
            round=instruction.round,
            train_examples=len(self.data.train),
            restored_round=restored.state.counters.round if restored.state else 0,
            diagnostics={"unreadable_states": float(len(restored.unreadable))} if restored.unreadable else {},
        )

    @contextmanager
    def _clear_errors(self, arithmetic: Arithmetic) -> Iterator[None]:
        entry = self.entry
        with (
            reasons_kept(entry.privacy, entry.name),
            explain_out_of_memory(entry.name, entry.batch_size, entry.image_size, arithmetic.device),
        ):
            yield


@contextmanager
def _timed(seconds: dict[str, float], what: str) -> Iterator[None]:
    started = time.perf_counter()
    yield
    seconds[what] = time.perf_counter() - started


def _captured(
    this_round: LocalRound, trained: tuple[Trained, Trained | None], report: Report, request: str
) -> ClientState:
    own, exchanged = trained
    layouts = group_layouts(reusable_model(this_round.entry, this_round.data.num_classes))
    return ClientState(
        counters=Counters(
            round=report.round,
            restored_round=report.restored_round,
            completed_epochs=this_round.completed_epochs + this_round.plan().epochs,
            model={group: layout.signature for group, layout in layouts.items()},
            scaler=own.scaler,
            exchanged_scaler=exchanged.scaler if exchanged else {},
            request=request,
        ),
        model=own.model,
        exchanged=exchanged.model if exchanged else None,
    )


def _kind_of_data(entry: ClientEntry) -> str:
    """Return what tells data sets apart for the server: indoor and outdoor scenes are two of them."""
    return f"{entry.dataset}-{entry.domain}" if entry.domain else entry.dataset


def _digest(entry: ClientEntry, instruction: Instruction, received: Received) -> str:
    """Return the hash of everything an answer depends on."""
    digest = hashlib.sha256(entry.model_dump_json().encode())
    digest.update(instruction.model_dump_json().encode())
    for record, vectors in (("parameters", received.parameters), ("anchors", received.anchors)):
        for group in sorted(vectors):
            digest.update(f"{record} {group} {vectors[group].size}".encode())
            digest.update(np.ascontiguousarray(vectors[group]).data)
    return digest.hexdigest()


@cache
def _versions() -> dict[str, str]:
    found = {"python": platform.python_version()}
    for package in _REPORTED_PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found
