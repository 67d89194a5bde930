"""A federation small enough to compute by hand: clients whose 'training' adds a known update to a known vector."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from flwr.app import Context, Message

from fmtl.in_process import InProcessGrid
from fmtl_strategies.base import RoundSettings
from fmtl_strategies.contract.layout import ArraySpec, GroupLayout
from fmtl_strategies.contract.messages import (
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
from fmtl_strategies.contract.settings import LocalSettings
from fmtl_strategies.contract.wire import decode_flat, encode_flat

ENCODER = GroupLayout(arrays=(ArraySpec(name="stem.weight", shape=(4, 3)), ArraySpec(name="stem.bias", shape=(4,))))
DECODER = GroupLayout(
    arrays=(
        ArraySpec(name="linears.0.weight", shape=(2, 4)),
        ArraySpec(name="linears.0.bias", shape=(2,)),
        ArraySpec(name="linear_fuse.1.weight", shape=(2,)),
    )
)


def head(channels: int) -> GroupLayout:
    return GroupLayout(arrays=(ArraySpec(name="last_conv.weight", shape=(channels, 2)),))


def profile(client: str, tasks: Sequence[str], examples: int = 10, dataset: str = "toy") -> ClientProfile:
    groups = {"encoder": ENCODER}
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


def update_of(client: str, group: str, server_round: int, size: int) -> np.ndarray:
    """The update every toy client makes: reproducible, different by client, group and round."""
    seed = [server_round, size, *(client + group).encode()]
    return (0.01 * np.random.default_rng(seed).standard_normal(size)).astype(np.float32)


def start_of(group: str, size: int) -> np.ndarray:
    return np.random.default_rng([size, *group.encode()]).standard_normal(size).astype(np.float32)


Spoil = Callable[[Message, str, int], Message]


@dataclass
class ToyFederation:
    """Toy clients by partition; `received` keeps what each was sent, `spoil` may replace a client's reply."""

    profiles: Sequence[ClientProfile]
    spoil: Mapping[str, Callable[[Any, Instruction], Any]] = field(default_factory=dict)
    received: dict[tuple[str, int], dict[str, np.ndarray]] = field(default_factory=dict)
    trained: list[tuple[str, int]] = field(default_factory=list)
    absent: dict[str, set[int]] = field(default_factory=dict)

    def grid(self) -> InProcessGrid:
        configs = [{"partition-id": i, "num-partitions": len(self.profiles)} for i in range(len(self.profiles))]
        return InProcessGrid(self.answer, configs, {})

    def answer(self, message: Message, context: Context) -> Message:
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
        arrays = read_arrays(message.content, PARAMETERS_RECORD)
        flat = {g: decode_flat(a, me.groups[g].size, "float32") for g, a in arrays.items()}
        self.received[me.client, instruction.round + (kind == "evaluate")] = flat
        body = self._body(me, instruction, flat)
        change = self.spoil.get(me.client)
        return Message(body if change is None else change(body, instruction), reply_to=message)

    def _body(self, me: ClientProfile, instruction: Instruction, flat: Mapping[str, np.ndarray]) -> Any:
        scores = {}
        if instruction.evaluate:
            scores = {t: Score(value=float(10 + len(t) + instruction.round)) for t in me.task_names}
        report = Report(
            client=me.client,
            round=instruction.round,
            train_examples=me.train_examples,
            losses=dict.fromkeys(me.task_names, 1.0),
            scores=scores,
        )
        updates = {}
        for group in instruction.upload_groups:
            size = me.groups[group].size
            updates[group] = encode_flat(
                update_of(me.client, group, instruction.round, size), instruction.upload_format
            )
        if instruction.upload_groups or not instruction.evaluate:
            self.trained.append((me.client, instruction.round))
        return to_records(report, **{UPDATES_RECORD: updates})


def settings(rounds: int = 2, **changes: Any) -> RoundSettings:
    return RoundSettings(experiment="toy", local=LocalSettings(total_rounds=rounds), upload_format="float32", **changes)


def report_with(body: Any, **changes: Any) -> Any:
    """Return the body with fields of its report replaced, also by values no schema allows."""
    record = body.config_records["message"]
    text = json.loads(record["json"])
    text.update(changes)
    record["json"] = json.dumps(text)
    return body
