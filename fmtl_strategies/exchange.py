"""Sending messages to nodes and collecting what they answer, reply by reply."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping

from flwr.app import Message
from flwr.common.constant import ErrorCode
from flwr.serverapp import Grid

from fmtl_strategies.contract.messages import MAX_TEXT_BYTES
from fmtl_strategies.contract.profile import ClientProfile
from fmtl_strategies.reply_limits import limits_of

POLL_SECONDS = 0.1
LONGEST_POLL_SECONDS = 0.5
"""Pause between two looks for replies: short at first, for in a simulation replies come fast, then longer."""


_NOT_FOUND = (ErrorCode.MESSAGE_UNAVAILABLE, ErrorCode.REPLY_MESSAGE_UNAVAILABLE)

_SLACK = 1 << 20
"""Bytes of a reply beside its text and values: names, headers, lists of pieces."""


def largest_reply(profile: ClientProfile | None) -> int:
    """Return how many bytes a client's reply may have: its text, and every group once in float32.

    Args:
        profile: what the client said of itself; None where it has not yet, so that no arrays are due.
    """
    values = 0 if profile is None else sum(layout.size for layout in profile.groups.values())
    return MAX_TEXT_BYTES + 4 * values + _SLACK


def send_and_collect(
    grid: Grid,
    messages: Iterable[Message],
    timeout_seconds: float,
    on_reply: Callable[[Message], None] | None = None,
    profiles: Mapping[int, ClientProfile] | None = None,
) -> list[Message]:
    """Send messages and return the replies that come in time.

    Flower's own `send_and_receive` says nothing before all have answered, and over the network it looks for replies
    every three seconds only.

    Args:
        grid: connection to the nodes.
        messages: at most one for each node.
        timeout_seconds: how long to wait for replies; those that come later are dropped.
        on_reply: called with every reply as it comes.
        profiles: what the nodes are known to be, by node id; a reply that is larger than that allows is refused before
            it is taken into memory.

    Returns:
        The replies in the order in which they came, error replies among them.
    """
    deadline = time.monotonic() + timeout_seconds
    # A message that Flower could not take has no id, and gets no reply.
    known, limits = profiles or {}, limits_of(grid)
    pushed = list(messages)
    sent = {i: message for i, message in zip(grid.push_messages(pushed), pushed, strict=False) if i}
    if limits is not None:
        most = {i: largest_reply(known.get(message.metadata.dst_node_id)) for i, message in sent.items()}
        limits.expect(most, deadline)
    waiting = set(sent)
    pause = POLL_SECONDS
    replies: list[Message] = []
    while waiting:
        pulled = grid.pull_messages(sorted(waiting))
        for reply in pulled if limits is None else limits.replaced(pulled, sent):
            waiting.discard(reply.metadata.reply_to_message_id)
            if _says_expired(reply, sent):
                continue
            replies.append(reply)
            if on_reply is not None:
                on_reply(reply)
        remaining = deadline - time.monotonic()
        if not waiting or remaining <= 0:
            break
        time.sleep(min(pause, remaining))
        pause = min(pause * 1.2, LONGEST_POLL_SECONDS)
    return replies


def _says_expired(reply: Message, sent: Mapping[str, Message]) -> bool:
    """Whether this only says that a message has outlived its time: that is no reply, as is silence."""
    message = sent.get(reply.metadata.reply_to_message_id)
    if message is None or not reply.has_error() or reply.error.code not in _NOT_FOUND:
        return False
    return time.time() >= message.metadata.created_at + message.metadata.ttl
