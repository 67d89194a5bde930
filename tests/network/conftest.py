"""One federation of real processes, and one run to compare with, for all files: starts take most of the time."""

from __future__ import annotations

import sys
from collections.abc import Callable
from contextlib import ExitStack
from functools import cache
from pathlib import Path

import pytest
from federation import FLOWER_HEARTBEAT, QUICK_HEARTBEAT, Federation, run_apart


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if sys.platform == "linux":
        return
    for item in items:
        if "tests/network/" in item.nodeid:
            item.add_marker(pytest.mark.skip(reason="finds the processes of coordinator and sites in /proc"))


_FEDERATION = ExitStack()
"""Holds the shared federation: a fixture of the session would keep its processes beside all tests that follow."""


@pytest.hookimpl(trylast=True)
def pytest_runtest_teardown(item: pytest.Item, nextitem: pytest.Item | None) -> None:
    if "tests/network/" in item.nodeid and (nextitem is None or "tests/network/" not in nextitem.nodeid):
        _FEDERATION.close()


def pytest_sessionfinish() -> None:
    _FEDERATION.close()


@pytest.fixture(scope="session")
def shared(request: pytest.FixtureRequest) -> Federation:
    """Coordinator and the three sites of tests/support/tiny.yaml; in the long lane with Flower's own heartbeats."""
    long = any(item.get_closest_marker("long") for item in request.session.items)
    federation = Federation(heartbeat=FLOWER_HEARTBEAT if long else QUICK_HEARTBEAT)
    _FEDERATION.enter_context(federation).start()
    return federation


@pytest.fixture(scope="module")
def running(shared: Federation) -> Federation:
    """The federation with its three sites, whatever an earlier file has left of them."""
    shared.mend()
    return shared


@pytest.fixture(scope="session")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Callable[[int], Path]:
    """The folder of the same run in one process, by its number of rounds."""
    return cache(lambda rounds: run_apart(tmp_path_factory.mktemp("undisturbed") / "run", rounds))


@pytest.fixture
def federation(running: Federation) -> Federation:
    """The running federation, without plans of an earlier test."""
    running.forget()
    return running
