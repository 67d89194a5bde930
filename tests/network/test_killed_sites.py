"""kill -9 at the sites, in the middle of training: what the history says, and that nobody else's work is lost."""

from __future__ import annotations

import signal
from typing import Any

import pytest
from federation import Federation, slow

ROUNDS = 4


@pytest.fixture(scope="module")
def history(running: Federation) -> list[dict[str, Any]]:
    """A run in which round 1 loses two clients' processes and round 2 a third one's; then everybody is back."""
    running.forget()
    running.plan("two", round_1={"sleep": 600})
    running.plan("three", round_1={"sleep": 600})
    running.plan("one", round_2={"sleep": 600})
    run_id = running.submit("killed", num_server_rounds=ROUNDS, quorum=0.3, round_timeout=200.0, evaluate_every=ROUNDS)
    for client in ("two", "three"):
        running.wait_for_call(client, "train 1")
    starts = running.rehearsal.log("three").count("starting it again")
    running.kill("flwr-clientapp", "two")
    running.kill("flower-supernode", "three")
    # What a killed process leaves behind is a process that still works on the message; its answer goes nowhere.
    for client in ("two", "three"):
        running.kill("client_app.resident.serving", client)
    running.wait(lambda: running.rehearsal.log("three").count("starting it again") > starts, "a new node")
    running.wait_for_call("one", "train 2", 400)
    running.wait(lambda: running.site_log("three").count("SuperNode ID:") >= 2, "three is back", 200)
    running.kill("client_app.resident.serving", "one")
    result = running.follow(run_id, "killed")
    assert result["status"] == "completed"
    return running.history("killed")


@pytest.fixture(scope="module")
def trained(running: Federation, history: list[dict[str, Any]]) -> dict[str, list[str]]:
    """The training messages of that run that reached each client's process."""
    return {
        client: [call for call in running.calls(client) if call.startswith("train")]
        for client in ("one", "two", "three")
    }


def test_every_killed_process_is_one_line_of_the_history(history: list[dict[str, Any]]) -> None:
    assert history[0]["set_aside"].keys() == {"two", "three"}
    assert "ClientApp stopped responding" in history[0]["set_aside"]["two"]
    assert "Node Unavailable" in history[0]["set_aside"]["three"]
    assert "the client's process ended while it worked on this message" in history[1]["set_aside"]["one"]


def test_nobody_else_loses_work(history: list[dict[str, Any]]) -> None:
    assert history[0]["participants"] == ["one"]
    assert "two" in history[1]["participants"]
    assert not any(line["skipped"] for line in history)


def test_all_are_back_at_the_end_and_have_lost_no_state(history: list[dict[str, Any]]) -> None:
    assert history[ROUNDS - 1]["participants"] == ["one", "three", "two"]
    assert all(line["notes"] == {} for line in history)


def test_no_message_is_trained_twice(history: list[dict[str, Any]], trained: dict[str, list[str]]) -> None:
    for calls in trained.values():
        assert len(calls) == len(set(calls))


def test_a_site_says_what_happened_to_its_node(federation: Federation, history: list[dict[str, Any]]) -> None:
    assert f"the node of site three ended with status -{signal.SIGKILL}" in federation.rehearsal.log("three")


def test_progress_says_how_long_it_took_to_notice(federation: Federation, history: list[dict[str, Any]]) -> None:
    failed = {(e["round"], e["client"]): e["seconds"] for e in federation.progress("killed") if e["event"] == "failed"}
    assert failed[2, "one"] > 0
    # Flower's heartbeats, twice 30 seconds, and no more than a deadline that was not reached.
    assert all(30 < failed[1, client] < 150 for client in ("two", "three")), failed


@slow
def test_a_node_whose_sign_of_life_failed_is_started_again(federation: Federation) -> None:
    refused = federation.place / "no-heartbeats"
    earlier = len(federation.rehearsal.log("three"))
    said = lambda: federation.rehearsal.log("three")[earlier:]  # noqa: E731 - read again at every look
    federation.stop_site("three")
    nodes = federation.site_log("three").count("SuperNode ID:")
    federation.start_site("three", FMTL_TEST_NO_HEARTBEATS=str(refused))
    refused.touch()
    federation.wait(lambda: "the node of site three has stopped working without ending" in said(), "it is noticed")
    refused.unlink()
    federation.wait(lambda: "the node of site three ended with status -9; starting it again" in said(), "a new node")
    federation.wait(lambda: federation.site_log("three").count("SuperNode ID:") == nodes + 2, "three is back", 200)
    assert federation.run("alive", num_server_rounds=1)["status"] == "completed"
    assert federation.history("alive")[0]["participants"] == ["one", "three", "two"]
    federation.stop_site("three")
    federation.start_site("three")
