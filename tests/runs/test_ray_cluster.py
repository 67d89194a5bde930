"""A run on a Ray cluster of two nodes that is already running has the bits of the inline engine."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from ray.cluster_utils import Cluster

from fmtl.engine import Engine, run
from tests.runs.test_engines import VALUES, assert_same_bits

pytestmark = pytest.mark.long


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    """Two nodes of one CPU each, so that two workers need both."""
    options = {"num_cpus": 1, "object_store_memory": 100 * 1024**2, "include_dashboard": False}
    cluster = Cluster(initialize_head=True, head_node_args=options)
    try:
        cluster.add_node(**{name: value for name, value in options.items() if name != "include_dashboard"})
        yield cluster
    finally:
        cluster.shutdown()


def test_two_nodes_give_the_bits_of_one_process_and_go_on_running(cluster: Cluster, tmp_path: Path) -> None:
    daemons = [process for process in psutil.Process().children(recursive=True) if "raylet" in process.name()]
    assert len(daemons) == 2
    run(VALUES, tmp_path / "inline")
    result = run(VALUES, tmp_path / "ray", Engine("ray", workers=2, ray_address=cluster.address))
    assert result["status"] == "completed"
    assert_same_bits(tmp_path / "ray", tmp_path / "inline")
    assert all(process.is_running() for process in daemons)
