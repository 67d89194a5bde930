"""The lane of every test, who runs what in parallel, and steady property tests.

A test's lane is that of its folder below, unless it carries the mark of another; a file that imports `subprocess` is
not in the unit lane. docs/testing.md says what each is for.
"""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import HealthCheck, settings

LANES = ("network", "process", "unit", "long")
"""In the order in which they start: what waits for other processes first, on a worker of its own."""

LANE_OF_FOLDER = {
    "tests/network/": "network",
    "tests/benchmarks/": "process",
    "tests/client_app/site/": "process",
    "tests/deploy/": "process",
    "tests/fmtl/network/": "process",
    "tests/runs/": "process",
    "tests/tools/": "process",
}

settings.register_profile(
    "steady", deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow], print_blob=True
)
settings.load_profile("steady")


def pytest_itemcollected(item: pytest.Item) -> None:
    """Mark a test with its lane; one that it carries already stays."""
    if not any(item.get_closest_marker(lane) for lane in LANES):
        by_folder = (lane for folder, lane in LANE_OF_FOLDER.items() if item.nodeid.startswith(folder))
        starts_processes = "subprocess" in vars(getattr(item, "module", None) or object)
        item.add_marker(next(by_folder, "process" if starts_processes else "unit"))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Start with the lanes that take longest."""
    items.sort(key=lambda item: next(i for i, lane in enumerate(LANES) if item.get_closest_marker(lane)))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Give a file to one worker, and all of tests/network/ to one, for its files share a federation.

    The groups of `--dist loadgroup` are lost with pytest 9.2.
    """
    from xdist.scheduler.loadscope import LoadScopeScheduling

    class ByFederationAndFile(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            file = nodeid.split("::", 1)[0]
            return "tests/network" if file.startswith("tests/network/") else file

    config.option.loadscopereorder = False
    return ByFederationAndFile(config, log)
