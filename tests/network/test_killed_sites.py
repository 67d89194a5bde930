"""kill -9 at the sites, in the middle of training: what the history says, and that nobody's work is lost."""

from __future__ import annotations

import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from federation import Arrays, Federation, arrays_apart, assert_equal

from fmtl_strategies.contract.messages import PROCESS_ENDED
from fmtl_strategies.round.exchange import CONNECTED_ANEW

CLIENTS = ("one", "two", "three")
ROUNDS = 2


@pytest.fixture(scope="module")
def history(running: Federation) -> list[dict[str, Any]]:
    """A run in whose first round one loses its client's process, and three its node."""
    running.forget()
    for client in CLIENTS:
        running.plan(client, round_1={"hold": True})
    run_id = running.submit("killed", num_server_rounds=ROUNDS, evaluate_every=ROUNDS)
    for client in CLIENTS:
        running.wait_for_call(client, "train 1")
    starts = running.rehearsal.log("three").count("starting it again")
    running.kill("flower-supernode", "three")
    running.kill("client_app.site.resident.serving", "one")
    for client in CLIENTS:
        running.plan(client)
    running.wait(lambda: running.rehearsal.log("three").count("starting it again") > starts, "a new node")
    result = running.follow(run_id, "killed")
    assert result["status"] == "completed"
    return running.history("killed")


@pytest.fixture(scope="module")
def again(running: Federation, history: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Who was asked again in that run."""
    return {event["client"]: event for event in running.progress("killed") if event["event"] == "asked again"}


@pytest.fixture(scope="module")
def arrays(running: Federation, history: list[dict[str, Any]]) -> Arrays:
    """What that run has left."""
    return running.arrays("killed", ROUNDS)


def test_every_killed_process_is_one_line_of_the_history(history: list[dict[str, Any]]) -> None:
    notes = history[0]["notes"]
    assert notes.keys() == {"one", "three"}
    assert all("asked again after" in note for note in notes.values())
    assert PROCESS_ENDED in notes["one"]
    # Which of them it is depends on whether the link was asked before or after the node was back.
    assert "Node Unavailable" in notes["three"] or CONNECTED_ANEW in notes["three"]
    assert all(line["notes"] == {} for line in history[1:])


def test_nobodys_work_is_lost(history: list[dict[str, Any]]) -> None:
    assert [line["participants"] for line in history] == [["one", "three", "two"]] * (ROUNDS + 1)
    assert not any(line["set_aside"] or line["skipped"] for line in history)


def test_the_run_ends_with_the_bits_of_one_left_alone(arrays: Arrays, undisturbed: Callable[[int], Path]) -> None:
    assert_equal(arrays, arrays_apart(undisturbed(ROUNDS), ROUNDS))


def test_progress_says_how_long_it_took_to_notice(running: Federation, again: dict[str, dict[str, Any]]) -> None:
    # Two of Flower's heartbeats; the dead process of one is seen at once.
    assert again["three"]["seconds"] > running.heartbeat
    assert again["one"]["time"] < again["three"]["time"]


def test_a_site_says_what_happened_to_its_node(federation: Federation, history: list[dict[str, Any]]) -> None:
    assert f"the SuperNode of site three ended with status -{signal.SIGKILL}" in federation.rehearsal.log("three")


@pytest.mark.long
def test_a_client_that_dies_again_is_set_aside_and_takes_part_in_the_next_round(
    federation: Federation, history: list[dict[str, Any]]
) -> None:
    federation.plan("one", round_1={"hold": True})
    run_id = federation.submit("twice", num_server_rounds=2, quorum=0.3, evaluate_every=2)
    for count in (1, 2):
        federation.wait(lambda count=count: federation.calls("one").count("train 1") == count, f"one is asked: {count}")  # type: ignore[misc]
        federation.kill("client_app.site.resident.serving", "one")
    federation.plan("one")
    assert federation.follow(run_id, "twice")["status"] == "completed"
    first, second, _ = federation.history("twice")
    assert PROCESS_ENDED in first["set_aside"]["one"]
    assert "asked again after" in first["notes"]["one"]
    assert first["participants"] == ["three", "two"]
    assert second["participants"] == ["one", "three", "two"]
    assert second["notes"] == {}
    assert all(len(calls) == len(set(calls)) for calls in map(federation.calls, ("two", "three")))


@pytest.mark.long
def test_without_retries_one_death_is_enough(federation: Federation, history: list[dict[str, Any]]) -> None:
    federation.plan("one", round_1={"hold": True})
    run_id = federation.submit("no-retries", num_server_rounds=1, quorum=0.3, retries=0)
    federation.wait_for_call("one", "train 1")
    federation.kill("client_app.site.resident.serving", "one")
    federation.plan("one")
    assert federation.follow(run_id, "no-retries")["status"] == "completed"
    assert PROCESS_ENDED in federation.history("no-retries")[0]["set_aside"]["one"]
    assert federation.calls("one").count("train 1") == 1


@pytest.mark.long
def test_a_message_whose_process_was_killed_is_asked_again_once_flower_misses_it(
    federation: Federation, undisturbed: Callable[[int], Path]
) -> None:
    federation.plan("two", round_1={"hold": True})
    run_id = federation.submit("message", num_server_rounds=ROUNDS, evaluate_every=ROUNDS)
    federation.wait_for_call("two", "train 1")
    federation.kill("flwr-clientapp", "two")
    federation.plan("two")
    assert federation.follow(run_id, "message")["status"] == "completed"
    first = federation.history("message")[0]
    assert first["notes"].keys() == {"two"}
    assert "asked again after" in first["notes"]["two"]
    assert first["participants"] == ["one", "three", "two"]
    assert_equal(federation.arrays("message", ROUNDS), arrays_apart(undisturbed(ROUNDS), ROUNDS))


@pytest.mark.long
def test_a_node_whose_sign_of_life_failed_is_started_again(federation: Federation) -> None:
    refused = federation.place / "no-heartbeats"
    earlier = len(federation.rehearsal.log("three"))
    said = lambda: federation.rehearsal.log("three")[earlier:]  # noqa: E731 - read again at every look
    federation.stop_site("three")
    nodes = federation.site_log("three").count("SuperNode ID:")
    federation.start_site("three", FMTL_TEST_NO_HEARTBEATS=str(refused))
    refused.touch()
    federation.wait(lambda: "the SuperNode of site three is hanging" in said(), "it is noticed")
    refused.unlink()
    federation.wait(lambda: "site three ended with status -9; starting it again" in said(), "a new node")
    federation.wait(lambda: federation.site_log("three").count("SuperNode ID:") == nodes + 2, "three is back", 200)
    assert federation.run("alive", num_server_rounds=1)["status"] == "completed"
    assert federation.history("alive")[0]["participants"] == ["one", "three", "two"]
    federation.stop_site("three")
    federation.start_site("three")
