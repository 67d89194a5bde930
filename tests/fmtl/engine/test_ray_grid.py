"""The ray engine's grid on a private cluster: what clients answer, raise and lose reaches the server as by Flower."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from flwr.app import Array, ArrayRecord, ConfigRecord, Message, RecordDict

from fmtl.engine import Engine
from fmtl.engine.ray_cluster import connected, starting_cluster
from fmtl.engine.ray_grid import RayGrid
from fmtl.engine.ray_worker import WorkerSettings
from fmtl_strategies.flower_compat import ErrorCode
from fmtl_strategies.round.exchange import RetryPolicy, send_and_collect

pytestmark = pytest.mark.process

ENGINE = Engine("ray", workers=2)
CLIENTS = 4


@pytest.fixture(scope="module")
def ray() -> Iterator[Any]:
    """A private cluster of two workers."""
    with starting_cluster(ENGINE) as cluster, connected(cluster.address(), ENGINE) as module:
        yield module


@pytest.fixture
def grid(ray: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[], RayGrid]]:
    """Make grids whose clients are `ray_client.answer`."""
    made: list[RayGrid] = []

    def make(folder: Path | None = tmp_path) -> RayGrid:
        settings = WorkerSettings("tests.support.ray_client:answer", None, {"folder": str(tmp_path)}, 1, folder)
        nodes = [{"partition-id": i, "num-partitions": CLIENTS} for i in range(CLIENTS)]
        made.append(RayGrid(ray, ENGINE, settings, nodes))
        return made[-1]

    yield make
    for one in made:
        one.close()


def messages(grid: RayGrid, order: str, array: Array | None = None) -> list[Message]:
    """One message for every client, all with the same array."""
    shared = array or Array(np.arange(1000, dtype=np.float32))
    bodies = [
        RecordDict({"order": ConfigRecord({"text": order}), "parameters": ArrayRecord({"encoder": shared})})
        for _ in grid.get_node_ids()
    ]
    return [Message(body, node, "train") for body, node in zip(bodies, grid.get_node_ids(), strict=True)]


def test_every_client_answers_and_reads_what_all_receive_from_one_object(grid: Callable[[], RayGrid]) -> None:
    nodes = grid()
    replies = send_and_collect(nodes, messages(nodes, "echo"), RetryPolicy(300.0))
    answers = {reply.content["answer"]["partition"]: reply.content["answer"] for reply in replies}
    assert sorted(answers) == list(range(CLIENTS))
    assert not any(answer["writeable"] for answer in answers.values())
    for reply in replies:
        np.testing.assert_array_equal(reply.content["updates"]["encoder"].numpy(), 2 * np.arange(1000))


def test_exception_of_a_client_arrives_with_its_text_and_the_others_go_on(
    grid: Callable[[], RayGrid], tmp_path: Path
) -> None:
    nodes = grid()
    replies = send_and_collect(nodes, messages(nodes, "raise in 2"), RetryPolicy(300.0))
    errors = [reply.error for reply in replies if reply.has_error()]
    assert [error.code for error in errors] == [ErrorCode.CLIENT_APP_RAISED_EXCEPTION]
    assert "the disk of client 2 has melted" in errors[0].reason
    assert "Traceback" in (tmp_path / "log.txt").read_text()


def test_killed_worker_is_a_lost_reply_and_its_client_is_asked_again(grid: Callable[[], RayGrid]) -> None:
    nodes = grid()
    replies = send_and_collect(nodes, messages(nodes, "die once in 1"), RetryPolicy(300.0, retries=1))
    assert not any(reply.has_error() for reply in replies)
    assert len(replies) == CLIENTS


def test_client_whose_worker_dies_every_time_is_given_up(grid: Callable[[], RayGrid]) -> None:
    nodes = grid()
    replies = send_and_collect(nodes, messages(nodes, "die in 1"), RetryPolicy(300.0, retries=1))
    assert [reply.error.code for reply in replies if reply.has_error()] == [ErrorCode.CLIENT_APP_CRASHED]


def test_machine_that_does_not_see_the_run_folder_says_so(grid: Callable[..., RayGrid], tmp_path: Path) -> None:
    nodes = grid(tmp_path / "elsewhere")
    replies = send_and_collect(nodes, messages(nodes, "echo"), RetryPolicy(300.0))
    assert all("--out-dir" in reply.error.reason for reply in replies)


def test_nothing_of_a_private_cluster_is_left_after_it() -> None:
    with starting_cluster(replace(ENGINE, workers=1)) as cluster:
        cluster.address()
        group, folder = cluster.process_group, cluster.folder
        assert folder.is_dir()
    assert not folder.exists()
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        try:
            os.killpg(group, 0)
        except ProcessLookupError:
            return
        time.sleep(0.1)
    os.killpg(group, signal.SIGKILL)
    pytest.fail("processes of the cluster were left")
