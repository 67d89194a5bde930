"""The inline engine: a message is a function call, so that debuggers and profilers see clients and server as one."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager

from flwr.app import Context, Message, UserConfig

from fmtl.engine.local_grid import LocalGrid, failed, with_id

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
        self._replies: dict[str, Message] = {}

    def push_messages(self, messages: Iterable[Message]) -> Iterable[str]:
        """Let every node answer at once and keep the replies."""
        ids = []
        for message in messages:
            ids.append(with_id(message))
            self._replies[ids[-1]] = self._answer(message)
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
        try:
            with _threads(self._threads):
                return self._client(message, self.context_of(message))
        except Exception as error:  # a real node turns every exception of a ClientApp into an error reply as well
            return failed(message, error)


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
