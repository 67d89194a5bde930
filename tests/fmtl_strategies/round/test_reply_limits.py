"""A reply that is larger than it may be is refused by its headers: its content is never read."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

import httpx
import pytest
from flwr.app import Message, RecordDict
from flwr.proto.message_pb2 import ConfirmMessageReceivedResponse, ObjectTree, PullObjectRequest, PullObjectResponse
from flwr.proto.message_pb2 import Message as MessageProto
from flwr.proto.message_pb2 import Metadata as MetadataProto
from flwr.proto.runtime_pb2 import PullAppMessagesResponse, PushAppMessagesRequest, PushAppMessagesResponse
from flwr.supercore.inflatable.inflatable_utils import ObjectPullError
from flwr.superlink.grid.http_grid import HttpGrid

from fmtl_strategies.flower_compat import Run, identify_process
from fmtl_strategies.round.exchange import RetryPolicy, largest_reply, send_and_collect
from fmtl_strategies.round.reply_limits import ReplyLimits

LARGE = 200_000_000


class _Body(httpx.SyncByteStream):
    """Content that notes whether it was read."""

    def __init__(self, content: bytes, read: list[int]) -> None:
        self._content, self._read = content, read

    def __iter__(self) -> Iterator[bytes]:
        self._read.append(len(self._content))
        yield self._content


class _Link:
    """A link that holds one reply, of one piece."""

    def __init__(self, announced: int, content: bytes) -> None:
        self.read: list[int] = []
        self.question = ""
        self._announced, self._content = announced, content

    def handle(self, request: httpx.Request) -> httpx.Response:
        path = request.url.path.rpartition("/")[2]
        if path == "push-messages":
            (pushed,) = PushAppMessagesRequest.FromString(request.content).messages_list
            self.question = pushed.metadata.message_id
            return _response(PushAppMessagesResponse(message_ids=[self.question]))
        if path == "pull-messages":
            metadata = MetadataProto(message_id="reply", reply_to_message_id=self.question)
            tree = ObjectTree(object_id="reply", children=[ObjectTree(object_id="array")])
            listed = [MessageProto(metadata=metadata)]
            return _response(PullAppMessagesResponse(messages_list=listed, message_object_trees=[tree]))
        if path == "pull-object":
            assert PullObjectRequest.FromString(request.content).object_id in ("reply", "array")
            return httpx.Response(
                200, headers={"content-length": str(self._announced)}, stream=_Body(self._content, self.read)
            )
        return _response(ConfirmMessageReceivedResponse())


def _response(message: object) -> httpx.Response:
    return httpx.Response(200, content=message.SerializeToString())  # type: ignore[attr-defined]


def _grid(link: _Link) -> HttpGrid:
    identify_process(1)
    grid = HttpGrid("127.0.0.1:1", insecure=True, token="t")
    grid.set_run(Run.create_empty(1))
    grid._runtime_client._client = httpx.Client(transport=httpx.MockTransport(link.handle))
    return grid


def test_a_reply_that_announces_too_much_is_not_read() -> None:
    link = _Link(LARGE, b"")
    (reply,) = send_and_collect(_grid(link), [Message(RecordDict(), 5, "train")], RetryPolicy(5))
    assert link.read == []
    assert reply.has_error()
    assert reply.metadata.reply_to_message_id == link.question
    assert f"{largest_reply(None)} bytes" in reply.error.reason
    assert "refused before it was taken" in reply.error.reason


def test_many_pieces_count_together() -> None:
    # Each of the two pieces would be allowed alone.
    piece = PullObjectResponse(object_found=True, object_available=True, object_content=b"x").SerializeToString()
    link = _Link(largest_reply(None) * 2 // 3, piece)
    (reply,) = send_and_collect(_grid(link), [Message(RecordDict(), 5, "train")], RetryPolicy(5))
    assert len(link.read) <= 1
    assert "refused before it was taken" in reply.error.reason


def test_a_reply_within_the_limit_is_read() -> None:
    link = _Link(10, PullObjectResponse(object_found=True, object_available=True).SerializeToString())
    # The pieces hold nothing that Flower could use, but they were taken.
    with pytest.raises(Exception, match=".*"):
        send_and_collect(_grid(link), [Message(RecordDict(), 5, "train")], RetryPolicy(5))
    assert link.read


def test_content_that_never_comes_is_waited_for_until_the_deadline_only() -> None:
    missing = PullObjectResponse(object_found=True, object_available=False).SerializeToString()
    link, started = _Link(len(missing), missing), time.monotonic()
    (reply,) = send_and_collect(_grid(link), [Message(RecordDict(), 5, "train")], RetryPolicy(1.5))
    assert 1.5 <= time.monotonic() - started < 15
    assert len(link.read) > 1
    assert reply.error.reason == "the reply was announced, but its content did not come before the deadline"


def _taking(limit: int) -> tuple[ReplyLimits, Callable[[str, int], None]]:
    """Limits of one reply of the pieces "a" and "b", and what takes a piece."""
    limits = ReplyLimits()
    limits.forget(time.monotonic() + 60)
    limits.expect({"question": limit})
    tree = ObjectTree(object_id="a", children=[ObjectTree(object_id="b")])
    listed = MessageProto(metadata=MetadataProto(message_id="reply", reply_to_message_id="question"))
    answer = PullAppMessagesResponse(messages_list=[listed], message_object_trees=[tree])

    def look(path: str, question: bytes, size: int, content: bytes = b"") -> None:
        request = httpx.Request("POST", f"http://link/v1/runtime/{path}", content=question)
        response = httpx.Response(200, headers={"content-length": str(size)}, content=content, request=request)
        response.headers["content-length"] = str(size)
        limits.look(response)

    content = answer.SerializeToString()
    look("pull-messages", b"", len(content), content)
    return limits, lambda piece, size: look("pull-object", PullObjectRequest(object_id=piece).SerializeToString(), size)


def test_a_piece_that_is_taken_again_counts_once() -> None:
    limits, take = _taking(1000)
    for _ in range(3):
        take("a", 600)
    take("b", 400)
    assert limits.refused == {}
    with pytest.raises(ObjectPullError, match="1000 bytes"):
        take("b", 401)


def test_a_piece_of_no_reply_that_is_due_is_refused() -> None:
    _, take = _taking(1000)
    with pytest.raises(ObjectPullError, match="belongs to no reply that is due"):
        take("c", 1)
