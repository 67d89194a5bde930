"""The ray engine: messages go to workers of a Ray cluster, their arrays through its object store."""

from __future__ import annotations

import time
from collections import Counter, deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from flwr.app import Error, Message, UserConfig

from fmtl.engine.inline import LocalGrid, with_id
from fmtl.engine.options import Engine, EngineError
from fmtl.engine.ray_cluster import cluster_workers
from fmtl.engine.ray_worker import Bytes, ClientWorker, Envelope, WorkerSettings, put_back, take_out
from fmtl_strategies.contract.messages import PROCESS_ENDED
from fmtl_strategies.flower_compat import ErrorCode, log

_SLOW_START_SECONDS = 60.0


@dataclass(frozen=True)
class _Task:
    """What a worker is doing: starting (no message), or answering one."""

    worker: int
    message: Message | None


class RayGrid(LocalGrid):
    """Nodes answered by a fixed number of Ray actors, each of which serves whichever client is next.

    Args:
        ray: the module, connected to a cluster.
        engine: how many workers, and what each gets.
        settings: what every worker is told.
        node_configs: node config of each node.
        run_id: Flower's number of the run.
    """

    def __init__(
        self, ray: Any, engine: Engine, settings: WorkerSettings, node_configs: Sequence[UserConfig], run_id: int = 1
    ) -> None:
        super().__init__(node_configs, settings.run_config, run_id)
        self._ray = ray
        actor = ray.remote(ClientWorker).options(
            num_cpus=engine.cpus_per_client, num_gpus=engine.gpus_per_client, max_restarts=-1, max_task_retries=0
        )
        count = min(cluster_workers(ray, engine), max(1, len(node_configs)))
        self._workers = [actor.remote(settings) for _ in range(count)]
        self._tasks = {worker.ready.remote(): _Task(number, None) for number, worker in enumerate(self._workers)}
        self._started = time.monotonic()
        self._idle: list[int] = []
        self._queue: deque[Message] = deque()
        self._last_worker: dict[int, int] = {}
        self._store = _SharedBytes(ray)

    def push_messages(self, messages: Iterable[Message]) -> Iterable[str]:
        """Queue messages for the workers."""
        sent = list(messages)
        ids = [with_id(message) for message in sent]
        self._store.expect(sent)
        self._queue.extend(sent)
        self._advance(0.0)
        return ids

    def pull_messages(self, message_ids: Iterable[str]) -> Iterable[Message]:
        """Return the replies to these messages that are there, once."""
        self._advance(0.0)
        return super().pull_messages(message_ids)

    def wait_for_replies(self, seconds: float) -> None:
        """Wait until a reply has come, at most so long; workers that become free get their next message meanwhile."""
        deadline = time.monotonic() + seconds
        while not self._replies and (left := deadline - time.monotonic()) > 0:
            if not self._tasks:
                time.sleep(left)
            self._advance(left)

    def close(self) -> None:
        """End the workers."""
        for worker in self._workers:
            self._ray.kill(worker, no_restart=True)

    def _advance(self, seconds: float) -> None:
        """Take what workers have finished, waiting at most so long for the first, and hand out what is queued."""
        waiting = list(self._tasks)
        if waiting:
            done, _ = self._ray.wait(waiting, num_returns=1, timeout=seconds)
            if done:
                done, _ = self._ray.wait(waiting, num_returns=len(waiting), timeout=0)
            for reference in done:
                self._finish(reference, self._tasks.pop(reference))
        self._warn_of_slow_start()
        while self._queue and self._idle:
            self._hand_out(self._idle.pop(0))

    def _hand_out(self, worker: int) -> None:
        """Give a free worker a message: for a client it has served last, if one is queued."""
        own = (m for m in self._queue if self._last_worker.get(m.metadata.dst_node_id, worker) == worker)
        message = next(own, self._queue[0])
        self._queue.remove(message)
        metadata, context = message.metadata, self.context_of(message)
        self._last_worker[metadata.dst_node_id] = worker
        light, taken = take_out(message.content)
        envelope = Envelope(
            *(light, metadata.message_type, metadata.group_id, metadata.ttl),
            *(context.run_id, context.node_id, context.node_config),
        )
        references = [self._store.reference(data) for data in taken]
        self._tasks[self._workers[worker].answer.remote(envelope, *references)] = _Task(worker, message)

    def _finish(self, reference: Any, task: _Task) -> None:
        try:
            outcome = self._ray.get(reference)
        except self._ray.exceptions.RayActorError as error:
            self._restart(task, error)
            return
        self._idle.append(task.worker)
        if task.message is None:
            return
        answer, buffers = outcome
        if isinstance(answer, str):
            reply = Message(Error(ErrorCode.CLIENT_APP_RAISED_EXCEPTION, answer), reply_to=task.message)
        else:
            reply = Message(put_back(answer, [buffer.data for buffer in buffers]), reply_to=task.message)
        self._replies[task.message.metadata.message_id] = reply

    def _restart(self, task: _Task, error: Exception) -> None:
        """Note that a worker has died; Ray starts it again by itself.

        Raises:
            EngineError: it could not even start, so a new one would not either.
        """
        if task.message is None and isinstance(error, self._ray.exceptions.ActorDiedError):
            raise EngineError(f"engine = 'ray': a worker could not start: {str(error).strip().splitlines()[-1]}")
        self._tasks[self._workers[task.worker].ready.remote()] = _Task(task.worker, None)
        if task.message is not None:
            lost = Error(ErrorCode.CLIENT_APP_CRASHED, f"{PROCESS_ENDED} (killed, perhaps for lack of memory)")
            self._replies[task.message.metadata.message_id] = Message(lost, reply_to=task.message)

    def _warn_of_slow_start(self) -> None:
        starting = all(task.message is None for task in self._tasks.values())
        if not self._idle and starting and time.monotonic() - self._started > _SLOW_START_SECONDS:
            log(30, "no worker has started yet: the Ray cluster may be busy with other work")
            self._started = time.monotonic()


class _SharedBytes:
    """Puts bytes into Ray's object store, each once however many messages hold them, and drops them after the last."""

    def __init__(self, ray: Any) -> None:
        self._ray = ray
        self._users: Counter[int] = Counter()
        self._references: dict[int, Any] = {}

    def expect(self, messages: Sequence[Message]) -> None:
        """Count who will need which bytes."""
        for message in messages:
            self._users.update(id(data) for data in take_out(message.content)[1])

    def reference(self, data: Bytes) -> Any:
        """Return the reference of bytes that were expected."""
        key = id(data)
        if key not in self._references:
            self._references[key] = self._ray.put(np.frombuffer(data, np.uint8))
        self._users[key] -= 1
        if self._users[key] > 0:
            return self._references[key]
        del self._users[key]
        return self._references.pop(key)
