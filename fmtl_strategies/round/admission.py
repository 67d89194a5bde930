"""Every reply is checked before any maths sees it (design.md section 4, step 4; field-notes section 4)."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
from flwr.app import Array, Message

from fmtl_strategies.contract.groups import kind_of
from fmtl_strategies.contract.layout import FloatArray, GroupLayout
from fmtl_strategies.contract.messages import UPDATES_RECORD, Instruction, MessageError, Report, read_arrays, read_text
from fmtl_strategies.contract.profile import ClientProfile
from fmtl_strategies.contract.sparse import decode_sparse, largest_count
from fmtl_strategies.contract.wire import WireError, decode_flat
from fmtl_strategies.flower_compat import ErrorCode
from fmtl_strategies.round.store import ParameterStore, RowKey

_BLOCK = 1 << 20
_MAX_REASON = 600


class RejectedReplyError(ValueError):
    """A reply that is set aside; the text is the reason shown in log and history."""

    def __init__(self, reason: str) -> None:
        super().__init__(shortened(reason))


def shortened(text: str) -> str:
    """Return a text on one line and cut, for it may quote what a stranger sent."""
    flat = " ".join(text.split())
    return flat if len(flat) <= _MAX_REASON else flat[: _MAX_REASON - 3] + "..."


class NodeAwayError(RejectedReplyError):
    """The link has lost the node: nothing is wrong with the client, and it may be back at any time."""


def open_reply(reply: Message | None) -> Message:
    """Return a reply that carries content.

    Raises:
        NodeAwayError: the link lost the node.
        RejectedReplyError: no reply came in time, or the client or the network reports another error.
    """
    if reply is None:
        raise RejectedReplyError("no reply before the round's deadline")
    if reply.has_error():
        kind = NodeAwayError if reply.error.code == ErrorCode.NODE_UNAVAILABLE else RejectedReplyError
        raise kind(f"client error {reply.error.code}: {reply.error.reason or 'no reason given'}")
    return reply


def admit_report(reply: Message | None, profile: ClientProfile, asked: Instruction) -> Report:
    """Check the text of a reply against what was asked.

    Raises:
        RejectedReplyError: text of another form, of another client or round, with an implausible count, or with
            losses or scores of tasks the client does not have.
    """
    content = open_reply(reply).content
    try:
        report = read_text(content, Report)
    except MessageError as error:
        raise RejectedReplyError(str(error)) from error
    if report.client != profile.client:
        raise RejectedReplyError(f"reply is signed {report.client!r}, expected {profile.client!r}")
    if report.round != asked.round:
        raise RejectedReplyError(f"reply answers round {report.round}, expected round {asked.round}")
    if report.train_examples != profile.train_examples:
        raise RejectedReplyError(
            f"reply counts {report.train_examples} training images, the client announced {profile.train_examples}"
        )
    named = set(report.losses) | set(report.scores) | set(report.affinities)
    named.update(*report.affinities.values())
    strange = named - set(profile.task_names)
    if strange:
        raise RejectedReplyError(f"reply speaks of tasks the client does not have: {sorted(strange)}")
    return report


def admit_updates(
    reply: Message, profile: ClientProfile, asked: Instruction, store: ParameterStore, largest_norm: float
) -> int:
    """Check the updates of a reply and write them into the rows of this round.

    Args:
        reply: a reply whose report was admitted.
        profile: of its client.
        asked: what it answers.
        store: receives the updates; nothing of a rejected reply stays in it.
        largest_norm: of the updates, by group.

    Returns:
        Bytes received.

    Raises:
        RejectedReplyError: groups missing or not asked for, wrong dtype, shape, size or bytes, NaN, infinity, a norm
            beyond the limit, or batch-norm variances that would become negative.
    """
    arrays = read_arrays(reply.content, UPDATES_RECORD)
    _check_names(arrays, asked.upload_groups)
    received, values_left = 0, _largest_count(profile, asked)
    try:
        for group in sorted(asked.upload_groups):
            key = RowKey(profile.client, group)
            row = store.update_buffer(key)
            values_left -= _decode(arrays[group], asked, group, row, values_left)
            _check_norm(row, group, largest_norm)
            if kind_of(group) == "buffers":
                check_variances(store.parameters(key) + row, profile.groups[group], group)
            store.commit_update(key)
            received += len(arrays[group].data)
    except RejectedReplyError:
        store.discard_updates(profile.client)
        raise
    return received


def _largest_count(profile: ClientProfile, asked: Instruction) -> int:
    """Return how many values the sparse groups of a reply may hold together; 0 where none is sparse."""
    if asked.rule.sparsify is None:
        return 0
    groups = [group for group in asked.upload_groups if kind_of(group) != "buffers"]
    return largest_count({group: profile.groups[group] for group in groups}, asked.rule.sparsify)


def _decode(array: Array, asked: Instruction, group: str, row: FloatArray, values_left: int) -> int:
    """Check one group's update and write it to `row`; return how many values of it count against the limit."""
    try:
        if kind_of(group) == "buffers":
            decode_flat(array, row.size, "float32", out=row)
        elif asked.rule.sparsify is None:
            decode_flat(array, row.size, asked.upload_format, out=row)
        else:
            return decode_sparse(array, row.size, asked.upload_format, row, most_values=values_left)
    except WireError as error:
        raise RejectedReplyError(f"update of {group}: {error}") from error
    return 0


def _check_norm(row: FloatArray, group: str, largest: float) -> None:
    norm = update_norm(row)
    if not math.isfinite(norm):
        raise RejectedReplyError(f"update of {group} holds NaN, infinite or overflowing values")
    if norm > largest:
        raise RejectedReplyError(f"update of {group} has norm {norm:.3g}, the limit max-update-norm is {largest:.3g}")


def check_variances(buffers: FloatArray, layout: GroupLayout, group: str) -> None:
    """Raise unless every running variance of a `buffers.` group is positive or 0: others make every client's model NaN.

    Args:
        buffers: (D,) float32, the client's values, not an update.
        layout: which of them are variances: arrays called `running_var`, as PyTorch's batch norms name them.
        group: its name, for the reason.

    Raises:
        RejectedReplyError: names the array and its smallest value.
    """
    for spec, columns in layout.segments():
        smallest = float(buffers[columns].min())
        if spec.name.rpartition(".")[2] == "running_var" and smallest < 0:
            raise RejectedReplyError(f"{group}: variance {spec.name} would be {smallest:.3g}, it cannot be negative")


def _check_names(arrays: Mapping[str, Array], due: tuple[str, ...]) -> None:
    missing, extra = sorted(set(due) - set(arrays)), sorted(set(arrays) - set(due))
    if missing:
        raise RejectedReplyError(f"updates lack the groups {missing}")
    if extra:
        raise RejectedReplyError(f"updates hold groups that were not asked for: {extra[:5]}")


def update_norm(flat: FloatArray) -> float:
    """Return the Euclidean norm of a (D,) float32 vector; NaN or infinity where a value is, without warnings."""
    total = 0.0
    with np.errstate(over="ignore", invalid="ignore"):
        for start in range(0, flat.size, _BLOCK):
            block = flat[start : start + _BLOCK]
            total += float(np.dot(block, block))
    return math.sqrt(total) if math.isfinite(total) and total >= 0 else total
