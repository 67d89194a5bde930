"""Replies that are larger than they may be are refused before they are taken into memory.

Over the network Flower takes a reply in pieces: first a list of the pieces, then each piece in an answer of its own,
whose headers say how large it is. The headers are looked at before the piece is read (design.md section 6).
"""

from __future__ import annotations

import logging
import math
import threading
import time
from collections.abc import Iterable, Iterator, Mapping
from weakref import WeakKeyDictionary

import httpx
from flwr.app import Error, Message
from flwr.serverapp import Grid

from fmtl_strategies.flower_compat import (
    ErrorCode,
    connection_of,
    is_networked,
    listed_replies,
    log,
    piece_refusal,
    pulled_piece,
)

LINK_HEADER = "fmtl-link"
"""Header in which the link says which process it is (`fmtl.network.superlink`): another one after every start."""

_MOST_PIECES = 100_000
_NOTHING = 16
"""Bytes of an answer that holds no piece: that it has not come yet. Flower would ask again for two hours."""

_KEPT: WeakKeyDictionary[Grid, ReplyLimits] = WeakKeyDictionary()


class ReplyLimits:
    """The limits of the replies that are due, and what became of those beyond.

    Attributes:
        refused: why a reply was refused, by the id of the message it answers.
        link: which process of the link answered last; empty where it does not say.
    """

    def __init__(self) -> None:
        self.refused: dict[str, str] = {}
        self.link = ""
        self._limits: dict[str, int] = {}
        self._left: dict[str, int] = {}
        self._taken: dict[tuple[str, str], int] = {}
        self._message_of_piece: dict[str, str] = {}
        self._deadline = math.inf
        self._lock = threading.Lock()

    def forget(self, deadline: float) -> None:
        """Forget earlier messages.

        Args:
            deadline: time (`time.monotonic`) until which the content of a reply that was announced is waited for.
        """
        with self._lock:
            self._deadline = deadline
            self.refused, self._limits, self._left, self._taken = {}, {}, {}, {}
            self._message_of_piece = {}

    def expect(self, limits: Mapping[str, int]) -> None:
        """Add what is due.

        Args:
            limits: the largest number of bytes of each reply, by the id of the message it answers.
        """
        with self._lock:
            self._limits.update(limits)
            self._left.update(limits)

    def look(self, response: httpx.Response) -> None:
        """Look at an answer of the link whose content has not been read yet.

        Raises:
            Exception: a piece of a reply that is too large; Flower turns it into an error reply.
        """
        if not response.is_success:
            return
        self.link = response.headers.get(LINK_HEADER, self.link)
        if (listed := listed_replies(response)) is not None:
            self._note(listed)
        elif (piece := pulled_piece(response)) is not None:
            self._take(piece, int(response.headers.get("content-length", 0)))

    def replaced(self, replies: Iterable[Message], sent: Mapping[str, Message]) -> Iterator[Message]:
        """Yield replies, with the true reason in place of those that were refused here.

        Args:
            replies: as they came.
            sent: the messages they answer, by id.
        """
        for reply in replies:
            answered = reply.metadata.reply_to_message_id
            if answered in self.refused and answered in sent:
                yield Message(Error(ErrorCode.UNKNOWN, self.refused[answered]), reply_to=sent[answered])
            else:
                yield reply

    def _note(self, listed: Iterable[tuple[str, Iterator[str]]]) -> None:
        for answered, pieces in listed:
            for number, piece in enumerate(pieces):
                self._message_of_piece[piece] = answered
                if number >= _MOST_PIECES:
                    self._refuse(answered, f"more than {_MOST_PIECES} pieces")
                    break

    def _take(self, piece: str, size: int) -> None:
        answered = self._message_of_piece.get(piece, "")
        if answered not in self._limits:
            raise piece_refusal(piece, "this belongs to no reply that is due")
        with self._lock:
            # A piece whose download was cut off comes again, and counts once.
            self._left[answered] -= size - self._taken.get((answered, piece), 0)
            self._taken[answered, piece] = size
            if self._left[answered] < 0:
                self._refuse(answered, f"more than the {self._limits[answered]} bytes")
            elif size <= _NOTHING and time.monotonic() > self._deadline:
                self.refused[answered] = "the reply was announced, but its content did not come before the deadline"
        if answered in self.refused:
            raise piece_refusal(piece, self.refused[answered])

    def _refuse(self, answered: str, beyond: str) -> None:
        self.refused[answered] = (
            f"the reply holds {beyond} that this client's may have; it was refused before it was taken"
        )


def limits_of(grid: Grid) -> ReplyLimits | None:
    """Return the limits of a grid's replies, kept from its first use on; None where replies are in memory already.

    Args:
        grid: over the network; all others live in one process or machine with their clients.
    """
    if not is_networked(grid):
        return None
    if grid in _KEPT:
        return _KEPT[grid]
    client = connection_of(grid)
    if client is None:
        log(logging.WARNING, "this version of Flower hides its connection: replies are limited only once they are here")
        return None
    limits = ReplyLimits()
    client.event_hooks = {**client.event_hooks, "response": [*client.event_hooks["response"], limits.look]}
    _KEPT[grid] = limits
    return limits
