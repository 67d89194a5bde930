"""Calls between a site's processes: they arrive whole or with a reason, and nobody works for a caller that is gone."""

import socket
import sys
import threading
import time
from collections.abc import Iterator
from multiprocessing import Pipe
from multiprocessing.connection import Client, Connection, Listener
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from flwr.app import Array, ArrayRecord, ConfigRecord, RecordDict

from client_app.call import Call
from client_app.site.resident import asking, frames, serving
from client_app.site.resident.asking import ClientFailedError, ask, socket_path
from client_app.site.resident.frames import FrameError, receive, send
from fmtl_strategies.contract import messages

CALL = Call("train", {"site-file": "/s.yaml"}, {"seed": 3}, 7)


@pytest.fixture
def pair() -> Iterator[tuple[Connection, Connection]]:
    one, other = Pipe()
    with one, other:
        yield one, other


def _content() -> RecordDict:
    content = RecordDict({"message": ConfigRecord({"json": "{}"})})
    content["updates"] = ArrayRecord({"encoder": Array(np.arange(5, dtype=np.float32)), "b": Array(np.zeros(0))})
    content["parameters"] = ArrayRecord({})
    return content


def test_what_is_sent_arrives_unchanged(pair: tuple[Connection, Connection]) -> None:
    send(pair[0], {"kind": "train"}, _content())
    header, content = receive(pair[1])
    assert header == {"kind": "train"}
    assert list(content) == ["message", "updates", "parameters"]
    assert content.config_records["message"]["json"] == "{}"
    np.testing.assert_array_equal(content.array_records["updates"]["encoder"].numpy(), np.arange(5))
    assert content.array_records["updates"]["b"].shape == (0,)


@pytest.mark.parametrize("kept", [0, 3, 4, 40, -1])
def test_a_message_cut_short_is_an_error(kept: int) -> None:
    one, other = socket.socketpair()
    with one, other, Connection(one.fileno(), readable=False) as to:
        send(to, {"kind": "train"}, _content())
        whole = other.recv(1 << 16)
        one.detach()
    one, other = socket.socketpair()
    one.sendall(whole[:kept])
    one.close()
    with Connection(other.detach()) as connection, pytest.raises(FrameError, match="in the middle of a message"):
        receive(connection)


@pytest.mark.parametrize("sent", [b"{}", b"\xff\xfe{}", b"[]"])
def test_something_else_is_an_error(pair: tuple[Connection, Connection], sent: bytes) -> None:
    pair[0].send_bytes(sent)
    with pytest.raises(FrameError, match="cannot be read"):
        receive(pair[1])


def test_a_header_that_is_too_long_is_not_read(
    pair: tuple[Connection, Connection], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(frames, "_LONGEST_HEADER", 10)
    pair[0].send_bytes(bytes(11))
    with pytest.raises(FrameError):
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
    try:
        Client(str(path), "AF_UNIX").close()
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
    with Client(str(path), "AF_UNIX") as connection:
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
    pair: tuple[Connection, Connection], answered: list[str]
) -> None:
    send(pair[0], {"kind": "train", "node_config": {}, "run_config": {}, "run_id": 1}, _content())
    pair[0].close()
    assert serving._serve_one(pair[1])
    assert answered == []


def test_the_server_knows_the_sentence_of_a_process_that_ended() -> None:
    assert asking.PROCESS_ENDED == messages.PROCESS_ENDED


def test_a_process_that_dies_at_its_work_is_a_sentence(tmp_path: Path) -> None:
    path = socket_path(tmp_path)
    with Listener(str(path), "AF_UNIX") as listener:

        def die() -> None:
            with listener.accept() as connection:
                receive(connection)

        thread = threading.Thread(target=die)
        thread.start()
        with pytest.raises(ClientFailedError, match="ended while it worked on this message"):
            ask(tmp_path, CALL, _content())
        thread.join()


def test_a_process_that_does_not_start_is_a_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tmp_path.joinpath("client_app").mkdir()
    tmp_path.joinpath("client_app/__init__.py").write_text("raise SystemExit(1)")
    monkeypatch.setattr(asking, "_CODE", tmp_path)
    with pytest.raises(ClientFailedError, match="ended at its start with status 1; see the site's training.log"):
        ask(tmp_path, CALL, _content())
