"""The access filter: other machines reach what sites need, and nothing that starts runs or registers keys."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, MutableMapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from fmtl.network import superlink as superlink
from fmtl.network.superlink import AccessFilter, is_from_here, is_open
from fmtl_strategies.round.reply_limits import LINK_HEADER

SITE, HERE = ("192.0.2.7", 50000), ("198.51.100.1", 8000)


def _ask(path: str, client: tuple[str, int] | None, kind: str = "http") -> str:
    """Who answered: the SuperLink, or the access filter with a refusal."""
    answers: list[Any] = []

    async def link(scope: Any, receive: Any, send: Any) -> None:
        answers.append("link")

    async def send(message: MutableMapping[str, Any]) -> None:
        answers.append(message.get("status", message["type"]))

    async def receive() -> MutableMapping[str, Any]:
        raise AssertionError("the access filter reads nothing of a request")

    asyncio.run(AccessFilter(link)({"type": kind, "path": path, "client": client, "server": HERE}, receive, send))
    return str(answers[0])


@pytest.mark.parametrize("path", ["/health", "/v1/fleet/pull-messages", "/v1/fleet/activate-node"])
def test_a_site_reaches_its_own_interface(path: str) -> None:
    assert _ask(path, SITE) == "link"


@pytest.mark.parametrize(
    "path",
    [
        "/v1/control/start-run",
        "/v1/control/register-node",
        "/v1/runtime/push-logs",
        "/docs",
        "/openapi.json",
        "/",
        "/healthy",
        "/v1/fleet",
        "/v1/fleet/../control/start-run",
        "//v1/fleet/../control/start-run",
    ],
)
def test_another_machine_is_refused_everything_else(path: str) -> None:
    assert _ask(path, SITE) == "403"
    assert _ask(path, None) == "403"


@pytest.mark.parametrize("client", ["127.0.0.1", "127.3.2.1", "::1", "::ffff:127.0.0.1"])
def test_the_coordinators_own_machine_starts_runs(client: str) -> None:
    assert _ask("/v1/control/start-run", (client, 50000)) == "link"


def test_a_link_on_one_address_takes_requests_from_it_as_its_own() -> None:
    asked = {"client": HERE, "server": HERE}
    assert is_from_here(asked, own=HERE[0])
    # Some forwarders give every request an address of the machine itself.
    assert not is_from_here(asked)


@pytest.mark.parametrize("client", ["::ffff:192.0.2.7", "0.0.0.0", "unix", "10.0.0.1"])
def test_nothing_else_passes_for_this_machine(client: str) -> None:
    assert not is_from_here({"client": (client, 1), "server": HERE}, own=HERE[0])
    assert not is_from_here({"client": (client, 1)})


def test_answers_say_which_process_of_the_link_gave_them_to_the_coordinators_machine_only() -> None:
    def marks(filter_of_link: AccessFilter, path: str, client: tuple[str, int]) -> list[bytes]:
        started: list[Any] = []

        async def send(message: MutableMapping[str, Any]) -> None:
            started.append(message)

        async def receive() -> MutableMapping[str, Any]:
            return {"type": "http.request"}

        asyncio.run(filter_of_link({"type": "http", "path": path, "client": client, "server": HERE}, receive, send))
        return [value for name, value in started[0]["headers"] if name.decode() == LINK_HEADER]

    async def link(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": [(b"x", b"y")]})

    first, second, runtime = AccessFilter(link), AccessFilter(link), "/v1/runtime/pull-messages"
    own = ("127.0.0.1", 50000)
    (mark,) = marks(first, runtime, own)
    assert marks(first, runtime, own) == [mark]
    assert marks(second, runtime, own) != [mark]
    assert marks(first, "/v1/fleet/pull-messages", SITE) == []


def test_web_sockets_are_refused_too() -> None:
    assert _ask("/v1/control/stream-logs", SITE, kind="websocket") == "websocket.close"


@pytest.mark.parametrize(("host", "own"), [("10.1.2.3", "10.1.2.3"), ("0.0.0.0", None), ("::", None)])
def test_the_door_knows_the_address_that_the_link_listens_on(
    monkeypatch: pytest.MonkeyPatch, host: str, own: str | None
) -> None:
    layers: list[Any] = []
    monkeypatch.setattr("fmtl_strategies.flower_compat.run_superlink", layers.extend)
    monkeypatch.setattr("sys.argv", ["link.py", "flower-superlink", "--host", host, "--port", "1"])
    superlink.main()
    assert [(layer.cls, layer.kwargs) for layer in layers] == [(AccessFilter, {"own": own})]


def test_no_route_of_flower_but_that_for_sites_is_open() -> None:
    from flwr.superlink import main

    paths = set(main.create_app().openapi()["paths"])
    assert "/v1/control/start-run" in paths
    assert {path for path in paths if is_open(path) and not path.startswith("/v1/fleet/")} == {"/health"}
    assert all(is_open(path) for path in paths if path.startswith("/v1/fleet/"))


def _nothing() -> None:
    """What happens meanwhile where a test says nothing else."""


def _send(
    to: AccessFilter, pieces: Iterable[int], *, announced: int | None = None, during: Callable[[], None] = _nothing
) -> tuple[int, int]:
    """Upload a body in pieces of these sizes; the status of the answer, and the bytes of it that the SuperLink took."""
    left, answers = list(pieces), []
    taken = {"bytes": 0, "during": during}

    async def receive() -> MutableMapping[str, Any]:
        return {"type": "http.request", "body": bytes(left.pop(0)), "more_body": bool(left)}

    async def send(message: MutableMapping[str, Any]) -> None:
        if message["type"] == "http.response.start":
            answers.append(message["status"])

    headers = [] if announced is None else [(b"content-length", str(announced).encode())]
    scope = {"type": "http", "path": "/v1/fleet/push-object", "client": SITE, "headers": headers, "taken": taken}
    asyncio.run(to(scope, receive, send))
    (status,) = answers
    return status, int(taken["bytes"])


async def _link_that_reads(scope: Any, receive: Any, send: Any) -> None:
    """As Flower's: takes the whole body first; an upload that breaks off is an error of its own."""
    more = True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            await send({"type": "http.response.start", "status": 500, "headers": []})
            await send({"type": "http.response.body", "body": b""})
            return
        scope["taken"]["bytes"] += len(message["body"])
        more = message["more_body"]
    scope["taken"]["during"]()
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b""})


def test_bodies_together_are_limited_and_forgotten_when_answered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(superlink, "MOST_IN_MEMORY", 100)
    to = AccessFilter(_link_that_reads)
    for _ in range(3):
        assert _send(to, [60]) == (200, 60)
        assert _send(to, [60, 60]) == (503, 60)


def test_bodies_of_other_requests_count(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(superlink, "MOST_IN_MEMORY", 100)
    to, second = AccessFilter(_link_that_reads), list[tuple[int, int]]()
    with ThreadPoolExecutor(1) as apart:
        first = _send(to, [60], during=lambda: second.append(apart.submit(_send, to, [60]).result()))
    assert (first, second) == ((200, 60), [(503, 0)])
    assert _send(to, [60]) == (200, 60)
