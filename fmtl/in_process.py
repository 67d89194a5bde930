"""A Flower grid whose nodes live in this process: whole runs without Ray and without a network, for tests and sweeps.

The same ServerApp code and the same ClientApp code run as in a simulation; only the transport is a function call.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from typing import Any
from uuid import uuid4

from flwr.app import Context, Error, Message, RecordDict, UserConfig
from flwr.serverapp import Grid

from fmtl_strategies.flower_compat import ErrorCode, NodeInfo, Run, identify_process, set_message_id

ClientFunction = Callable[[Message, Context], Message]

FIRST_NODE_ID = 1001


class InProcessGrid(Grid):
    """Nodes 1001, 1002, ... answered one after another by one client function.

    Args:
        client: a ClientApp or any function of (message, context).
        node_configs: node config of each node, e.g. {"partition-id": 0, "num-partitions": 6}.
        run_config: run config the clients see.
        run_id: Flower's number of the run.
    """

    def __init__(
        self, client: ClientFunction, node_configs: Iterable[UserConfig], run_config: UserConfig, run_id: int = 1
    ) -> None:
        identify_process(run_id)
        self._client = client
        self._run = Run.create_empty(run_id)
        self._contexts = {
            FIRST_NODE_ID + i: Context(run_id, FIRST_NODE_ID + i, config, RecordDict(), run_config)
            for i, config in enumerate(node_configs)
        }
        self._replies: dict[str, Message] = {}

    def set_run(self, run: Run) -> None:
        """Take the run's description."""
        self._run = run

    @property
    def run(self) -> Run:
        """The run's description."""
        return self._run

    def create_message(self, *args: Any, **kwargs: Any) -> Message:
        """Refused: Flower has deprecated it in favour of `Message(...)`."""
        raise TypeError("Grid.create_message is deprecated in Flower; use flwr.app.Message(...)")

    def get_node_ids(self) -> Iterable[int]:
        """Return the ids of all nodes."""
        return list(self._contexts)

    def get_nodes(self) -> Iterable[NodeInfo]:
        """Return the nodes' descriptions."""
        return [NodeInfo(node_id=node_id) for node_id in self._contexts]

    def push_messages(self, messages: Iterable[Message]) -> Iterable[str]:
        """Give every message to its node at once and keep the replies."""
        ids = []
        for message in messages:
            set_message_id(message, uuid4().hex)
            ids.append(message.metadata.message_id)
            self._replies[message.metadata.message_id] = self._answer(message)
        return ids

    def pull_messages(self, message_ids: Iterable[str]) -> Iterable[Message]:
        """Return the replies to these messages, once."""
        return [self._replies.pop(message_id) for message_id in message_ids if message_id in self._replies]

    def send_and_receive(self, messages: Iterable[Message], *, timeout: float | None = None) -> Iterable[Message]:
        """Give the messages to their nodes and return the replies; those later than the timeout are dropped."""
        started = time.monotonic()
        replies = self.pull_messages(self.push_messages(messages))
        late = timeout is not None and time.monotonic() - started > timeout
        return [] if late else replies

    def _answer(self, message: Message) -> Message:
        context = self._contexts[message.metadata.dst_node_id]
        try:
            return self._client(message, context)
        except Exception as error:  # a real node turns every exception of a ClientApp into an error reply as well
            return Message(Error(ErrorCode.CLIENT_APP_RAISED_EXCEPTION, f"{type(error)}:<'{error}'>"), reply_to=message)
