"""The inline engine: a message is a function call, so that debuggers and profilers see clients and server as one."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any
from uuid import uuid4

from flwr.app import Context, Error, Message, RecordDict, UserConfig
from flwr.serverapp import Grid

from fmtl_strategies.flower_compat import ErrorCode, NodeInfo, Run, identify_process, set_message_id

FIRST_NODE_ID = 1001


class LocalGrid(Grid):
    """Flower's grid without its network: all nodes are there from the beginning and stay.

    Args:
        node_configs: node config of each node, e.g. {"partition-id": 0, "num-partitions": 6}.
        run_config: run config the clients see.
        run_id: Flower's number of the run.
    """

    def __init__(self, node_configs: Sequence[UserConfig], run_config: UserConfig, run_id: int = 1) -> None:
        identify_process(run_id)
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

    def pull_messages(self, message_ids: Iterable[str]) -> Iterable[Message]:
        """Return the replies to these messages that are there, each once."""
        return [self._replies.pop(message_id) for message_id in message_ids if message_id in self._replies]

    def wait_for_replies(self, seconds: float) -> None:
        """Wait until a reply has come, at most so long."""
        time.sleep(seconds)

    def send_and_receive(self, messages: Iterable[Message], *, timeout: float | None = None) -> Iterable[Message]:
        """Give the messages to their nodes and return the replies that come in time."""
        deadline = float("inf") if timeout is None else time.monotonic() + timeout
        ids, replies = list(self.push_messages(messages)), list[Message]()
        while time.monotonic() < deadline:
            replies += self.pull_messages(ids)
            if len(replies) == len(ids):
                break
            self.wait_for_replies(min(1.0, deadline - time.monotonic()))
        return replies

    def context_of(self, message: Message) -> Context:
        """Return the context of the node that a message is for."""
        return self._contexts[message.metadata.dst_node_id]


def with_id(message: Message) -> str:
    """Give a message that is sent an id of its own, as Flower's grids do, and return it."""
    set_message_id(message, uuid4().hex)
    return str(message.metadata.message_id)


ClientFunction = Callable[[Message, Context], Message]


class InlineGrid(LocalGrid):
    """Nodes answered one after another by one client function, at the moment they are asked.

    Args:
        client: a ClientApp or any function of (message, context).
        node_configs, run_config, run_id: as `LocalGrid`.
        threads: threads that a client computes with; None leaves them as they are.
    """

    def __init__(
        self,
        client: ClientFunction,
        node_configs: Sequence[UserConfig],
        run_config: UserConfig,
        run_id: int = 1,
        *,
        threads: int | None = None,
    ) -> None:
        super().__init__(node_configs, run_config, run_id)
        self._client, self._threads = client, threads

    def push_messages(self, messages: Iterable[Message]) -> Iterable[str]:
        """Let every node answer at once and keep the replies."""
        ids = []
        for message in messages:
            ids.append(with_id(message))
            try:
                with _threads(self._threads):
                    reply = self._client(message, self.context_of(message))
            except Exception as error:  # a real node turns every exception of a ClientApp into an error reply as well
                text = f"{type(error)}:<'{error}'>"
                reply = Message(Error(ErrorCode.CLIENT_APP_RAISED_EXCEPTION, text), reply_to=message)
            self._replies[ids[-1]] = reply
        return ids


@contextmanager
def _threads(number: int | None) -> Iterator[None]:
    """Compute with so many threads, for sums of floats depend on their number; the server's own come back after it."""
    if number is None:
        yield
        return
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(number)
    try:
        yield
    finally:
        torch.set_num_threads(before)
