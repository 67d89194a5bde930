"""A Flower app that does nothing but send arrays of a given size there and back, written to a folder of its own."""

from __future__ import annotations

from pathlib import Path

_PROJECT = """[build-system]
requires = ["hatchling"]
build-backend = "hatchling.build"

[project]
name = "empty-app"
version = "1.0.0"
description = "Arrays there and back."
license = { text = "Apache-2.0" }
dependencies = ["flwr>=1.41"]

[tool.flwr.app]
publisher = "empty"

[tool.flwr.app.components]
serverapp = "empty_server:app"
clientapp = "empty_client:app"

[tool.flwr.app.config]
rounds = 1
log = ""
down = "0"
up = "0"
loop = "own"
"""

_SERVER = '''"""Sends every node a message a round and writes down when."""

import json
import time

import numpy as np
from flwr.app import Array, ArrayRecord, ConfigRecord, Message, RecordDict
from flwr.serverapp import ServerApp

app = ServerApp()


@app.main()
def main(grid, context):
    config = context.run_config
    while not (nodes := sorted(grid.get_node_ids())):
        time.sleep(0.1)
    random = np.random.default_rng(context.run_id % 2**32)
    for number in range(1, config["rounds"] + 2):
        write(config["log"], event="asked", round=number)
        if number > config["rounds"]:
            return
        sizes = [int(size) for size in config["down"].split()]
        arrays = {str(i): Array(np.frombuffer(random.bytes(size), np.uint8)) for i, size in enumerate(sizes)}
        messages = []
        for node in nodes:
            content = RecordDict({"arrays": ArrayRecord(arrays), "config": ConfigRecord({"up": config["up"]})})
            messages.append(Message(content, node, "train", ttl=3600, group_id=str(number)))
        if config["loop"] == "flower":
            replies = list(grid.send_and_receive(messages))
        else:
            replies = send_and_collect(grid, messages)
        assert len(replies) == len(nodes) and not any(reply.has_error() for reply in replies)
        write(config["log"], event="answered", round=number)


def send_and_collect(grid, messages):
    waiting, replies, pause = set(grid.push_messages(messages)), [], 0.1
    while waiting:
        for reply in grid.pull_messages(sorted(waiting)):
            waiting.discard(reply.metadata.reply_to_message_id)
            replies.append(reply)
        if waiting:
            time.sleep(pause)
            pause = min(pause * 1.2, 0.5)
    return replies


def write(path, **line):
    with open(path, "a") as file:
        file.write(json.dumps({**line, "time": time.time()}) + "\\n")
'''

_CLIENT = '''"""Answers with arrays of the sizes asked for."""

import numpy as np
from flwr.app import Array, ArrayRecord, Message, RecordDict
from flwr.clientapp import ClientApp

app = ClientApp()


@app.train()
def train(message, context):
    sizes = [int(size) for size in message.content["config"]["up"].split()]
    random = np.random.default_rng()
    arrays = {str(i): Array(np.frombuffer(random.bytes(size), np.uint8)) for i, size in enumerate(sizes)}
    return Message(RecordDict({"arrays": ArrayRecord(arrays)}), reply_to=message)
'''


def write_empty_app(folder: Path) -> Path:
    """Write the app and return its folder.

    Its run config: `rounds`; `log`, the file that gets a JSON line when a round begins and ends; `down` and `up`, sizes
    of the arrays in bytes with blanks between them; `loop`: `own` looks for replies as this project does, `flower` is
    Flower's own `send_and_receive`.
    """
    folder.mkdir(parents=True)
    for name, text in (("pyproject.toml", _PROJECT), ("empty_server.py", _SERVER), ("empty_client.py", _CLIENT)):
        (folder / name).write_text(text, encoding="utf-8")
    return folder
