"""A federation small enough to compute by hand: clients whose 'training' adds a known update to a known vector.

For tests of strategies, this project's and others': whole rounds through real messages, without data and without torch.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from flwr.app import ArrayRecord, ConfigRecord, Context, Message, UserConfig

from fmtl.engine.inline import InlineGrid
from fmtl_strategies.contract.groups import kind_of
from fmtl_strategies.contract.layout import ArraySpec, FloatArray, GroupLayout
from fmtl_strategies.contract.messages import (
    ANCHORS_RECORD,
    PARAMETERS_RECORD,
    UPDATES_RECORD,
    InitialRequest,
    Instruction,
    Report,
    Score,
    read_arrays,
    read_text,
    to_records,
)
from fmtl_strategies.contract.profile import ClientProfile, TaskProfile
from fmtl_strategies.contract.rule import LocalRule
from fmtl_strategies.contract.sparse import encode_sparse, sparsify
from fmtl_strategies.contract.wire import NumberFormat, decode_flat, encode_flat
from fmtl_strategies.round.base import PersonalizedStrategy
from fmtl_strategies.settings import RunConfig

__all__ = [
    "BUFFERS",
    "DECODER",
    "ENCODER",
    "ToyFederation",
    "head",
    "profile",
    "report_with",
    "settings",
    "start_of",
    "update_of",
]

ENCODER = GroupLayout(arrays=(ArraySpec(name="stem.weight", shape=(4, 3)), ArraySpec(name="stem.bias", shape=(4,))))
DECODER = GroupLayout(
    arrays=(
        ArraySpec(name="linears.0.weight", shape=(2, 4)),
        ArraySpec(name="linears.0.bias", shape=(2,)),
        ArraySpec(name="linear_fuse.1.weight", shape=(2,)),
    )
)
BUFFERS = GroupLayout(arrays=(ArraySpec(name="norm.running_mean", shape=(3,)),))


def head(channels: int) -> GroupLayout:
    """Return the layout of a toy head."""
    return GroupLayout(arrays=(ArraySpec(name="last_conv.weight", shape=(channels, 2)),))


def profile(
    client: str, tasks: Sequence[str], examples: int = 10, dataset: str = "toy", buffers: bool = False
) -> ClientProfile:
    """Return what a toy client says of itself."""
    groups: dict[str, GroupLayout] = {"encoder": ENCODER}
    if buffers:
        groups["buffers.encoder"] = BUFFERS
        groups.update({f"buffers.decoders.{task}": BUFFERS for task in tasks})
    for task in tasks:
        groups[f"decoders.{task}"] = DECODER
        groups[f"heads.{task}"] = head(3 if task == "semseg" else 1)
    return ClientProfile(
        protocol=1,
        client=client,
        dataset=dataset,
        encoder="toy",
        tasks=tuple(TaskProfile(name=t, metric="mIoU", higher_is_better=True) for t in tasks),
        train_examples=examples,
        validation_examples=4,
        local_epochs=1,
        groups=groups,
        weights_report="none",
        versions={},
    )


def update_of(client: str, group: str, server_round: int, size: int) -> FloatArray:
    """The update every toy client makes: reproducible, different by client, group and round."""
    seed = [server_round, size, *(client + group).encode()]
    return (0.01 * np.random.default_rng(seed).standard_normal(size)).astype(np.float32)


def start_of(group: str, size: int) -> FloatArray:
    """The parameters every toy client starts a group from."""
    return np.random.default_rng([size, *group.encode()]).standard_normal(size).astype(np.float32)


@dataclass
class ToyFederation:
    """Toy clients by partition.

    Attributes:
        profiles: the clients.
        spoil: by client, a function of (reply, instruction) that replaces its reply.
        received: by (client, round), what it was sent to load.
        anchors: what it was sent to be drawn to.
        rules: what it was told to do.
        updates: the update a client makes, from (client, group, round, size); None for `update_of`.
        trained: (client, round) of every training, in order.
        absent: by client, the rounds in which it does not answer.
    """

    profiles: Sequence[ClientProfile]
    spoil: Mapping[str, Callable[[Any, Instruction], Any]] = field(default_factory=dict)
    received: dict[tuple[str, int], dict[str, FloatArray]] = field(default_factory=dict)
    anchors: dict[tuple[str, int], dict[str, FloatArray]] = field(default_factory=dict)
    rules: dict[tuple[str, int], LocalRule] = field(default_factory=dict)
    updates: Callable[[str, str, int, int], FloatArray] | None = None
    trained: list[tuple[str, int]] = field(default_factory=list)
    absent: dict[str, set[int]] = field(default_factory=dict)

    def play(self, strategy: PersonalizedStrategy, rounds: Iterable[int]) -> None:
        """Run whole rounds of a strategy: enrolment, instructions, replies, aggregation."""
        grid = self.grid()
        for number in rounds:
            messages = strategy.configure_train(number, ArrayRecord(), ConfigRecord(), grid)
            strategy.aggregate_train(number, grid.send_and_receive(messages))

    def grid(self) -> InlineGrid:
        """Return a grid with one node for each client."""
        count = len(self.profiles)
        configs: list[UserConfig] = [{"partition-id": i, "num-partitions": count} for i in range(count)]
        return InlineGrid(self.answer, configs, {})

    def answer(self, message: Message, context: Context) -> Message:
        """Answer one message as the client of the node's partition.

        Raises:
            ConnectionError: the client is absent in this round.
        """
        me = self.profiles[int(context.node_config["partition-id"])]
        kind = message.metadata.message_type
        if kind == "query":
            return Message(to_records(me), reply_to=message)
        if kind == "query.initial":
            groups = read_text(message.content, InitialRequest).groups
            starts = {g: encode_flat(start_of(g, me.groups[g].size), "float32") for g in groups}
            return Message(to_records(me, **{PARAMETERS_RECORD: starts}), reply_to=message)
        instruction = read_text(message.content, Instruction)
        if instruction.round in self.absent.get(me.client, set()):
            raise ConnectionError("toy client is away")
        key = (me.client, instruction.round + (kind == "evaluate"))
        for record, kept in ((PARAMETERS_RECORD, self.received), (ANCHORS_RECORD, self.anchors)):
            arrays = read_arrays(message.content, record)
            kept[key] = {g: decode_flat(a, me.groups[g].size, "float32") for g, a in arrays.items()}
        self.rules[key] = instruction.rule
        body = self._body(me, instruction)
        change = self.spoil.get(me.client)
        return Message(body if change is None else change(body, instruction), reply_to=message)

    def _body(self, me: ClientProfile, instruction: Instruction) -> Any:
        scores = {}
        if instruction.evaluate:
            scores = {t: Score(value=float(10 + len(t) + instruction.round)) for t in me.task_names}
        report = Report(
            client=me.client,
            round=instruction.round,
            train_examples=me.train_examples,
            losses=dict.fromkeys(me.task_names, 1.0),
            scores=scores,
            restored_round=max(0, instruction.round - bool(instruction.upload_groups or not instruction.evaluate)),
        )
        make = self.updates or update_of
        updates = {
            group: make(me.client, group, instruction.round, me.groups[group].size)
            for group in instruction.upload_groups
        }
        encoded = {group: encode_flat(flat, _format(group, instruction)) for group, flat in updates.items()}
        if instruction.rule.sparsify is not None:
            dense = {group: flat for group, flat in updates.items() if kind_of(group) != "buffers"}
            kept = sparsify(dense, me.groups, instruction.rule.sparsify)
            encoded |= {group: encode_sparse(flat, instruction.upload_format) for group, flat in kept.items()}
        if instruction.upload_groups or not instruction.evaluate:
            self.trained.append((me.client, instruction.round))
        return to_records(report, **{UPDATES_RECORD: encoded})


def _format(group: str, instruction: Instruction) -> NumberFormat:
    return "float32" if kind_of(group) == "buffers" else instruction.upload_format


def settings(rounds: int = 2, **changes: Any) -> RunConfig:
    """Return settings of toy rounds: no client is asked twice, and updates travel as float32, so that sums are exact.

    Args:
        rounds: number of rounds.
        changes: further values by run-config key, with underscores in the place of hyphens.
    """
    values = {key.replace("_", "-"): value for key, value in changes.items()}
    return RunConfig.from_flat({"num-server-rounds": rounds, "upload-format": "float32", "retries": 0, **values})


def report_with(body: Any, **changes: Any) -> Any:
    """Return the body with fields of its report replaced, also by values no schema allows."""
    record = body.config_records["message"]
    text = json.loads(record["json"])
    text.update(changes)
    record["json"] = json.dumps(text)
    return body
