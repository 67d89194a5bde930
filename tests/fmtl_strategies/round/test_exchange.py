"""Clients whose work was lost on the way are asked again in the same round; all others are not."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

import pytest
from flwr.app import ConfigRecord, Error, Message, RecordDict

from fmtl_strategies.contract.messages import PROCESS_ENDED
from fmtl_strategies.flower_compat import ErrorCode, NodeInfo, identify_process, set_message_id
from fmtl_strategies.round import exchange
from fmtl_strategies.round.exchange import CONNECTED_ANEW, LINK_RESTARTED, RetryPolicy, send_and_collect
from fmtl_strategies.round.reply_limits import ReplyLimits

AWAY = Error(ErrorCode.NODE_UNAVAILABLE, "Node Unavailable")
CRASHED = Error(ErrorCode.CLIENT_APP_CRASHED, "ClientApp stopped responding.")
HALF_SENT = Error(ErrorCode.MESSAGE_UNAVAILABLE, "Message Unavailable")
ENDED = Error(ErrorCode.CLIENT_APP_RAISED_EXCEPTION, f"<class 'ClientFailedError'>:<'{PROCESS_ENDED} (gone)'>")
BAD_DATA = Error(ErrorCode.CLIENT_APP_RAISED_EXCEPTION, "<class 'ValueError'>:<'no such image'>")


def _good(word: str) -> RecordDict:
    return RecordDict({"answer": ConfigRecord({"word": word})})


@dataclass
class Link:
    """Answers the n-th message to a node with the n-th of its answers; None: not yet.

    Attributes:
        answers: by node; a function is asked at every look.
        present: nodes that are connected.
        sent: all messages, in order.
        activated: when nodes were connected, by node, where that matters.
        looks: how often replies were looked for.
    """

    answers: dict[int, list[Any]]
    present: set[int] = field(default_factory=set)
    sent: list[Message] = field(default_factory=list)
    activated: dict[int, str] = field(default_factory=dict)
    looks: int = 0

    def __post_init__(self) -> None:
        identify_process(1)
        self.present = self.present or set(self.answers)
        self._by_id: dict[str, tuple[Message, Any]] = {}

    def push_messages(self, messages: Iterable[Message]) -> list[str | None]:
        ids = []
        for message in messages:
            node = message.metadata.dst_node_id
            earlier = sum(one.metadata.dst_node_id == node for one in self.sent)
            identity = f"{node}-{earlier}"
            set_message_id(message, identity)
            self.sent.append(message)
            self._by_id[identity] = (message, self.answers[node][earlier])
            ids.append(identity)
        return ids

    def pull_messages(self, ids: Iterable[str]) -> list[Message]:
        self.looks += 1
        found = []
        for identity in ids:
            message, answer = self._by_id[identity]
            answer = answer() if callable(answer) else answer
            if answer is not None:
                found.append(Message(answer, reply_to=message))
        return found

    def get_node_ids(self) -> list[int]:
        return sorted(self.present)

    def get_nodes(self) -> list[NodeInfo]:
        return [NodeInfo(node_id=node, last_activated_at=self.activated.get(node, "")) for node in self.present]


def _ask(
    link: Link, patience: RetryPolicy | None = None, on_retry: Callable[[Message, str], None] = lambda *_: None
) -> dict[int, Message]:
    messages = [Message(RecordDict(), node, "train", ttl=30) for node in link.answers]
    first = {f"{node}-0": node for node in link.answers}
    grid: Any = link
    replies = send_and_collect(
        grid, messages, patience or RetryPolicy(10, retries=1, return_seconds=0.5), on_retry=on_retry
    )
    assert len({reply.metadata.reply_to_message_id for reply in replies}) == len(replies)
    return {first[reply.metadata.reply_to_message_id]: reply for reply in replies}


def _word(reply: Message) -> str:
    return str(reply.content.config_records["answer"]["word"])


@pytest.mark.parametrize("loss", [AWAY, CRASHED, HALF_SENT, ENDED])
def test_lost_work_is_asked_for_again_and_its_reply_answers_the_first_message(loss: Error) -> None:
    told: list[tuple[int, str]] = []
    link = Link({1: [_good("one")], 2: [loss, _good("two")]})
    replies = _ask(link, on_retry=lambda message, reason: told.append((message.metadata.dst_node_id, reason)))
    assert {node: _word(reply) for node, reply in replies.items()} == {1: "one", 2: "two"}
    assert [node for node, _ in told] == [2]
    assert told[0][1] in loss.reason


def test_the_repetition_has_the_content_kind_and_group_of_the_first_and_the_time_that_is_left() -> None:
    link = Link({2: [ENDED, _good("two")]})
    message = Message(_good("question"), 2, "train", ttl=30, group_id="7")
    grid: Any = link
    send_and_collect(grid, [message], RetryPolicy(10, retries=1))
    first, second = link.sent
    assert second.content == first.content
    assert (second.metadata.message_type, second.metadata.group_id) == ("train", "7")
    assert second.metadata.ttl <= 10


def test_a_client_that_fails_by_itself_is_not_asked_again() -> None:
    link = Link({1: [BAD_DATA]})
    assert _ask(link)[1].error.reason == BAD_DATA.reason
    assert len(link.sent) == 1


@pytest.mark.parametrize("retries", [0, 1, 3])
def test_retries_are_limited_and_the_last_loss_is_the_reply(retries: int) -> None:
    link = Link({1: [ENDED] * 9})
    assert PROCESS_ENDED in _ask(link, RetryPolicy(10, retries=retries))[1].error.reason
    assert len(link.sent) == 1 + retries


def test_a_node_that_is_away_is_asked_when_it_is_back() -> None:
    link = Link({1: [AWAY, _good("back")], 2: [None]})
    link.present = {2}

    def look() -> None:
        if link.looks == 3:
            assert len(link.sent) == 2
            link.present.add(1)

    link.answers[2] = [lambda: look() or (_good("slow") if link.looks > 5 else None)]
    assert _word(_ask(link, RetryPolicy(20, retries=1, return_seconds=10))[1]) == "back"


def test_a_node_that_stays_away_holds_nobody_up_for_longer_than_the_return_timeout() -> None:
    link = Link({1: [AWAY, _good("never")], 2: [_good("two")]})
    link.present = {2}
    replies = _ask(link, RetryPolicy(60, retries=1, return_seconds=0.3))
    assert replies[1].error.code == ErrorCode.NODE_UNAVAILABLE
    assert len(link.sent) == 2
    assert link.looks < 20


def test_a_loss_just_before_the_deadline_is_reported_as_the_loss_it_is() -> None:
    link = Link({1: [AWAY]})
    link.present = {2}
    assert _ask(link, RetryPolicy(0.3, retries=1, return_seconds=60))[1].error.reason == AWAY.reason


def test_a_node_that_came_back_before_anybody_missed_it_is_asked_again_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exchange, "LOOK_SECONDS", 0.05)
    told: list[str] = []
    link = Link({1: [None, lambda: _good("again") if link.looks > 8 else None], 2: [_good("two")]})
    link.activated = {1: "monday", 2: "monday"}

    def look() -> RecordDict | None:
        if link.looks == 2:
            link.activated[1] = "tuesday"
        return None

    link.answers[1][0] = look
    replies = _ask(link, on_retry=lambda message, reason: told.append(reason))
    assert _word(replies[1]) == "again"
    assert told == [CONNECTED_ANEW]


def test_a_first_message_that_expires_while_a_loss_is_waited_out_ends_in_that_loss(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # Two copies are out after the link was started again; the second tells of the node's loss, the first expires.
    link = Link({1: [lambda: HALF_SENT if link.looks > 5 else None, AWAY]})
    link.present = {2}
    limits = Limits(link)
    monkeypatch.setattr(exchange, "limits_of", lambda grid: limits)
    message = Message(RecordDict(), 1, "train", ttl=0.5)
    grid: Any = link
    (reply,) = send_and_collect(grid, [message], RetryPolicy(3, retries=1, return_seconds=60))
    assert reply.error.code == ErrorCode.NODE_UNAVAILABLE


class Limits(ReplyLimits):
    """Limits of a link that is started again at the third look."""

    def __init__(self, link: Link) -> None:
        super().__init__()
        self._looked_at = link

    @property
    def link(self) -> str:  # type: ignore[override]
        return "second" if self._looked_at.looks >= 3 else "first"

    @link.setter
    def link(self, value: str) -> None:
        pass


def test_a_restarted_link_asks_those_again_who_have_not_answered(monkeypatch: pytest.MonkeyPatch) -> None:
    link = Link({1: [_good("early"), _good("unasked")], 2: [None, _good("kept")], 3: [None, None]})
    limits = Limits(link)
    link.answers[3] = [lambda: _good("late") if link.looks > 6 else None, None]
    monkeypatch.setattr(exchange, "limits_of", lambda grid: limits)
    told: list[tuple[int, str]] = []
    replies = _ask(link, on_retry=lambda message, reason: told.append((message.metadata.dst_node_id, reason)))
    # The second's first reply is lost; the third's first question was not, and its answer is used.
    assert {node: _word(reply) for node, reply in replies.items()} == {1: "early", 2: "kept", 3: "late"}
    assert told == [(2, LINK_RESTARTED), (3, LINK_RESTARTED)]


def test_a_link_that_stays_as_it_is_asks_nobody_again(monkeypatch: pytest.MonkeyPatch) -> None:
    link = Link({1: [lambda: _good("slow") if link.looks > 6 else None]})
    monkeypatch.setattr(exchange, "limits_of", lambda grid: ReplyLimits())
    assert _word(_ask(link)[1]) == "slow"
    assert len(link.sent) == 1


@pytest.mark.parametrize(
    ("code", "age", "silent"),
    [(3, 11, True), (4, 11, True), (3, 0, False), (4, 0, False), (2, 11, False), (5, 11, False)],
)
def test_flower_saying_that_a_message_has_outlived_its_time_is_silence_and_other_errors_are_replies(
    code: int, age: float, silent: bool
) -> None:
    message = Message(RecordDict(), 5, "train", ttl=10)
    message.metadata.created_at = time.time() - age
    grid: Any = Link({5: [Error(code, "cannot be found")]})
    replies = send_and_collect(grid, [message], RetryPolicy(2))
    assert [reply.error.code for reply in replies] == ([] if silent else [code])
