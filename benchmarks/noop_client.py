"""A client of one large encoder that trains nothing: it answers with an update of the right size at once."""

from __future__ import annotations

import numpy as np
from flwr.app import Array, Context, Message

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
from fmtl_strategies.contract.wire import decode_flat, encode_flat

GROUP = "encoder"
_updates: dict[int, Array] = {}


def profile(partition: int, parameters: int) -> ClientProfile:
    """Return what the client says of itself: an encoder of so many values, and nothing else of size."""
    small = GroupLayout(arrays=(ArraySpec(name="weight", shape=(1,)),))
    return ClientProfile(
        protocol=1,
        client=f"client-{partition:04d}",
        dataset="none",
        encoder="flat",
        tasks=(TaskProfile(name="depth", metric="RMSE", higher_is_better=False),),
        train_examples=1,
        validation_examples=1,
        local_epochs=1,
        groups={
            GROUP: GroupLayout(arrays=(ArraySpec(name="weight", shape=(parameters,)),)),
            "decoders.depth": small,
            "heads.depth": small,
        },
        weights_report="none",
        versions={},
    )


def answer(message: Message, context: Context) -> Message:
    """Answer as a real client would, but for training: parameters are read into memory, updates are bfloat16."""
    me = profile(int(context.node_config["partition-id"]), int(context.run_config["parameters"]))
    kind = message.metadata.message_type
    if kind == "query":
        return Message(to_records(me), reply_to=message)
    if kind == "query.initial":
        request = read_text(message.content, InitialRequest)
        start = {group: encode_flat(np.ones(me.groups[group].size, np.float32), "float32") for group in request.groups}
        return Message(to_records(request, parameters=start), reply_to=message)
    instruction = read_text(message.content, Instruction)
    for group, array in read_arrays(message.content, PARAMETERS_RECORD).items():
        decode_flat(array, me.groups[group].size, "float32")
    report = Report(
        client=me.client,
        round=instruction.round,
        train_examples=1,
        losses={"depth": 1.0},
        scores={"depth": Score(value=1.0)} if instruction.evaluate else {},
        restored_round=max(0, instruction.round - bool(instruction.upload_groups)),
    )
    updates = {group: _update(me.groups[group].size) for group in instruction.upload_groups}
    return Message(to_records(report, **{UPDATES_RECORD: updates}), reply_to=message)


def _update(size: int) -> Array:
    if size not in _updates:
        _updates[size] = encode_flat(np.full(size, 1e-3, np.float32), "bfloat16")
    return _updates[size]
