"""One federation of real processes for all tests of a module: a start takes most of the time."""

from __future__ import annotations

import sys
from collections.abc import Iterator

import pytest
from federation import Federation


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if sys.platform == "linux":
        return
    for item in items:
        if "tests/network/" in item.nodeid:
            item.add_marker(pytest.mark.skip(reason="finds the processes of coordinator and sites in /proc"))


@pytest.fixture(scope="module")
def running() -> Iterator[Federation]:
    """Coordinator and the three sites of tests/support/tiny.yaml."""
    with Federation() as federation:
        federation.start()
        yield federation


@pytest.fixture
def federation(running: Federation) -> Federation:
    """The running federation, without plans of an earlier test."""
    running.forget()
    return running
