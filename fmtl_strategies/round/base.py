"""Base of all strategies: personal models, one message per client and round (design.md sections 4 and 5).

A round, from top to bottom: `configure_train` enrols new nodes and tells every client what to load, score and train;
`aggregate_train` admits the replies, lets the strategy's rule combine the updates pool by pool, and keeps the record.
The scores in a round's replies belong to the models of the round before; `configure_evaluate` asks once more, after
the last round.
"""

from __future__ import annotations

import logging
import time
from abc import abstractmethod
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Generic, cast, get_args

import numpy as np
import numpy.typing as npt
from flwr.app import Array, ArrayRecord, ConfigRecord, Message, MessageType, MetricRecord
from flwr.serverapp import Grid
from flwr.serverapp.strategy import Strategy
from typing_extensions import TypeVar

from fmtl_strategies.building_blocks.averaging import average_rows, rows_by_group
from fmtl_strategies.contract.groups import GroupKind, kind_of
from fmtl_strategies.contract.layout import FloatArray
from fmtl_strategies.contract.messages import ANCHORS_RECORD, PARAMETERS_RECORD, Instruction, Report, to_records
from fmtl_strategies.contract.profile import ClientProfile
from fmtl_strategies.contract.rule import LocalRule
from fmtl_strategies.contract.wire import RowEncoder
from fmtl_strategies.flower_compat import log
from fmtl_strategies.parameters import Origin, StrategyParameters, value_origins
from fmtl_strategies.round.admission import RejectedReplyError, admit_report, admit_updates
from fmtl_strategies.round.defence import defend
from fmtl_strategies.round.enrolment import Roster, enrol
from fmtl_strategies.round.record import RoundRecord
from fmtl_strategies.round.store import ParameterStore, PoolRound, RowKey, require_finite
from fmtl_strategies.settings import RunConfig

StateArrays = dict[str, npt.NDArray[np.generic]]
ParametersT = TypeVar("ParametersT", bound=StrategyParameters, default=StrategyParameters, covariant=True)


@dataclass(frozen=True)
class _Pending:
    client: str
    metadata: Any
    asked: Instruction


