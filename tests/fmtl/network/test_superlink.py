"""The SuperLink behind its access filter as it really runs: requests are limited, and no variable opens it."""

from __future__ import annotations

import os
import socket
import ssl
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from flwr.app import ConfigRecord
from flwr.app.message.arraychunk import ArrayChunk
from flwr.common.constant import FLWR_PRIVATE_MAX_ARRAY_CHUNK_SIZE
from flwr.proto.fleet_pb2 import PushMessagesRequest
from flwr.proto.message_pb2 import ObjectTree, PushObjectRequest

from fmtl.network.coordinator_folder import CoordinatorFolder, local_endpoint, make_coordinator, read_settings
from fmtl.network.flower_programs import answers, free_port, service_environment, superlink_command
from fmtl.network.superlink import LARGEST_REQUEST, OPENING_VARIABLES
from fmtl_strategies.contract.messages import MAX_TEXT_BYTES, TEXT_KEY
from fmtl_strategies.round.reply_limits import _MOST_PIECES

STARTER = "/v1/control/list-nodes"
UPLOAD = "/v1/fleet/push-object"


@pytest.fixture(scope="module")
def link(tmp_path_factory: pytest.TempPathFactory) -> Iterator[CoordinatorFolder]:
    """A SuperLink, started with variables that would lead past its access filter."""
    folder = make_coordinator(tmp_path_factory.mktemp("link") / "coordinator", ("localhost",), free_port())
    folder.home.mkdir()
    listen = local_endpoint(read_settings(folder))
    opening = {
        "FORWARDED_ALLOW_IPS": "*",
        "FLWR_INTERNAL_GRPC_CONTROL_API": "1",
        "FLWR_INTERNAL_GRPC_FLEET_API": "1",
    }
    with (folder.path / "link.log").open("wb") as log:
        process = subprocess.Popen(
            superlink_command(listen, folder.certificates, folder.database),
            env={**os.environ, **opening, "FLWR_HOME": str(folder.home), "FLWR_TELEMETRY_ENABLED": "0"},
            stdout=log,
            stderr=log,
        )
        try:
            deadline = time.monotonic() + 120
            while not answers(listen, folder.certificates.ca):
                assert process.poll() is None, (folder.path / "link.log").read_text()
                assert time.monotonic() < deadline
                time.sleep(0.1)
            yield folder
        finally:
            process.terminate()
            try:
                process.wait(60)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _ask(link: CoordinatorFolder, path: str, headers: str, body: bytes = b"") -> int:
    """The status with which a request is answered of which nothing more is sent."""
    listen = local_endpoint(read_settings(link))
    trusted = ssl.create_default_context(cafile=str(link.certificates.ca))
    with (
        socket.create_connection((listen.host, listen.port), timeout=60) as plain,
        trusted.wrap_socket(plain, server_hostname="localhost") as connection,
    ):
        start = f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/protobuf\r\n{headers}\r\n"
        connection.sendall(start.encode() + body)
        return int(connection.recv(64).split()[1])


def _pieces(size: int) -> bytes:
    """A chunked body of so many bytes, without its end."""
    largest = 2**20
    sizes = [largest] * (size // largest) + ([size % largest] if size % largest else [])
    return b"".join(b"%x\r\n%s\r\n" % (one, bytes(one)) for one in sizes)


def test_a_request_that_says_it_is_too_large_is_refused_unread(link: CoordinatorFolder) -> None:
    assert _ask(link, UPLOAD, f"Content-Length: {LARGEST_REQUEST + 1}\r\n") == 413


def test_a_request_that_does_not_say_how_large_it_is_is_cut_off(link: CoordinatorFolder) -> None:
    assert _ask(link, UPLOAD, "Transfer-Encoding: chunked\r\n", _pieces(LARGEST_REQUEST + 1)) == 413


def test_a_request_of_a_site_still_comes_through(link: CoordinatorFolder) -> None:
    whole = bytes(LARGEST_REQUEST)
    # Flower's own answers: no protobuf; nobody's signature.
    assert _ask(link, UPLOAD, f"Content-Length: {len(whole)}\r\n", whole) == 400
    assert _ask(link, UPLOAD, "Transfer-Encoding: chunked\r\n", _pieces(len(whole)) + b"0\r\n\r\n") == 400
    assert _ask(link, UPLOAD, "Content-Length: 0\r\n") == 401


def test_no_request_says_itself_where_it_comes_from_whatever_the_environment(link: CoordinatorFolder) -> None:
    assert _ask(link, STARTER, "Content-Length: 0\r\n") == 200
    # What another machine sends through a forwarder on this one, which adds the true address at the end.
    forwarded = "X-Forwarded-For: 127.0.0.1, 203.0.113.9\r\nContent-Length: 0\r\n"
    assert _ask(link, STARTER, forwarded) == 403


def test_the_link_opens_no_port_beside_its_own(link: CoordinatorFolder) -> None:
    assert "gRPC" not in (link.path / "link.log").read_text()


def test_no_service_gets_a_variable_that_leads_past_the_door(tmp_path: Path) -> None:
    env = service_environment(tmp_path, {**dict.fromkeys(OPENING_VARIABLES, "1"), "KEPT": "1"})
    assert env["KEPT"] == "1"
    assert not set(OPENING_VARIABLES) & set(env)


def test_the_limit_leaves_room_for_the_largest_request_of_a_site() -> None:
    text = ConfigRecord({TEXT_KEY: "x" * MAX_TEXT_BYTES}).deflate()
    piece = ArrayChunk(memoryview(bytes(FLWR_PRIVATE_MAX_ARRAY_CHUNK_SIZE))).deflate()
    listed = ObjectTree(object_id="0" * 64, children=[ObjectTree(object_id="0" * 64) for _ in range(_MOST_PIECES)])
    sizes = [
        *(PushObjectRequest(object_id="0" * 64, object_content=content).ByteSize() for content in (text, piece)),
        PushMessagesRequest(message_object_trees=[listed]).ByteSize(),
    ]
    assert max(sizes) * 2 <= LARGEST_REQUEST, sizes
