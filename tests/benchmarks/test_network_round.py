"""The benchmark of a networked round counts every byte, and its parts of a round add up to the round."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from errors import naming

from benchmarks.network_round import APPS, HOOKS, Traffic, bytes_table, ratios, seconds_table
from benchmarks.networking.empty_app import write_empty_app
from benchmarks.networking.relay import Relay
from benchmarks.networking.stamps import PARTS, fixed, medians, parts_of_rounds, round_times


def _server(answer: bytes) -> tuple[socket.socket, list[int]]:
    """A server that reads to the end of what is sent, then answers; returns it and how much it has read."""
    listener, read = socket.create_server(("127.0.0.1", 0)), [0]

    def serve() -> None:
        connection, _ = listener.accept()
        with connection:
            while part := connection.recv(65536):
                read[0] += len(part)
                if part.endswith(b"\n"):
                    break
            connection.sendall(answer)

    threading.Thread(target=serve, daemon=True).start()
    return listener, read


def test_relay_counts_every_byte_of_both_ways() -> None:
    listener, read = _server(b"y" * 300_000)
    with listener, Relay(listener.getsockname()) as relay, socket.create_connection(("127.0.0.1", relay.port)) as site:
        before = relay.counted()
        site.sendall(b"x" * 1_000_000 + b"\n")
        received = 0
        while part := site.recv(65536):
            received += len(part)
        passed = relay.counted() - before
    assert (read[0], received) == (1_000_001, 300_000)
    assert (passed.up, passed.down, relay.counted().connections) == (1_000_001, 300_000, 1)


def _until(true: Callable[[], bool]) -> None:
    """Wait until something holds; a relay that has counted nothing yet says so with a ValueError."""
    deadline = time.monotonic() + 180
    while True:
        with contextlib.suppress(ValueError):
            if true():
                return
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_relay_knows_what_had_passed_at_a_moment() -> None:
    listener, _ = _server(b"done\n")
    with listener, Relay(listener.getsockname()) as relay:
        _until(lambda: relay.at(time.time()).up == 0)
        early = time.time()
        with socket.create_connection(("127.0.0.1", relay.port)) as site:
            site.sendall(b"12345\n")
            assert site.recv(10) == b"done\n"
            _until(lambda: relay.at(time.time()).up == 6)
        assert (relay.at(early).up, relay.at(time.time()).up) == (0, 6)
        with pytest.raises(ValueError, match=naming("counted")):
            relay.at(early - 1000)


def _events() -> list[dict[str, Any]]:
    return [
        {"event": "asked", "round": 1, "final": False, "time": 100.0},
        {"event": "answered", "round": 1, "final": False, "time": 108.0},
        {"event": "asked", "round": 2, "final": False, "time": 109.0},
        {"event": "answered", "round": 2, "final": False, "time": 120.0},
        {"event": "asked", "round": 2, "final": True, "time": 121.5},
        {"event": "answered", "round": 2, "final": True, "time": 130.0},
    ]


def _stamps(start: float) -> list[dict[str, Any]]:
    message = {"event": "message", "kind": "train", "born": start + 2.5, "imported": start + 4, "pulled": start + 4.25}
    rest = {"installed": start + 4.75, "called": start + 4.8, "answered": start + 6, "pushed": start + 6.1}
    return [
        {"event": "fetched", "began": start + 2, "ended": start + 2.75},
        {**message, **rest},
        {"event": "sent", "ended": start + 6.9},
    ]


def test_round_lasts_until_the_next_is_asked_for_and_the_last_until_the_final_scores() -> None:
    assert round_times(_events()) == {1: (100.0, 108.0, 109.0), 2: (109.0, 120.0, 121.5)}


def test_parts_add_up_to_the_round_and_training_is_not_part_of_its_fixed_cost() -> None:
    times = round_times(_events())
    found = parts_of_rounds(times, [*_stamps(100.0), *_stamps(109.0)], {1: 0.75})
    assert list(found[1]) == list(PARTS)
    assert sum(found[1].values()) == pytest.approx(9.0)
    assert fixed(found[1]) == pytest.approx(8.25)
    assert found[1]["training"] == 0.75
    assert found[1]["waiting"] == pytest.approx(2.0)
    assert found[1]["unpacking"] == pytest.approx(0.5)
    assert found[1]["answering"] == pytest.approx(1.2 - 0.75)
    assert found[1]["noticing"] == pytest.approx(1.1)
    assert found[1]["serving"] == pytest.approx(1.0)
    assert all(seconds >= 0 for seconds in found[1].values())
    assert fixed(found[2]) == pytest.approx(12.5)


def test_round_without_stamps_is_no_measurement() -> None:
    with pytest.raises(ValueError, match="round 1 left 0 messages"):
        parts_of_rounds({1: (100.0, 108.0, 109.0)}, [], {})


def test_ratio_is_of_medians_and_does_not_count_training() -> None:
    rest = dict.fromkeys(list(PARTS)[1:], 0.0)
    rounds = {
        name: [{"waiting": float(seconds), **rest, "training": 50.0} for seconds in times]
        for name, times in zip(APPS, ([6, 6, 90], [5, 4, 5], [10, 12, 14]), strict=True)
    }
    assert ratios(rounds) == {APPS[1]: 1.2, APPS[2]: 0.5}
    assert medians(rounds[APPS[0]])["waiting"] == 6
    assert "| **fixed cost of a round** | **6.00** | **5.00** | **12.00** |" in seconds_table(rounds)


def test_table_of_bytes_is_in_millions() -> None:
    (row,) = bytes_table(
        [Traffic("bfloat16", 2, 55_440_128, 110_880_128, 55_600_000, 111_000_000, 3, 12.345)]
    ).splitlines()[2:]
    assert row == "| bfloat16 | 2 | 55.44 | 55.60 | 110.88 | 111.00 | 3 | 12.3 |"


def test_empty_app_is_one_that_flower_can_pack(tmp_path: Path) -> None:
    from flwr.cli.build import build_fab_from_disk

    folder = write_empty_app(tmp_path / "empty")
    assert len(build_fab_from_disk(folder)) < 20_000
    for name in ("empty_server", "empty_client"):
        compile((folder / f"{name}.py").read_text(), name, "exec")


def test_stamps_are_taken_in_flowers_processes_only(tmp_path: Path) -> None:
    script = "import sys; print(any(type(f).__name__ == '_Finder' for f in sys.meta_path))"
    program = tmp_path / "flwr-clientapp"
    program.write_text(script)
    env = {**os.environ, "PYTHONPATH": str(HOOKS), "FMTL_BENCHMARK_STAMPS": str(tmp_path / "stamps")}
    for command, expected in (([str(program)], "True"), (["-c", script], "False")):
        done = subprocess.run([sys.executable, *command], env=env, capture_output=True, text=True, check=True)
        assert done.stdout.strip() == expected
