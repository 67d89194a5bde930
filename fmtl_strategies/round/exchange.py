"""Sending messages to nodes and collecting what they answer, reply by reply.

Where a client's work was lost on the way, because its process or its connection ended or the link was started again,
it is asked once more in the same round. That trains nothing twice: a client answers a repeated question as before.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from flwr.app import Message
from flwr.serverapp import Grid

from fmtl_strategies.contract.messages import MAX_TEXT_BYTES, PROCESS_ENDED
from fmtl_strategies.contract.profile import ClientProfile
from fmtl_strategies.flower_compat import ErrorCode
from fmtl_strategies.round.reply_limits import limits_of

POLL_SECONDS = 0.1
LONGEST_POLL_SECONDS = 0.5
"""Pause between two looks for replies: short at first, for in a simulation replies come fast, then longer."""

LOOK_SECONDS = 5.0
"""Pause between two looks at whether nodes were connected anew."""

CONNECTED_ANEW = "the client's node was connected anew"
"""Reason for asking a client again whose node has ended and come back between two looks for its reply."""

LINK_RESTARTED = "the link was started again"
"""Reason for asking again everybody who has not answered: a reply that was on its way just then may be gone."""

_NOT_FOUND = (ErrorCode.MESSAGE_UNAVAILABLE, ErrorCode.REPLY_MESSAGE_UNAVAILABLE)

_LOSSES = (ErrorCode.NODE_UNAVAILABLE, ErrorCode.CLIENT_APP_CRASHED, *_NOT_FOUND)
"""Errors that Flower gives where a node is away, its app was killed, or a reply was announced and is not there."""

_SLACK = 1 << 20
"""Bytes of a reply beside its text and values: names, headers, lists of pieces."""


@dataclass(frozen=True)
class RetryPolicy:
    """How long replies are waited for, and how often a client whose work was lost is asked again.

    Attributes:
        timeout_seconds: how long to wait for replies; those that come later are dropped.
        retries: how often a client is asked again; 0 for never.
        return_seconds: how long a client whose node is away is waited for before its loss is final.
    """

    timeout_seconds: float
    retries: int = 0
    return_seconds: float = 0.0


def _nothing(*_: object) -> None:
    pass


def largest_reply(profile: ClientProfile | None) -> int:
    """Return how many bytes a client's reply may have: its text, and every group once in float32.

    Args:
        profile: what the client said of itself; None where it has not yet, so that no arrays are due.
    """
    values = 0 if profile is None else sum(layout.size for layout in profile.groups.values())
    return MAX_TEXT_BYTES + 4 * values + _SLACK


def why_lost(reply: Message) -> str | None:
    """Return why a client's work was lost on the way; None for any other reply, error or not."""
    if not reply.has_error():
        return None
    reason = str(reply.error.reason or "")
    if reply.error.code in _LOSSES:
        return reason or "the reply is lost"
    return PROCESS_ENDED if PROCESS_ENDED in reason else None


def send_and_collect(
    grid: Grid,
    messages: Iterable[Message],
    policy: RetryPolicy,
    *,
    on_reply: Callable[[Message], None] = _nothing,
    on_retry: Callable[[Message, str], None] = _nothing,
    profiles: Mapping[int, ClientProfile] | None = None,
) -> list[Message]:
    """Send messages and return the replies that come in time.

    Flower's own `send_and_receive` says nothing before all have answered, and over the network it looks for replies
    every three seconds only.

    Args:
        grid: connection to the nodes.
        messages: at most one for each node.
        policy: how long to wait, and how often to ask again.
        on_reply: called with every reply as it comes, which answers the message as it was first sent.
        on_retry: called with a message that is sent again, and the reason.
        profiles: what the nodes are known to be, by node id; a reply that is larger than that allows is refused before
            it is taken into memory.

    Returns:
        The replies in the order in which they came, error replies among them. Each answers the message as it was given
        here, also where the client answered a repetition of it.
    """
    exchange = _Exchange(grid, policy, (on_reply, on_retry), profiles or {})
    exchange.push(list(messages))
    pause = POLL_SECONDS
    while exchange.waiting:
        exchange.collect()
        exchange.ask_again()
        remaining = exchange.deadline - time.monotonic()
        if not exchange.waiting or remaining <= 0:
            break
        # A grid on this machine knows at once when a reply has come; Flower's own have to be asked again.
        getattr(grid, "wait_for_replies", time.sleep)(min(pause, remaining))
        pause = min(pause * 1.2, LONGEST_POLL_SECONDS)
    return exchange.finished()


@dataclass(frozen=True)
class _Lost:
    """A loss that may still be made good.

    Attributes:
        reply: the error that says so.
        reason: the same in words.
        since: when it came, `time.monotonic`.
    """

    reply: Message
    reason: str
    since: float


