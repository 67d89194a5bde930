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
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
from flwr.app import ArrayRecord, ConfigRecord, Message, MessageType, MetricRecord
from flwr.common.logger import log
from flwr.serverapp import Grid
from flwr.serverapp.strategy import Strategy

from fmtl_strategies.admission import Expected, RejectedReplyError, admit_report, admit_updates
from fmtl_strategies.contract.groups import GroupKind
from fmtl_strategies.contract.layout import FloatArray
from fmtl_strategies.contract.messages import PARAMETERS_RECORD, Instruction, Report, to_records
from fmtl_strategies.contract.profile import ClientProfile
from fmtl_strategies.contract.settings import LocalSettings
from fmtl_strategies.contract.wire import NumberFormat, encode_flat
from fmtl_strategies.enrolment import Asking, enrol
from fmtl_strategies.parameters import StrategyParameters
from fmtl_strategies.pools import ParameterStore, PoolRound, RowKey
from fmtl_strategies.record import RoundRecord
from fmtl_strategies.roster import Roster

StateArrays = dict[str, npt.NDArray[np.generic]]


@dataclass(frozen=True)
class RoundSettings:
    """How rounds are run, whatever the strategy.

    Attributes:
        experiment: name of the run across restarts.
        local: optimiser and schedule of the clients.
        upload_format: number format of updates on the wire.
        evaluate_every: score the models after every so many rounds (and after the last).
        timeout_seconds: deadline of a round, and time to live of its messages.
        enrolment_seconds: how long a new node may take to say who it is.
        quorum: share of the clients asked whose good replies a round needs to be aggregated.
        max_update_norm: largest norm of a group's update that is believed.
    """

    experiment: str
    local: LocalSettings
    upload_format: NumberFormat = "bfloat16"
    evaluate_every: int = 1
    timeout_seconds: float = 3600.0
    enrolment_seconds: float = 600.0
    quorum: float = 0.5
    max_update_norm: float = 1e6


@dataclass(frozen=True)
class _Pending:
    client: str
    metadata: Any


