"""A client for tests of the ray engine: echoes, raises or dies, as the message says."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import numpy as np
from flwr.app import Array, ArrayRecord, ConfigRecord, Context, Message, RecordDict


def answer(message: Message, context: Context) -> Message:
    """Answer as the message orders: `echo`, `raise in N`, `die in N` or `die once in N` for client N."""
    order, partition = str(message.content["order"]["text"]), int(context.node_config["partition-id"])
    if order.endswith(f" in {partition}"):
        if order.startswith("raise"):
            raise OSError(f"the disk of client {partition} has melted")
        mark = Path(str(context.run_config["folder"])) / "died"
        if order.startswith("die in") or not mark.exists():
            mark.touch()
            os.kill(os.getpid(), signal.SIGKILL)
    values = np.frombuffer(message.content["parameters"]["encoder"].data, np.float32, offset=128)
    content = RecordDict({"answer": ConfigRecord({"partition": partition, "writeable": values.flags.writeable})})
    content["updates"] = ArrayRecord({"encoder": Array(2 * values)})
    return Message(content, reply_to=message)
