"""Flower's SuperLink with an access filter of its own: `python -m fmtl.network.superlink flower-superlink FLAGS`.

Flower 1.41 serves three interfaces on one port: for sites (`/v1/fleet/`, each request signed with a site's key), for
whoever starts runs and registers keys (`/v1/control/`) and for the programs that run apps (`/v1/runtime/`). The last
two ask for no key at all, so whoever could reach the port could run code of his own at every site. Here they answer
this machine only; from elsewhere there is nothing but the sites' interface and the sign that the SuperLink lives.

Flower takes a request of a site into memory as a whole before it looks at the signature. So the access filter also
limits how large one may be, and how many bytes of them may be in memory at once.
"""

from __future__ import annotations

import ipaddress
import os
import sys
import time
from collections.abc import Awaitable, Callable, MutableMapping
from functools import partial
from typing import Any

from starlette.requests import ClientDisconnect

Message = MutableMapping[str, Any]
Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

LINK_HEADER = b"fmtl-link"
"""Header of answers to this machine that says which process of the SuperLink gave them: the server of a run sees by it
that the SuperLink was started again (`fmtl_strategies.round.reply_limits`)."""

OPEN_TO_SITES = ("/health", "/v1/fleet/")
"""What other machines may ask for: paths, and beginnings of paths where they end with a slash."""

EVERYWHERE = ("0.0.0.0", "::")  # noqa: S104 - a comparison, nothing is bound
"""Addresses to listen on that stand for all of a machine's."""

LARGEST_REQUEST = 16 * 2**20
"""Bytes a request of a site may have. Flower cuts arrays into pieces of 5 MiB, one request each; the text of a reply
goes as one piece of at most 8 MB; the list of a reply's pieces, at most 100 000, comes to 7 MB."""

MOST_IN_MEMORY = 512 * 2**20
"""Bytes that requests of sites may have in memory together: a hundred pieces under way. A site that is refused for it
is told to come back (503), and Flower's node does."""

OPENING_VARIABLES = ("FORWARDED_ALLOW_IPS", "FLWR_INTERNAL_GRPC_CONTROL_API", "FLWR_INTERNAL_GRPC_FLEET_API")
"""Environment variables that lead past the access filter: the first makes the server believe what a request says
of where it comes from, the others open the same interfaces on ports without an access filter."""

_REFUSAL = b"Only the machine of the coordinator may ask for this."
_TOO_LARGE = b"No request of a site is as large as this."
_TOO_MANY = b"Too much is being sent at once; try again."


class AccessFilter:
    """Refuses what only the coordinator's own machine may ask for, and requests of sites that are too large.

    Args:
        app: the SuperLink.
        own: the one address the SuperLink listens on; None where it listens on all, and only loopback is this machine.
            (Behind a forwarder that rewrites addresses, requests from anywhere may come from an own address.)
    """

    def __init__(self, app: App, own: str | None = None) -> None:
        self._app = app
        self._own = own
        self._in_memory = _Bytes()
        self._mark = (LINK_HEADER, f"{time.time_ns():x}-{os.getpid()}".encode())

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or answer it with 403 (not for this machine), 413 (too large) or 503 (too many)."""
        if scope["type"] == "http" and is_open(str(scope["path"])):
            await self._pass_limited(scope, receive, send)
        elif scope["type"] == "lifespan" or is_open(str(scope["path"])):
            await self._app(scope, receive, send)
        elif is_from_here(scope, self._own):
            await self._app(scope, receive, partial(_send_marked, send, self._mark))
        elif scope["type"] == "http":
            await _refuse(send, 403, _REFUSAL)
        else:
            await send({"type": "websocket.close", "code": 1008})

    async def _pass_limited(self, scope: Scope, receive: Receive, send: Send) -> None:
        if _announced(scope) > LARGEST_REQUEST:
            await _refuse(send, 413, _TOO_LARGE)
            return
        request = _LimitedRequest(receive, send, self._in_memory)
        try:
            await self._app(scope, request.receive, request.send)
        except ClientDisconnect:
            if request.refusal is None:
                raise
        finally:
            self._in_memory.now -= request.taken
        if request.refusal is not None and not request.answered:
            await _refuse(send, *request.refusal)


class _Bytes:
    """A number of bytes that several requests count together."""

    now = 0


class _LimitedRequest:
    """One request on its way through the access filter: counted as it comes in, and cut off where it is too much.

    Args:
        receive, send: of the server.
        in_memory: bytes of all requests together; whoever made this takes `taken` from it in the end.

    Attributes:
        taken: bytes that have come in.
        refusal: status and text with which to answer, once it was cut off.
        answered: whether an answer has begun.
    """

    def __init__(self, receive: Receive, send: Send, in_memory: _Bytes) -> None:
        self.taken = 0
        self.refusal: tuple[int, bytes] | None = None
        self.answered = False
        self._receive = receive
        self._send = send
        self._in_memory = in_memory

    async def receive(self) -> Message:
        """Return what came next; once it is too much, that the other side has gone."""
        if self.refusal is None:
            message = await self._receive()
            size = len(message.get("body", b""))
            self.taken += size
            self._in_memory.now += size
            if self.taken > LARGEST_REQUEST:
                self.refusal = (413, _TOO_LARGE)
            elif self._in_memory.now > MOST_IN_MEMORY:
                self.refusal = (503, _TOO_MANY)
            else:
                return message
        return {"type": "http.disconnect"}

    async def send(self, message: Message) -> None:
        """Pass an answer on, but not what the SuperLink says about a request that was cut off here."""
        if self.refusal is None or self.answered:
            self.answered = True
            await self._send(message)


def is_open(path: str) -> bool:
    """Whether every machine may ask for a path; one that climbs (`..`) is never."""
    if ".." in path.split("/"):
        return False
    return any(path.startswith(known) if known.endswith("/") else path == known for known in OPEN_TO_SITES)


def is_from_here(scope: Scope, own: str | None = None) -> bool:
    """Whether a request comes from this machine: over loopback, or from the one address the SuperLink listens on."""
    client = scope.get("client")
    if not client:
        return False
    try:
        address = ipaddress.ip_address(client[0])
    except ValueError:
        return False
    mapped = getattr(address, "ipv4_mapped", None)
    if (mapped or address).is_loopback:
        return True
    return bool(client[0] == own)


def _announced(scope: Scope) -> int:
    """Return the bytes a request says it has; 0 where it does not say, and its pieces have to be counted."""
    for name, value in scope.get("headers", ()):
        if name == b"content-length" and value.isdigit():
            return int(value)
    return 0


async def _send_marked(send: Send, mark: tuple[bytes, bytes], message: Message) -> None:
    if message["type"] == "http.response.start":
        message = {**message, "headers": [*message.get("headers", ()), mark]}
    await send(message)


async def _refuse(send: Send, status: int, text: bytes) -> None:
    # The rest of a request that was not read is not waited for.
    headers = [
        (b"content-type", b"text/plain"),
        (b"content-length", str(len(text)).encode()),
        (b"connection", b"close"),
    ]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": text})


def main() -> None:
    """Run the SuperLink as the program named first on the command line would, with the flags after it."""
    for name in OPENING_VARIABLES:
        os.environ.pop(name, None)

    from starlette.middleware import Middleware

    from fmtl_strategies.flower_compat import run_superlink

    sys.argv[:] = sys.argv[1:]
    own = sys.argv[sys.argv.index("--host") + 1]
    run_superlink([Middleware(AccessFilter, own=None if own in EVERYWHERE else own)])


if __name__ == "__main__":
    main()