class PersonalizedStrategy(Strategy):
    """A Flower strategy in which every client has its own model and gets what it needs.

    A subclass names the kinds of groups it exchanges (`shared_kinds`) and what becomes of a pool's rows
    (`aggregate_pool`). What it must remember between rounds goes through `method_state` and `load_method_state`,
    keyed by client name.
    """

    name: ClassVar[str]
    summary_line: ClassVar[str]
    parameters_model: ClassVar[type[StrategyParameters]] = StrategyParameters
    shared_kinds: ClassVar[tuple[GroupKind, ...]] = ()

    def __init__(self, settings: RoundSettings, parameters: StrategyParameters | None = None) -> None:
        self.settings = settings
        self.parameters = self.parameters_model() if parameters is None else parameters
        self.roster = Roster()
        self.store = ParameterStore()
        self.record = RoundRecord(round=0)
        self._pending: list[_Pending] = []
        self._evaluated_round: int | None = None
        self._started = time.monotonic()

    # What a strategy defines ---------------------------------------------------------------------------------------

    @abstractmethod
    def aggregate_pool(self, pool: PoolRound, server_round: int) -> dict[str, float]:
        """Overwrite `pool.parameters_nd` with what each row's client gets next.

        Args:
            pool: rows of the clients whose replies were admitted.
            server_round: number of the round, from 1.

        Returns:
            Numbers worth recording, by name; may be empty.
        """

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
        self._evaluated_round = last if last > 0 and last % self.settings.evaluate_every == 0 else None
        return self._messages(grid, MessageType.TRAIN, server_round, evaluate=self._evaluated_round is not None)

    def aggregate_train(
        self, server_round: int, replies: Iterable[Message]
    ) -> tuple[ArrayRecord | None, MetricRecord | None]:
        """Admit the replies and aggregate every pool; see Flower's `Strategy`. Personal models stay in the store."""
        self.record.seconds["clients"] = time.monotonic() - self._started
        started = time.monotonic()
        self.store.open_round()
        by_id = {reply.metadata.reply_to_message_id: reply for reply in replies}
        for pending in self._pending:
            self._admit(pending, by_id.get(pending.metadata.message_id), server_round)
        needed = max(1, int(np.ceil(self.settings.quorum * len(self._pending))))
        self.record.skipped = len(self.record.participants) < needed
        if self.record.skipped:
            log(
                logging.WARNING,
                "round %s skipped: %s good replies of %s, at least %s needed",
                *(server_round, len(self.record.participants), len(self._pending), needed),
            )
        else:
            for pool in self.store.rounds(self.roster.profiles):
                self.record.diagnostics.update(self.aggregate_pool(pool, server_round))
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
            self._admit(pending, by_id.get(pending.metadata.message_id), server_round)
        self.record.seconds["clients"] = time.monotonic() - self._started
        return None

    def summary(self) -> None:
        """Log the strategy and its hyper-parameters."""
        log(logging.INFO, "\t├──> Strategy: %s", self.name)
        for key, value in self.parameters.model_dump(by_alias=True).items():
            log(logging.INFO, "\t│\t├── %s: %s", key, value)

    # Parts of a round ----------------------------------------------------------------------------------------------

    def enrol(self, grid: Grid) -> None:
        """Ask nodes that are new who they are, and bind those whose answer holds."""
        settings = self.settings
        asking = Asking(settings.experiment, settings.local, self.shared_kinds, settings.enrolment_seconds)
        enrol(grid, self.roster, self.store, asking)

    def shared_groups(self, profile: ClientProfile) -> tuple[str, ...]:
        """Return the groups this client exchanges, encoder first, then by task."""
        return tuple(group for kind in self.shared_kinds for group in profile.groups_of_kind(kind))

    def _messages(self, grid: Grid, message_type: str, server_round: int, *, evaluate: bool) -> list[Message]:
        alive = list(grid.get_node_ids())
        for node, reason in sorted(self.roster.refused.items()):
            if node in alive:
                self.record.set_aside[f"node {node}"] = reason
        messages = []
        self._pending = []
        for client, node in self.roster.present(alive):
            groups = self.shared_groups(self.roster.profiles[client])
            text = Instruction(
                experiment=self.settings.experiment,
                round=server_round,
                evaluate=evaluate,
                upload_groups=groups if message_type == MessageType.TRAIN else (),
                upload_format=self.settings.upload_format,
                settings=self.settings.local,
            )
            arrays = {g: encode_flat(self.store.parameters(RowKey(client, g)), "float32") for g in groups}
            self.record.bytes_down += sum(len(array.data) for array in arrays.values())
            body = to_records(text, **{PARAMETERS_RECORD: arrays})
            message = Message(body, node, message_type, ttl=self.settings.timeout_seconds, group_id=str(server_round))
            messages.append(message)
            self._pending.append(_Pending(client, message.metadata))
        return messages

    def _admit(self, pending: _Pending, reply: Message | None, server_round: int) -> None:
        profile = self.roster.profiles[pending.client]
        groups = () if self.record.final else self.shared_groups(profile)
        expected = Expected(profile, server_round, groups, self.settings.upload_format, self.settings.max_update_norm)
        try:
            report = admit_report(reply, expected)
            if reply is not None:
                self.record.bytes_up += admit_updates(reply, expected, self.store)
        except RejectedReplyError as error:
            self.record.set_aside[pending.client] = str(error)
            log(logging.WARNING, "round %s: reply of %s set aside: %s", server_round, pending.client, error)
            return
        self._keep(report)

    def _keep(self, report: Report) -> None:
        record, client = self.record, report.client
        record.participants.append(client)
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
        return merged, {"method": values, "profiles": profiles}

    def load_state(self, arrays: Mapping[str, npt.NDArray[np.generic]], values: Mapping[str, Any]) -> None:
        """Take back what `state` returned, into a strategy that has not run a round."""
        self.roster.profiles = {n: ClientProfile.model_validate(p) for n, p in values["profiles"].items()}
        for name, array in sorted(arrays.items()):
            if name.startswith("parameters/"):
                client, group = name.removeprefix("parameters/").split("/")
                flat: FloatArray = np.asarray(array, dtype=np.float32)
                self.store.add(RowKey(client, group), self.roster.profiles[client].groups[group], flat)
        method = {n.removeprefix("method/"): a for n, a in arrays.items() if n.startswith("method/")}
        self.load_method_state(method, values["method"])
