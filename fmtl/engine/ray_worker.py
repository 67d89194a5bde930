"""One worker of the ray engine: answers messages of any client, and keeps models and data it has loaded.

Bodies of messages go without the bytes of their arrays, so that these can go another way and be read without a copy.
"""

from __future__ import annotations

import os
import socket
import sys
import traceback
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

import numpy as np
import numpy.typing as npt
from flwr.app import Array, ArrayRecord, Context, Message, RecordDict, UserConfig

from fmtl_strategies.flower_compat import identify_process

Bytes = bytes | memoryview


def take_out(content: RecordDict) -> tuple[RecordDict, list[Bytes]]:
    """Return a body whose arrays are empty, and the bytes that belong in them, in order."""
    light = RecordDict()
    taken: list[Bytes] = []
    for name, record in content.items():
        if isinstance(record, ArrayRecord):
            taken += [array.data for array in record.values()]
            light[name] = ArrayRecord({key: Array(a.dtype, tuple(a.shape), a.stype, b"") for key, a in record.items()})
        else:
            light[name] = record
    return light, taken


def put_back(light: RecordDict, taken: Sequence[Bytes]) -> RecordDict:
    """Undo `take_out`, in place."""
    arrays = [array for record in light.array_records.values() for array in record.values()]
    for array, data in zip(arrays, taken, strict=True):
        array.data = data  # type: ignore[assignment]  # Flower's own code reads any buffer
    return light


Buffer = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class Envelope:
    """A message to a client, apart from the bytes of its arrays.

    Attributes:
        content: the body, its arrays empty.
        message_type, group_id, ttl: of Flower's metadata.
        run_id, node_id, node_config: of the node it is for.
    """

    content: RecordDict
    message_type: str
    group_id: str
    ttl: float
    run_id: int
    node_id: int
    node_config: UserConfig


@dataclass(frozen=True)
class WorkerSettings:
    """What every worker of a run is told.

    Attributes:
        client: `module:attribute` of the ClientApp.
        warm: module imported before the first message.
        run_config: run config the clients see.
        threads: threads to compute with.
        folder: the run folder, which every machine of the cluster has to see; None where nothing is kept.
    """

    client: str
    warm: str | None
    run_config: UserConfig
    threads: int
    folder: Path | None


class ClientWorker:
    """A Ray actor; what it prints goes to `log.txt` of the run folder.

    Args:
        settings: of the run.
    """

    def __init__(self, settings: WorkerSettings) -> None:
        import torch

        torch.set_num_threads(settings.threads)
        self._settings = settings
        self._logs = False
        module, _, attribute = settings.client.partition(":")
        self._client = getattr(import_module(module), attribute)
        if settings.warm is not None:
            import_module(settings.warm)

    def ready(self) -> None:
        """Return once the worker has been started."""

    def answer(self, envelope: Envelope, *buffers: Buffer) -> tuple[RecordDict | str, list[Buffer]]:
        """Answer one message.

        Args:
            envelope: the message.
            buffers: bytes of its arrays, in the order of `take_out`; views of Ray's object store.

        Returns:
            The reply's body and the bytes of its arrays, or the text of the exception that the client raised.
        """
        identify_process(envelope.run_id, envelope.node_id)
        content = put_back(envelope.content, [buffer.data for buffer in buffers])
        message = Message(
            content, envelope.node_id, envelope.message_type, ttl=envelope.ttl, group_id=envelope.group_id
        )
        # Clients keep what survives a message on disk; Flower's own state would be lost with the worker.
        context = Context(
            *(envelope.run_id, envelope.node_id, envelope.node_config, RecordDict(), self._settings.run_config)
        )
        try:
            self._find_folder()
            light, taken = take_out(self._client(message, context).content)
        except Exception as error:  # a real node turns every exception of a ClientApp into an error reply as well
            traceback.print_exc()
            return f"{type(error)}:<'{error}'>", []
        return light, [np.frombuffer(data, np.uint8) for data in taken]

    def _find_folder(self) -> None:
        """Send all that this process prints to the run's log, once the server has made the folder.

        Raises:
            FileNotFoundError: this machine does not see the run folder, so nothing that clients keep could be found.
        """
        folder = self._settings.folder
        if self._logs or folder is None:
            return
        if not folder.is_dir():
            raise FileNotFoundError(
                f"{socket.gethostname()} does not see the run folder {folder}; give --out-dir on a file system that "
                f"all machines of the Ray cluster share."
            )
        file = os.open(folder / "log.txt", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        sys.stdout.flush()
        sys.stderr.flush()
        os.dup2(file, 1)
        os.dup2(file, 2)
        os.close(file)
        self._logs = True
