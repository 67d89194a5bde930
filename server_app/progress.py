"""Who is at work in the round that is under way, as JSON lines in progress.jsonl.

The history has a line for every round that has ended; this file says what happens in between: which clients were
asked, when each answered, and who has not.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import Any

from flwr.app import Message
from flwr.serverapp import Grid

from fmtl_strategies.round.admission import shortened
from fmtl_strategies.round.base import PersonalizedStrategy
from fmtl_strategies.round.exchange import RetryPolicy, send_and_collect
from server_app.run_folder import RunFolder


def exchange(
    folder: RunFolder, strategy: PersonalizedStrategy, grid: Grid, messages: Iterable[Message], policy: RetryPolicy
) -> list[Message]:
    """Send a round's messages, write down what becomes of them, and return the replies that come in time.

    Args:
        folder: the run's folder.
        strategy: has just made the messages.
        grid: connection to the nodes.
        messages: one for each client.
        policy: how long to wait for replies, and how often to ask again.
    """

    def write(event: str, **facts: Any) -> None:
        folder.append_progress({"event": event, "time": round(time.time(), 3), **facts})

    sent = list(messages)
    record = strategy.record
    facts = {"round": record.round, "final": record.final}
    write("asked", **facts, clients=strategy.present, bytes_down=record.bytes_down)
    started = time.monotonic()
    answered: set[str] = set()

    def note(reply: Message) -> None:
        client = strategy.asked().get(reply.metadata.reply_to_message_id)
        if client is None:
            return
        answered.add(client)
        seconds = round(time.monotonic() - started, 3)
        if reply.has_error():
            write("failed", **facts, client=client, seconds=seconds, reason=str(reply.error.reason)[:500])
        else:
            write("answered", **facts, client=client, seconds=seconds, bytes_up=array_bytes(reply))

    def note_retry(message: Message, reason: str) -> None:
        client = strategy.asked()[str(message.metadata.message_id)]
        seconds = round(time.monotonic() - started, 3)
        write("asked again", **facts, client=client, seconds=seconds, reason=shortened(reason))
        record.note(client, f"asked again after {seconds:.0f} s: {shortened(reason)}")

    asked = strategy.roster.present(message.metadata.dst_node_id for message in sent)
    profiles = {node: strategy.roster.profiles[client] for client, node in asked}
    replies = send_and_collect(grid, sent, policy, on_reply=note, on_retry=note_retry, profiles=profiles)
    for client in sorted(set(strategy.asked().values()) - answered):
        write("late", **facts, client=client, seconds=round(time.monotonic() - started, 3))
    return replies


def array_bytes(reply: Message) -> int:
    """Return the bytes of all arrays of a message."""
    return sum(len(array.data) for record in reply.content.array_records.values() for array in record.values())
