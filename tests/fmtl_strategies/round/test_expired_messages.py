"""Flower says of a message that has outlived its time that it cannot be found; for a round that is silence."""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import Any

import pytest
from flwr.app import Error, Message, RecordDict

from fmtl_strategies.flower_compat import identify_process, set_message_id
from fmtl_strategies.round.exchange import RetryPolicy, send_and_collect


class _Link:
    """Answers every message with an error."""

    def __init__(self, code: int) -> None:
        self._code = code
        self._sent: dict[str, Message] = {}

    def push_messages(self, messages: Iterable[Message]) -> list[str]:
        for number, message in enumerate(messages):
            set_message_id(message, str(number + 1))
            self._sent[str(number + 1)] = message
        return list(self._sent)

    def pull_messages(self, ids: Iterable[str]) -> list[Message]:
        return [Message(Error(self._code, "cannot be found"), reply_to=self._sent[i]) for i in ids]


def _replies(code: int, age: float) -> list[Message]:
    identify_process(1)
    message = Message(RecordDict(), 5, "train", ttl=10)
    message.metadata.created_at = time.time() - age
    link: Any = _Link(code)
    return send_and_collect(link, [message], RetryPolicy(2))


@pytest.mark.parametrize("code", [3, 4])
def test_an_expired_message_has_no_reply(code: int) -> None:
    assert _replies(code, age=11) == []


@pytest.mark.parametrize(("code", "age"), [(3, 0.0), (4, 0.0), (2, 11.0), (5, 11.0), (8, 11.0)])
def test_every_other_error_is_one(code: int, age: float) -> None:
    (reply,) = _replies(code, age)
    assert reply.error.code == code