class _Exchange:
    """Messages under way: which were sent, under which ids they may be answered, and what came.

    Attributes:
        deadline: time (`time.monotonic`) after which nothing is waited for.
        waiting: messages as first sent that have no reply yet, by their id.
    """

    def __init__(
        self,
        grid: Grid,
        policy: RetryPolicy,
        calls: tuple[Callable[[Message], None], Callable[[Message, str], None]],
        profiles: Mapping[int, ClientProfile],
    ) -> None:
        self.deadline = time.monotonic() + policy.timeout_seconds
        self.waiting: dict[str, Message] = {}
        self._grid, self._policy, self._profiles = grid, policy, profiles
        self._on_reply, self._on_retry = calls
        self._limits = limits_of(grid)
        if self._limits is not None:
            self._limits.forget(self.deadline)
        self._link = ""
        self._sent: dict[str, Message] = {}
        self._first_of: dict[str, str] = {}
        self._tries: Counter[str] = Counter()
        self._lost: dict[str, _Lost] = {}
        self._activated = self._activations()
        self._looked = time.monotonic()
        self._replies: list[Message] = []

    def push(self, messages: list[Message], first: str = "") -> bool:
        """Send messages for the first time, or one again for the `first`; False where Flower took none."""
        taken = set(self._grid.push_messages(messages))
        # A message that Flower could not take gets no reply.
        sent = {str(m.metadata.message_id): m for m in messages if m.metadata.message_id in taken}
        self._sent.update(sent)
        self._first_of.update({identity: first or identity for identity in sent})
        if not first:
            self.waiting.update(sent)
        if self._limits is not None:
            self._limits.expect({i: largest_reply(self._profiles.get(m.metadata.dst_node_id)) for i, m in sent.items()})
            # A link that was started again before this has taken nothing of it with it.
            self._link = self._link if first else self._limits.link
        return bool(sent)

    def collect(self) -> None:
        """Take the replies that are there."""
        pulled = self._grid.pull_messages(sorted(i for i in self._sent if self._first_of[i] in self.waiting))
        for reply in pulled if self._limits is None else self._limits.replaced(pulled, self._sent):
            identity = reply.metadata.reply_to_message_id
            first = self._first_of.get(identity, identity)
            if first in self.waiting:
                expired = _says_expired(reply, self._sent)
                self._sent.pop(identity, None)
                self._take(first, reply, expired=expired)

    def ask_again(self) -> None:
        """Send again what was lost: where the node is there, and to all who are waited for after the link's restart."""
        if time.monotonic() >= self.deadline:
            return
        if self._limits is not None and self._limits.link != self._link:
            earlier, self._link = self._link, self._limits.link
            if earlier and self._policy.retries > 0:
                for first in [one for one in self.waiting if one not in self._lost]:
                    self._repeat(first, LINK_RESTARTED)
        self._look_at_nodes()
        present = set(self._grid.get_node_ids()) if self._lost else set()
        for first, lost in list(self._lost.items()):
            if self.waiting[first].metadata.dst_node_id in present:
                del self._lost[first]
                self._tries[first] += 1
                if not self._repeat(first, lost.reason):
                    self._finish(first, lost.reply)
            elif time.monotonic() - lost.since > self._policy.return_seconds:
                del self._lost[first]
                self._finish(first, lost.reply)

    def finished(self) -> list[Message]:
        """Return all replies; what is lost for good is one as well, and says why."""
        for first, lost in self._lost.items():
            self._finish(first, lost.reply)
        self._lost = {}
        return self._replies

    def _look_at_nodes(self) -> None:
        """Ask those again whose node ended and came back so soon that Flower has never called it away."""
        if self._policy.retries == 0 or time.monotonic() - self._looked < LOOK_SECONDS:
            return
        now, self._looked = self._activations(), time.monotonic()
        for first in [one for one in self.waiting if one not in self._lost]:
            node = self.waiting[first].metadata.dst_node_id
            if node not in now or now[node] == self._activated.get(node):
                continue
            self._activated[node] = now[node]
            if self._tries[first] < self._policy.retries:
                self._tries[first] += 1
                self._repeat(first, CONNECTED_ANEW)

    def _activations(self) -> dict[int, str]:
        """Return when each connected node was connected, by id; nobody needs to know where nobody is asked again."""
        if self._policy.retries == 0:
            return {}
        return {info.node_id: info.last_activated_at for info in self._grid.get_nodes()}

    def _take(self, first: str, reply: Message, *, expired: bool) -> None:
        others = any(self._first_of[identity] == first for identity in self._sent)
        reason = why_lost(reply)
        if expired:
            if first in self._lost:
                self._finish(first, self._lost.pop(first).reply)
            elif not others:
                self.waiting.pop(first)
        elif reason is None:
            self._lost.pop(first, None)
            self._finish(first, reply)
        elif first not in self._lost and self._tries[first] < self._policy.retries:
            self._lost[first] = _Lost(reply, reason, time.monotonic())
        elif first not in self._lost and not others:
            self._finish(first, reply)

    def _repeat(self, first: str, reason: str) -> bool:
        """Send a message again; False where Flower could not take it."""
        message = self.waiting[first]
        to, kind, group = message.metadata.dst_node_id, message.metadata.message_type, message.metadata.group_id
        # What is left of a second at the deadline is too little to be answered, but a time to live has to be positive.
        remaining = max(1.0, self.deadline - time.monotonic())
        pushed = self.push([Message(message.content, to, kind, ttl=remaining, group_id=group)], first)
        if pushed:
            self._on_retry(message, reason)
        return pushed

    def _finish(self, first: str, reply: Message) -> None:
        message = self.waiting.pop(first)
        if reply.metadata.reply_to_message_id != first:
            reply = Message(reply.error if reply.has_error() else reply.content, reply_to=message)
        self._replies.append(reply)
        self._on_reply(reply)


def _says_expired(reply: Message, sent: Mapping[str, Message]) -> bool:
    """Whether this only says that a message has outlived its time: that is no reply, as is silence."""
    message = sent.get(reply.metadata.reply_to_message_id)
    if message is None or not reply.has_error() or reply.error.code not in _NOT_FOUND:
        return False
    return time.time() >= message.metadata.created_at + message.metadata.ttl
