"""Sites that are late, stay away, return without their state or with an older one, or join in the middle."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from federation import Federation
from fmtl_datasets.scenarios.scenario import ClientEntry

pytestmark = pytest.mark.long

ROUNDS, DEADLINE = 7, 40.0
KEPT_ROUND, SWAPPED_ROUND, OLDER_ROUNDS = 1, 3, 5


@pytest.fixture(scope="module")
def history(running: Federation) -> Iterator[list[dict[str, Any]]]:
    """Two is late in round 1 for two rounds; three leaves after round 1 and returns three rounds later with nothing;
    four, with a task nobody has, comes in round 3.
    """
    running.forget()
    running.plan("two", round_1={"sleep-after": 2.2 * DEADLINE})
    run_id = running.submit("late", num_server_rounds=ROUNDS, quorum=0.3, round_timeout=DEADLINE, evaluate_every=ROUNDS)
    running.wait_for_event("late", "answered", 1)
    running.wait(lambda: _answered(running, "three", 1, "late"), "three's answer of round 1")
    running.stop_site("three")
    for round_number in (2, 3, 4):
        # One holds a round open for as long as it takes to change something.
        running.wait_for_event("late", "asked", round_number)
        if round_number == 3:
            running.add_site(_new_client())
            running.start_site("four")
        if round_number == 4:
            shutil.rmtree(running.rehearsal.folder / "sites/three/state" / running.experiment("late"))
            running.start_site("three")
    assert running.follow(run_id, "late")["status"] == "completed"
    yield running.history("late")
    running.remove_site("four")


def _answered(running: Federation, client: str, round_number: int, run: str) -> bool:
    answers = (e for e in running.progress(run) if e["event"] == "answered")
    return any((e["client"], e["round"]) == (client, round_number) for e in answers)


def _new_client() -> ClientEntry:
    values = {
        "name": "four",
        "dataset": "procedural",
        "tasks": ["edge"],
        "image-size": [32, 32],
        "encoder": "mobilenetv3_small_050",
        "decoder-width": 8,
        "train-images": 4,
        "validation-images": 2,
        "batch-size": 2,
    }
    return ClientEntry.model_validate(values)


def test_who_is_late_is_named_and_its_late_reply_is_not_used(history: list[dict[str, Any]]) -> None:
    assert history[0]["set_aside"] == {"two": "no reply before the round's deadline"}
    assert "two" not in history[0]["participants"]
    assert not any(line["skipped"] for line in history)


def test_a_message_that_went_stale_in_the_queue_is_not_trained(
    running: Federation, history: list[dict[str, Any]]
) -> None:
    trained = [int(call.split()[1]) for call in running.calls("two") if call.startswith("train")]
    assert trained == sorted(set(trained))
    stale = {line["round"] for line in history[:ROUNDS] if "two" in line["set_aside"]} - {1}
    assert stale
    assert not stale & set(trained)


def test_a_late_site_takes_part_again(history: list[dict[str, Any]]) -> None:
    assert "two" in history[ROUNDS - 1]["participants"]
    assert "two" not in history[ROUNDS - 1]["notes"]


def test_an_absent_site_is_not_waited_for_and_returns(history: list[dict[str, Any]]) -> None:
    took_part = [line["round"] for line in history[:ROUNDS] if "three" in line["participants"]]
    assert took_part[0] == 1
    assert took_part[1] >= 4
    assert took_part[1:] == list(range(took_part[1], ROUNDS + 1))


def test_a_site_without_its_state_is_noted(history: list[dict[str, Any]]) -> None:
    back = next(line for line in history[1:ROUNDS] if "three" in line["participants"])
    assert "its own state of round 1 is lost" in back["notes"]["three"]
    assert "from the start: it had none" in back["notes"]["three"]
    assert sum("three" in line["notes"] for line in history) == 1


def test_a_site_with_a_new_task_joins(history: list[dict[str, Any]]) -> None:
    joined = [line["round"] for line in history[:ROUNDS] if "four" in line["participants"]]
    assert joined[0] >= 4
    assert joined == list(range(joined[0], ROUNDS + 1))
    assert history[-1]["scores"]["four"]["edge"]


@pytest.fixture(scope="module")
def with_older_state(running: Federation, tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """Three is ended after round 3, gets the state back that it had after round 1, and is started again; one keeps
    rounds open while that is done.
    """
    running.forget()
    held = {"round_2": {"hold": True}, "round_3": {"hold": True}}
    running.plan("three", round_2={"hold": True})
    running.plan("one", **held)
    run_id = running.submit("older", num_server_rounds=OLDER_ROUNDS, quorum=0.3, evaluate_every=OLDER_ROUNDS)
    running.wait_for_call("three", "train 2")
    state, copy = _state_of_three(running), tmp_path_factory.mktemp("older") / "three"
    shutil.copytree(state, copy)
    running.plan("three")
    running.plan("one", round_3=held["round_3"])
    running.wait(lambda: _answered(running, "three", SWAPPED_ROUND, "older"), "three's answer of round 3")
    assert f"round-{KEPT_ROUND:05d}" not in {place.name for place in state.iterdir()}
    starts = running.site_log("three").count("SuperNode ID:")
    running.stop_site("three")
    shutil.rmtree(state)
    shutil.copytree(copy, state)
    running.start_site("three")
    running.wait(lambda: running.site_log("three").count("SuperNode ID:") > starts, "three is back")
    running.plan("one")
    result = running.follow(run_id, "older")
    assert result["status"] == "completed"
    return running.history("older")


def _state_of_three(running: Federation) -> Path:
    return running.rehearsal.folder / "sites/three/state" / running.experiment("older") / "three"


def test_a_site_with_an_older_state_is_noted_once_and_nobody_is_set_aside(
    with_older_state: list[dict[str, Any]],
) -> None:
    notes = {line["round"]: line["notes"] for line in with_older_state if line["notes"]}
    assert notes.keys() == {SWAPPED_ROUND + 1}
    assert notes[SWAPPED_ROUND + 1].keys() == {"three"}
    note = notes[SWAPPED_ROUND + 1]["three"]
    assert f"its own state of round {SWAPPED_ROUND} is lost" in note
    assert note.endswith(f"it went on with a state of round {KEPT_ROUND}")
    assert not any(line["set_aside"] or line["skipped"] for line in with_older_state)
    assert all(line["participants"] == ["one", "three", "two"] for line in with_older_state)


def test_a_site_with_an_older_state_trains_no_round_twice(
    running: Federation, with_older_state: list[dict[str, Any]]
) -> None:
    for client in ("one", "two", "three"):
        trained = [call for call in running.calls(client) if call.startswith("train")]
        assert trained == [f"train {number}" for number in range(1, OLDER_ROUNDS + 1)]


def test_a_site_with_an_older_state_goes_on_from_it(
    running: Federation, with_older_state: list[dict[str, Any]]
) -> None:
    state = _state_of_three(running)
    counters = {int(place.name[6:]): json.loads((place / "state.json").read_text()) for place in state.iterdir()}
    trained_from = {number: kept["restored_round"] for number, kept in counters.items()}
    assert trained_from == {SWAPPED_ROUND + 1: KEPT_ROUND, OLDER_ROUNDS: OLDER_ROUNDS - 1}
    # The epochs of rounds 2 and 3 went with the state.
    assert [counters[number]["completed_epochs"] for number in sorted(counters)] == [2, 3]
