"""Calls between a site's processes: they arrive whole or with a reason, and nobody works for a caller that is gone."""

from __future__ import annotations

import socket
import struct
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from flwr.app import Array, ArrayRecord, ConfigRecord, RecordDict

from client_app.call import Call
from client_app.site.resident import asking, serving
from client_app.site.resident.asking import ClientFailedError, ask, socket_path
from client_app.site.resident.frames import FrameError, receive, send
from fmtl_strategies.contract import messages

CALL = Call("train", {"site-file": "/s.yaml"}, {"seed": 3}, 7)


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    one, other = socket.socketpair()
    with one, other:
        yield one, other


def _content() -> RecordDict:
    content = RecordDict({"message": ConfigRecord({"json": "{}"})})
    content["updates"] = ArrayRecord({"encoder": Array(np.arange(5, dtype=np.float32)), "b": Array(np.zeros(0))})
    content["parameters"] = ArrayRecord({})
    return content


def test_what_is_sent_arrives_unchanged(pair: tuple[socket.socket, socket.socket]) -> None:
    send(pair[0], {"kind": "train"}, _content())
    header, content = receive(pair[1])
    assert header == {"kind": "train"}
    assert list(content) == ["message", "updates", "parameters"]
    assert content.config_records["message"]["json"] == "{}"
    np.testing.assert_array_equal(content.array_records["updates"]["encoder"].numpy(), np.arange(5))
    assert content.array_records["updates"]["b"].shape == (0,)


@pytest.mark.parametrize("kept", [0, 4, 8, 40, -1])
def test_a_message_cut_short_is_an_error(pair: tuple[socket.socket, socket.socket], kept: int) -> None:
    one, other = socket.socketpair()
    with one, other:
        send(one, {"kind": "train"}, _content())
        whole = other.recv(1 << 16)
    pair[0].sendall(whole[:kept])
    pair[0].shutdown(socket.SHUT_WR)
    with pytest.raises(FrameError, match="in the middle of a message"):
        receive(pair[1])


@pytest.mark.parametrize(
    ("sent", "reason"),
    [(struct.pack(">Q", 2**40), "is too long"), (struct.pack(">Q", 2) + b"{}", "cannot be read"),
     (struct.pack(">Q", 4) + b"\xff\xfe{}", "cannot be read")],
)  # fmt: skip
def test_something_else_is_an_error(pair: tuple[socket.socket, socket.socket], sent: bytes, reason: str) -> None:
    pair[0].sendall(sent)
    with pytest.raises(FrameError, match=reason):
        receive(pair[1])


@pytest.fixture
def answered(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Stand-in for the client's handlers; notes the kinds it has answered."""
    kinds: list[str] = []

    def answer(call: Call, content: RecordDict) -> RecordDict:
        kinds.append(call.kind)
        if call.run_config.get("fail"):
            raise ValueError("no such thing")
        return content

    handlers = ModuleType("client_app.round.handlers")
    handlers.answer = answer  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "client_app.round.handlers", handlers)
    return kinds


def _takes_connections(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as connection:
        try:
            connection.connect(str(path))
        except (FileNotFoundError, ConnectionRefusedError):
            return False
    return True


@pytest.fixture
def served(tmp_path: Path, answered: list[str]) -> Iterator[Path]:
    path = socket_path(tmp_path)
    thread = threading.Thread(target=serving.serve, args=(path, 60))
    thread.start()
    while not _takes_connections(path):
        time.sleep(0.01)
    yield tmp_path
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(str(path))
        send(connection, {"kind": "quit"})
    thread.join()
    assert not path.exists()


def test_an_answer_comes_back(served: Path, answered: list[str]) -> None:
    reply = ask(served, CALL, _content())
    assert reply.array_records["updates"]["encoder"].shape == (5,)
    assert answered == ["train"]


def test_an_error_comes_back_with_its_reason_and_the_process_stays(served: Path, answered: list[str]) -> None:
    with pytest.raises(ClientFailedError, match="ValueError: no such thing"):
        ask(served, Call("train", {}, {"fail": True}, 7), _content())
    ask(served, CALL, _content())
    assert len(answered) == 2


def test_a_message_whose_sender_has_died_is_not_worked_on(
    pair: tuple[socket.socket, socket.socket], answered: list[str]
) -> None:
    send(pair[0], {"kind": "train", "node_config": {}, "run_config": {}, "run_id": 1}, _content())
    pair[0].close()
    assert serving._serve_one(pair[1])
    assert answered == []


def test_the_server_knows_the_sentence_of_a_process_that_ended() -> None:
    assert asking.PROCESS_ENDED == messages.PROCESS_ENDED


def test_a_process_that_dies_at_its_work_is_a_sentence(tmp_path: Path) -> None:
    path = socket_path(tmp_path)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()

        def die() -> None:
            connection, _ = listener.accept()
            receive(connection)
            connection.close()

        thread = threading.Thread(target=die)
        thread.start()
        with pytest.raises(ClientFailedError, match="ended while it worked on this message"):
            ask(tmp_path, CALL, _content())
        thread.join()


def test_a_process_that_does_not_start_is_a_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(asking, "_CODE", tmp_path)
    with pytest.raises(ClientFailedError, match="ended at its start with status 1; see the site's training.log"):
        ask(tmp_path, CALL, _content())
