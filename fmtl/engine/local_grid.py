"""What the grids of the engines share: nodes 1001, 1002, ... that are clients of one run on this machine or cluster."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable, Sequence
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

    @abstractmethod
    def push_messages(self, messages: Iterable[Message]) -> Iterable[str]:
        """Give every message to its node and return the messages' ids."""

    @abstractmethod
    def pull_messages(self, message_ids: Iterable[str]) -> Iterable[Message]:
        """Return the replies to these messages that are there, each once."""

    def context_of(self, message: Message) -> Context:
        """Return the context of the node that a message is for."""
        return self._contexts[message.metadata.dst_node_id]


def with_id(message: Message) -> str:
    """Give a message that is sent an id of its own, as Flower's grids do, and return it."""
    set_message_id(message, uuid4().hex)
    return str(message.metadata.message_id)


def failed(message: Message, error: BaseException) -> Message:
    """Return the reply of a client whose app raised, in the form that Flower's nodes give it."""
    return Message(Error(ErrorCode.CLIENT_APP_RAISED_EXCEPTION, f"{type(error)}:<'{error}'>"), reply_to=message)
