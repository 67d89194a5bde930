"""Everything of Flower that this project imports beyond its public modules, for flwr 1.41 and 1.42.

Flower's public modules (`flwr.app`, `flwr.clientapp`, `flwr.serverapp`, `flwr.serverapp.strategy`) are imported where
they are needed. Everything else of Flower is imported here and nowhere else, and
`tests/fmtl_strategies/test_flower_compat.py` holds one test for each assumption: a new version of Flower is supported
when they pass.

A site starts a process for every message, and that process imports this module: what the process would not load
anyway is imported inside functions.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from flwr.app import Message
from flwr.common.constant import ErrorCode as ErrorCode
from flwr.common.logger import log as log
from flwr.proto.node_pb2 import NodeInfo as NodeInfo
from flwr.serverapp import Grid
from flwr.supercore.run import Run as Run
from flwr.supercore.task_identity import TaskIdentity

if TYPE_CHECKING:
    from pathlib import Path

    import httpx
    from flwr.proto.message_pb2 import ObjectTree
    from starlette.middleware import Middleware


def identify_process(run_id: int, node_id: int = 1, task_id: int = 1) -> None:
    """Say which run, node and task this process works for: Flower builds messages in a process that knows only."""
    TaskIdentity.run_id, TaskIdentity.node_id, TaskIdentity.task_id = run_id, node_id, task_id


def set_message_id(message: Message, message_id: str) -> None:
    """Number a message, as a grid does that sends it; Flower offers no setter."""
    message.metadata.__dict__["_message_id"] = message_id


def is_networked(grid: Grid) -> bool:
    """Whether a grid takes its replies over the network (HTTP)."""
    # Importing the module takes a second, and where nobody has, there is no such grid.
    module = sys.modules.get("flwr.superlink.grid.http_grid")
    return module is not None and isinstance(grid, module.HttpGrid)


def connection_of(grid: Grid) -> httpx.Client | None:
    """Return the HTTP client of a networked grid, to add hooks to; None where this version of Flower hides it."""
    import httpx

    client = getattr(getattr(grid, "_runtime_client", None), "_client", None)
    return client if isinstance(client, httpx.Client) else None


def listed_replies(response: httpx.Response) -> Iterator[tuple[str, Iterator[str]]] | None:
    """Read the SuperLink's list of replies.

    Args:
        response: any answer of the SuperLink whose content has not been read yet.

    Returns:
        For each reply the id of the message it answers, and the ids of the pieces it will be pulled in; None where the
        answer is not such a list (and has not been read).
    """
    if not response.request.url.path.endswith("/pull-messages"):
        return None
    from flwr.proto.runtime_pb2 import PullAppMessagesResponse

    response.read()
    listed = PullAppMessagesResponse.FromString(response.content)
    pairs = zip(listed.messages_list, listed.message_object_trees, strict=True)
    return ((message.metadata.reply_to_message_id, _pieces(tree)) for message, tree in pairs)


def pulled_piece(response: httpx.Response) -> str | None:
    """Return the id of the piece that an answer of the SuperLink holds; None where it holds none."""
    if not response.request.url.path.endswith("/pull-object"):
        return None
    from flwr.proto.message_pb2 import PullObjectRequest

    return str(PullObjectRequest.FromString(response.request.content).object_id)


def piece_refusal(piece: str, reason: str) -> Exception:
    """Return the error that makes Flower turn the reply which a piece belongs to into an error reply."""
    from flwr.supercore.inflatable.inflatable_utils import ObjectPullError

    return ObjectPullError(piece, reason)


class ControlApi:
    """The SuperLink's Control API over TLS, never through a proxy; a failed request raises `httpx.HTTPError`.

    Args:
        address: `host:port`.
        ca_certificate: file of the CA that signed the SuperLink's certificate.
        seconds: an answer may take.
    """

    def __init__(self, address: str, ca_certificate: Path, seconds: float) -> None:
        import ssl

        import httpx
        from flwr.supercore.control import ControlHttpClient

        context = ssl.create_default_context(cafile=str(ca_certificate))
        self._client = ControlHttpClient(f"https://{address}", verify=context)
        self._client._client = httpx.Client(verify=context, timeout=seconds, trust_env=False)

    def nodes(self) -> list[NodeInfo]:
        """Return all nodes, those that were unregistered too."""
        from flwr.proto.control_pb2 import ListNodesRequest

        return list(self._client.ListNodes(ListNodesRequest()).nodes_info)

    def register(self, public_key: bytes) -> int:
        """Register a node by its public key, a line as OpenSSH writes it, and return its number."""
        from cryptography.hazmat.primitives import serialization
        from flwr.proto.control_pb2 import RegisterNodeRequest

        pem, form = serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        key = serialization.load_ssh_public_key(public_key).public_bytes(pem, form)
        return int(self._client.RegisterNode(RegisterNodeRequest(public_key=key)).node_id)

    def unregister(self, node_id: int) -> None:
        """Unregister a node."""
        from flwr.proto.control_pb2 import UnregisterNodeRequest

        self._client.UnregisterNode(UnregisterNodeRequest(node_id=node_id))

    def run_status(self, run_id: int) -> tuple[str, str] | None:
        """Return the state of a run, as in `finished:completed`, and its details; None for a run it does not know."""
        from flwr.proto.control_pb2 import ListRunsRequest

        run = self._client.ListRuns(ListRunsRequest(run_id=run_id)).run_dict.get(run_id)
        if run is None:
            return None
        return ":".join(filter(None, (run.status.status, run.status.sub_status))), run.status.details

    def stop(self, run_id: int) -> bool:
        """Stop a run; False where that was refused."""
        from flwr.proto.control_pb2 import StopRunRequest

        return bool(self._client.StopRun(StopRunRequest(run_id=run_id)).success)

    def close(self) -> None:
        """Close the connection."""
        self._client.close()


def run_superlink(layers: Sequence[Middleware]) -> None:
    """Run `flower-superlink` with the flags of `sys.argv` and layers of one's own before all of Flower's.

    Args:
        layers: the first sees a request first.
    """
    from flwr.superlink import extensions
    from flwr.superlink.cli.flower_superlink import flower_superlink

    before = extensions.get_middleware
    extensions.get_middleware = lambda: (*layers, *before())
    flower_superlink()


def _pieces(tree: ObjectTree) -> Iterator[str]:
    for child in tree.children:
        yield from _pieces(child)
    yield tree.object_id