class PersonalizedStrategy(Strategy, Generic[ParametersT]):
    """A Flower strategy in which every client has its own model and gets what it needs.

    A subclass says what its hyper-parameters are, as in `class Mine(PersonalizedStrategy[MyParameters])`, names the
    kinds of groups it exchanges (`shared_kinds`) and defines what becomes of a pool's rows (`aggregate_pool`). What
    clients do beside plain training goes through `local_rule`. What it must remember between rounds goes through
    `method_state` and `load_method_state`, keyed by client name.

    Attributes:
        settings: of the run.
        parameters: the hyper-parameters.
        parameters_model: their class, taken from the brackets behind the base class.
        experiment: name of the run across restarts.
        shared_kinds: kinds of groups that are exchanged. Clients without `buffers.` groups exchange none.
        overwrites: what is sent overwrites the client's own groups; False: it is only an anchor to be drawn to, and a
            row of the store is the anchor, not the client's model.
        present: clients asked in this round, by name; for `local_rule` and `aggregate_pool`.
    """

    name: ClassVar[str]
    summary_line: ClassVar[str]
    parameters_model: ClassVar[type[StrategyParameters]] = StrategyParameters
    shared_kinds: ClassVar[tuple[GroupKind, ...]] = ()
    overwrites: ClassVar[bool] = True
    experiment: str = "run"

    def __init_subclass__(cls, **keywords: Any) -> None:
        super().__init_subclass__(**keywords)
        declared = _declared_parameters(cls)
        if declared is not None and "parameters_model" not in vars(cls):
            cls.parameters_model = declared

    def __init__(self, settings: RunConfig, parameters: ParametersT | None = None) -> None:
        self.settings = settings
        self.parameters = cast(ParametersT, self.parameters_model()) if parameters is None else parameters
        self.roster = Roster()
        self.store = ParameterStore()
        self.record = RoundRecord(round=0)
        self.present: tuple[str, ...] = ()
        self._pending: list[_Pending] = []
        self._evaluated_round: int | None = None
        self._started = time.monotonic()

    # What a strategy defines ---------------------------------------------------------------------------------------

    @abstractmethod
    def aggregate_pool(self, pool: PoolRound, server_round: int) -> dict[str, float]:
        """Overwrite `pool.parameters_nd` with what each row's client gets next.

        Args:
            pool: rows of the clients whose replies were admitted; encoders first, then decoders and heads.
            server_round: number of the round, from 1.

        Returns:
            Numbers worth recording, by name; may be empty.
        """

    def exchanged_kinds(self) -> tuple[GroupKind, ...]:
        """Return the kinds that are exchanged; override it where a parameter leaves some of `shared_kinds` out."""
        return self.shared_kinds

    def aggregate_buffers(self, pool: PoolRound, server_round: int) -> dict[str, float]:
        """Do for a pool of kind `buffers` what `aggregate_pool` does for the others: the mean over equal groups."""
        average_rows(pool, rows_by_group(pool), "uniform", follow="group")
        return {}

    def local_rule(self, profile: ClientProfile, server_round: int) -> LocalRule:
        """Return what a client does beside plain training; also sent with the final evaluation."""
        return LocalRule()

    def anchors(self, profile: ClientProfile, server_round: int) -> Mapping[str, FloatArray]:
        """Return further vectors, (D,) float32 by group, that a client's pull is drawn to and never loads."""
        return {}

    def start_for(self, profile: ClientProfile, group: str) -> FloatArray | None:
        """Return what a new client starts from in a shared group, (D,) float32; None: from what it has itself.

        By default the mean of the rows of the store that serve the same purpose: those of the same group, or, once
        rounds have made them one model, all rows that `is_common` says are.
        """
        everyone = self.record.round > 1 and self.is_common(kind_of(group))
        return self.store.start_for(group, profile.groups[group], of="layout" if everyone else "group")

    def is_common(self, kind: GroupKind) -> bool:
        """Whether all clients hold one model of this kind, whatever their tasks: what a client with a new task brings
        would otherwise enter everybody's mean untrained.
        """
        return False

    def final_arrays(self) -> StateArrays:
        """Return what is worth keeping of the last round as `unified.safetensors`: the one model of a method that has
        one. Empty for methods with personal models.
        """
        return {}

    def sections(self) -> dict[str, StrategyParameters]:
        """Return the hyper-parameters in force by section of the run config; a strategy that wraps another has two."""
        return {self.name: self.parameters}

    def origins(self) -> dict[str, dict[str, Origin]]:
        """Return whose value every hyper-parameter has, by the sections of `sections`."""
        return {section: value_origins(parameters) for section, parameters in self.sections().items()}

    def observe(self, report: Report) -> None:
        """Look at an admitted report before anything is aggregated."""

    def method_state(self) -> tuple[StateArrays, dict[str, Any]]:
        """Return what the strategy remembers between rounds: arrays by name, and plain JSON values."""
        return {}, {}

    def load_method_state(self, arrays: Mapping[str, npt.NDArray[np.generic]], values: Mapping[str, Any]) -> None:
        """Take back what `method_state` returned."""
        if arrays or values:
            raise ValueError(f"checkpoint holds a state that strategy {self.name!r} does not have: {sorted(values)}")

    # A round -------------------------------------------------------------------------------------------------------

    def configure_train(
        self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid
    ) -> Iterable[Message]:
        """Enrol new nodes and return one message for every connected client; see Flower's `Strategy`."""
        self._started = time.monotonic()
        self.record = RoundRecord(round=server_round)
        self.enrol(grid)
        last = server_round - 1
        self._evaluated_round = last if last > 0 and last % self.settings.rounds.evaluate_every == 0 else None
        return self._messages(grid, MessageType.TRAIN, server_round, evaluate=self._evaluated_round is not None)

    def aggregate_train(
        self, server_round: int, replies: Iterable[Message]
    ) -> tuple[ArrayRecord | None, MetricRecord | None]:
        """Admit the replies and aggregate every pool; see Flower's `Strategy`. Personal models stay in the store.

        Raises:
            NonFiniteModelError: the strategy has left NaN or infinite values in a model.
        """
        self.record.seconds["clients"] = time.monotonic() - self._started
        started = time.monotonic()
        self.store.open_round()
        by_id = {reply.metadata.reply_to_message_id: reply for reply in replies}
        admitted = [
            report
            for pending in self._pending
            if (report := self._admit(pending, by_id.get(pending.metadata.message_id))) is not None
        ]
        grams = self._defend()
        self.record.skipped = self._below_quorum(server_round)
        for report in admitted:
            if report.client not in self.record.set_aside:
                self.observe(report)
        if not self.record.skipped:
            for pool in self.store.rounds(self.roster.profiles):
                pool.gram_nn = grams.get((pool.kind, pool.signature))
                aggregate = self.aggregate_buffers if pool.kind == "buffers" else self.aggregate_pool
                self.record.diagnostics.update(aggregate(pool, server_round))
                require_finite(pool, self.name, server_round)
        self.record.seconds["aggregation"] = time.monotonic() - started
        return None, None

    def configure_evaluate(
        self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid
    ) -> Iterable[Message]:
        """After the last round, ask every client to score its final model; before, return nothing."""
        if server_round < self.settings.local.total_rounds:
            return []
        self._started = time.monotonic()
        self.record = RoundRecord(round=server_round, final=True)
        self.enrol(grid)
        self._evaluated_round = server_round
        return self._messages(grid, MessageType.EVALUATE, server_round, evaluate=True)

    def aggregate_evaluate(self, server_round: int, replies: Iterable[Message]) -> MetricRecord | None:
        """Keep the scores by client and task; metrics of different tasks are never averaged."""
        if not self.record.final:
            return None
        by_id = {reply.metadata.reply_to_message_id: reply for reply in replies}
        for pending in self._pending:
            report = self._admit(pending, by_id.get(pending.metadata.message_id))
            if report is not None:
                self.observe(report)
        self.record.seconds["clients"] = time.monotonic() - self._started
        return None

    def summary(self) -> None:
        """Log the strategy and its hyper-parameters."""
        for name, parameters in self.sections().items():
            log(logging.INFO, "\t├──> Strategy: %s", name)
            for key, value in parameters.model_dump(by_alias=True).items():
                log(logging.INFO, "\t│\t├── %s: %s", key, value)

    def asked(self) -> dict[str, str]:
        """Return the clients that were asked last by the id of the message, which it has once it was sent."""
        return {str(pending.metadata.message_id): pending.client for pending in self._pending}

    # Parts of a round ----------------------------------------------------------------------------------------------

    def enrol(self, grid: Grid) -> None:
        """Ask nodes that are new who they are, and bind those whose answer holds."""
        enrol(grid, self)

    def shared_groups(self, profile: ClientProfile) -> tuple[str, ...]:
        """Return the groups this client exchanges, encoder first, then by task."""
        return tuple(group for kind in self.exchanged_kinds() for group in profile.groups_of_kind(kind))

    def _messages(self, grid: Grid, message_type: str, server_round: int, *, evaluate: bool) -> list[Message]:
        alive = list(grid.get_node_ids())
        for node, reason in sorted(self.roster.refused.items()):
            if node in alive:
                self.record.set_aside[f"node {node}"] = reason
        messages = []
        self._pending = []
        encoder = RowEncoder()
        present = self.roster.present(alive)
        self.present = tuple(client for client, _ in present)
        for client, node in present:
            profile = self.roster.profiles[client]
            groups = self.shared_groups(profile)
            text = Instruction(
                experiment=self.experiment,
                round=server_round,
                evaluate=evaluate,
                upload_groups=groups if message_type == MessageType.TRAIN else (),
                upload_format=self.settings.rounds.upload_format,
                settings=self.settings.local,
                rule=self.local_rule(profile, server_round),
            )
            rows = {group: self.store.parameters(RowKey(client, group)) for group in groups}
            anchors = {**({} if self.overwrites else rows), **self.anchors(profile, server_round)}
            arrays = {PARAMETERS_RECORD: self._encoded(rows if self.overwrites else {}, encoder)}
            if anchors:
                arrays[ANCHORS_RECORD] = self._encoded(anchors, encoder)
            body = to_records(text, **arrays)
            lifetime = self.settings.waiting.round_timeout
            message = Message(body, node, message_type, ttl=lifetime, group_id=str(server_round))
            messages.append(message)
            self._pending.append(_Pending(client, message.metadata, text))
        return messages

    def _encoded(self, vectors: Mapping[str, FloatArray], encoder: RowEncoder) -> dict[str, Array]:
        encoded = {group: encoder.encode(vector) for group, vector in vectors.items()}
        self.record.bytes_down += sum(len(array.data) for array in encoded.values())
        return encoded

    def _below_quorum(self, server_round: int) -> bool:
        """Whether too few of those asked have sent something that is used."""
        good, asked = len(self.record.participants), len(self._pending)
        needed = max(1, int(np.ceil(self.settings.rounds.quorum * asked)))
        if good < needed:
            text = "round %s skipped: %s good replies of %s, at least %s needed"
            log(logging.WARNING, text, server_round, good, asked, needed)
        return good < needed

    def _defend(self) -> Mapping[tuple[GroupKind, str], npt.NDArray[np.float64]]:
        """Let the defence act on what was admitted; return the Gram matrices it has computed."""
        record, started = self.record, time.monotonic()
        grams = defend(self.store, self.settings.defence, record)
        if self.settings.defence.name != "none":
            record.seconds["defence"] = time.monotonic() - started
        return grams

    def _admit(self, pending: _Pending, reply: Message | None) -> Report | None:
        """Take a reply's updates into the store and return its report; None, with the reason recorded, if it is bad."""
        profile = self.roster.profiles[pending.client]
        try:
            report = admit_report(reply, profile, pending.asked)
            if reply is not None:
                largest = self.settings.rounds.max_update_norm
                self.record.bytes_up += admit_updates(reply, profile, pending.asked, self.store, largest)
        except RejectedReplyError as error:
            self.record.set_aside[pending.client] = str(error)
            log(logging.WARNING, "round %s: reply of %s set aside: %s", self.record.round, pending.client, error)
            return None
        self._keep(report)
        return report

    def _keep(self, report: Report) -> None:
        record, client = self.record, report.client
        record.participants.append(client)
        if (lost := self.roster.lost_state(client, report.restored_round)) is not None:
            record.note(client, lost)
            log(logging.WARNING, "round %s: %s: %s", record.round, client, lost)
        if not record.final:
            self.roster.last_rounds[client] = record.round
        record.losses[client] = dict(report.losses)
        if self._evaluated_round is not None:
            record.evaluated_round = self._evaluated_round
            record.scores[client] = dict(report.scores)
        record.seconds.update({f"{client}/{name}": value for name, value in report.seconds.items()})
        record.diagnostics.update({f"{client}/{name}": value for name, value in report.diagnostics.items()})

    # State ---------------------------------------------------------------------------------------------------------

    def state(self) -> tuple[StateArrays, dict[str, Any]]:
        """Return everything a restarted server needs: arrays by name, and plain JSON values."""
        arrays, values = self.method_state()
        merged: StateArrays = {f"method/{name}": array for name, array in arrays.items()}
        merged.update({f"parameters/{name}": flat for name, flat in self.store.arrays().items()})
        profiles = {name: profile.model_dump(mode="json") for name, profile in sorted(self.roster.profiles.items())}
        return merged, {"method": values, "profiles": profiles, "last_rounds": dict(self.roster.last_rounds)}

    def load_state(self, arrays: Mapping[str, npt.NDArray[np.generic]], values: Mapping[str, Any]) -> None:
        """Take back what `state` returned, into a strategy that has not run a round."""
        self.roster.profiles = {n: ClientProfile.model_validate(p) for n, p in values["profiles"].items()}
        self.roster.last_rounds = {str(name): int(number) for name, number in values.get("last_rounds", {}).items()}
        for name, array in sorted(arrays.items()):
            if name.startswith("parameters/"):
                client, group = name.removeprefix("parameters/").split("/")
                flat: FloatArray = np.asarray(array, dtype=np.float32)
                self.store.add(RowKey(client, group), self.roster.profiles[client].groups[group], flat)
        method = {n.removeprefix("method/"): a for n, a in arrays.items() if n.startswith("method/")}
        self.load_method_state(method, values["method"])


def _declared_parameters(cls: type) -> type[StrategyParameters] | None:
    """Return the class of hyper-parameters in the brackets of a base class; of a type variable, its default."""
    for base in vars(cls).get("__orig_bases__", ()):
        for argument in get_args(base):
            found = getattr(argument, "__default__", argument)
            if isinstance(found, type) and issubclass(found, StrategyParameters):
                return found
    return None
