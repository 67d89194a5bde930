"""What this project assumes of Flower beyond its public modules: one test each."""

from __future__ import annotations

import ast
import logging
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx
import pytest
from flwr.app import Error, Message, RecordDict
from flwr.proto.message_pb2 import Message as MessageProto
from flwr.proto.message_pb2 import Metadata, ObjectTree, PullObjectRequest
from flwr.proto.runtime_pb2 import PullAppMessagesResponse
from flwr.superlink.grid.http_grid import HttpGrid

from fmtl.engine.inline import InlineGrid
from fmtl_strategies.flower_compat import (
    ErrorCode,
    NodeInfo,
    Run,
    connection_of,
    identify_process,
    is_networked,
    listed_replies,
    log,
    piece_refusal,
    pulled_piece,
    run_superlink,
    set_message_id,
)

PACKAGES = ("fmtl", "fmtl_strategies", "server_app", "client_app", "datasets")
PUBLIC = {"flwr.app", "flwr.clientapp", "flwr.serverapp", "flwr.serverapp.strategy"}


def test_no_other_module_imports_flowers_insides() -> None:
    root = Path(__file__).parents[2]
    found = {}
    for path in (path for package in PACKAGES for path in (root / package).rglob("*.py")):
        nodes = list(ast.walk(ast.parse(path.read_text())))
        modules = {node.module or "" for node in nodes if isinstance(node, ast.ImportFrom)}
        modules |= {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
        if inner := {name for name in modules if name.split(".")[0] == "flwr"} - PUBLIC:
            found[str(path.relative_to(root))] = inner
    assert set(found) == {"fmtl_strategies/flower_compat.py"}, found


def test_the_log_is_that_of_flower(caplog: pytest.LogCaptureFixture) -> None:
    logger = logging.getLogger("flwr")
    logger.addHandler(caplog.handler)
    try:
        log(logging.WARNING, "a word: %s", 3)
    finally:
        logger.removeHandler(caplog.handler)
    assert "a word: 3" in caplog.messages


def test_error_codes_have_the_numbers_that_older_nodes_send() -> None:
    assert (ErrorCode.UNKNOWN, ErrorCode.CLIENT_APP_RAISED_EXCEPTION, ErrorCode.MESSAGE_UNAVAILABLE) == (0, 2, 3)
    assert (ErrorCode.REPLY_MESSAGE_UNAVAILABLE, ErrorCode.NODE_UNAVAILABLE, ErrorCode.CLIENT_APP_CRASHED) == (4, 5, 8)


def test_a_node_says_when_it_was_connected() -> None:
    assert NodeInfo(node_id=7).node_id == 7
    assert NodeInfo(node_id=7, last_activated_at="2026-11-30").last_activated_at == "2026-11-30"


def test_a_run_of_a_number_alone_can_be_made() -> None:
    assert Run.create_empty(5).run_id == 5


def test_messages_are_built_where_the_process_has_an_identity_only() -> None:
    script = (
        "from flwr.app import Message, RecordDict\n"
        "from fmtl_strategies.flower_compat import identify_process\n"
        "try: Message(RecordDict(), 5, 'train')\n"
        "except RuntimeError: print('refused')\n"
        "identify_process(3); print(Message(RecordDict(), 5, 'train').metadata.run_id)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["refused", "3"]


def test_a_reply_names_the_number_that_its_question_was_given() -> None:
    identify_process(1)
    question = Message(RecordDict(), 5, "train")
    set_message_id(question, "first")
    assert Message(RecordDict(), reply_to=question).metadata.reply_to_message_id == "first"
    assert Message(Error(ErrorCode.UNKNOWN, "no"), reply_to=question).metadata.reply_to_message_id == "first"


def _grid(answer: Any) -> HttpGrid:
    identify_process(1)
    grid = HttpGrid("127.0.0.1:1", insecure=True, token="t")
    grid.set_run(Run.create_empty(1))
    grid._runtime_client._client = httpx.Client(transport=httpx.MockTransport(answer))
    return grid


def test_the_connection_of_a_networked_grid_is_found() -> None:
    grid = HttpGrid("127.0.0.1:1", insecure=True, token="t")
    assert is_networked(grid)
    assert isinstance(connection_of(grid), httpx.Client)


def test_a_grid_in_this_process_is_not_networked() -> None:
    assert not is_networked(InlineGrid(lambda message, context: message, [], {}))


def test_a_hook_sees_the_list_of_replies_and_each_piece_and_may_refuse_one() -> None:
    tree = ObjectTree(object_id="reply", children=[ObjectTree(object_id="array")])
    metadata = Metadata(message_id="reply", reply_to_message_id="question", run_id=1, dst_node_id=1)
    listed = PullAppMessagesResponse(messages_list=[MessageProto(metadata=metadata)], message_object_trees=[tree])

    def answer(request: httpx.Request) -> httpx.Response:
        content = listed.SerializeToString() if request.url.path.endswith("/pull-messages") else b""
        return httpx.Response(200, content=content)

    seen: list[Any] = []

    def look(response: httpx.Response) -> None:
        if (replies := listed_replies(response)) is not None:
            seen.extend((answered, list(pieces)) for answered, pieces in replies)
        elif (piece := pulled_piece(response)) is not None:
            seen.append(piece)
            raise piece_refusal(piece, "too large")

    grid = _grid(answer)
    connection = connection_of(grid)
    assert connection is not None
    connection.event_hooks = {"request": [], "response": [look]}
    (reply,) = grid.pull_messages(["question"])
    assert seen[0] == ("question", ["array", "reply"])
    assert set(seen[1:]) <= {"array", "reply"}
    assert reply.has_error()


def test_the_content_of_a_piece_is_not_read_to_tell_what_it_is() -> None:
    class Unread(httpx.SyncByteStream):
        def __iter__(self) -> Any:
            raise AssertionError("read")

    question = PullObjectRequest(object_id="array").SerializeToString()
    request = httpx.Request("POST", "http://link/v1/runtime/pull-object", content=question)
    response = httpx.Response(200, request=request, stream=Unread())
    assert listed_replies(response) is None
    assert pulled_piece(response) == "array"


def test_layers_of_our_own_stand_before_all_of_flowers(monkeypatch: pytest.MonkeyPatch) -> None:
    from importlib import import_module

    from flwr.superlink import extensions, main
    from starlette.middleware import Middleware

    class Layer:
        def __init__(self, app: Any) -> None: ...

    started: list[Any] = []
    monkeypatch.setattr(extensions, "get_middleware", extensions.get_middleware)
    program = import_module("flwr.superlink.cli.flower_superlink")
    monkeypatch.setattr(program, "flower_superlink", lambda: started.extend(main._get_middleware()))
    run_superlink([Middleware(Layer)])
    assert started[0].cls is Layer
    assert len(started) > 1
