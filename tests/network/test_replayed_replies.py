"""A site whose replies are posted again with the same signature, a round later: the link takes none of them."""

from __future__ import annotations

import contextlib
import json
import sqlite3
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from federation import Federation, arrays_apart, assert_equal

pytestmark = pytest.mark.long

ROUNDS = 2


@pytest.fixture(scope="module")
def replays(running: Federation) -> Iterator[list[dict[str, Any]]]:
    """What was posted again in a run, and what the link answered to it."""
    running.forget()
    posted = running.place / "replays.jsonl"
    running.stop_site("two")
    running.start_site("two", FMTL_TEST_REPLAY=str(posted))
    assert running.run("replayed", num_server_rounds=ROUNDS)["status"] == "completed"
    yield [json.loads(line) for line in posted.read_text().splitlines()]
    running.stop_site("two")
    running.start_site("two")


def test_every_reply_is_posted_again_while_its_run_goes_on(replays: list[dict[str, Any]]) -> None:
    assert Counter(replay["kind"] for replay in replays)["train"] == ROUNDS
    assert len({replay["message"] for replay in replays}) == len(replays)


def test_the_link_asks_for_nothing_of_a_reply_that_is_posted_again(replays: list[dict[str, Any]]) -> None:
    # It answers to a reply that it takes with the parts whose content it wants, which are never none.
    assert {(replay["status"], *replay["asked-for"]) for replay in replays} == {(200,)}


def test_the_link_keeps_no_reply_that_is_posted_again(running: Federation, replays: list[dict[str, Any]]) -> None:
    database = running.rehearsal.coordinator.database
    with contextlib.closing(sqlite3.connect(f"{database.as_uri()}?mode=ro", uri=True)) as connection:
        kept = {message for (message,) in connection.execute("SELECT message_id FROM message_res")}
    assert not kept & {replay["message"] for replay in replays}
    log = (running.rehearsal.coordinator.logs / "link.log").read_text(errors="replace")
    for replay in replays:
        assert f"The message it replies to with message_id {replay['reply-to']} does not exist" in log


def test_a_reply_that_is_posted_again_counts_once(running: Federation, replays: list[dict[str, Any]]) -> None:
    answers = Counter(
        (event["round"], event["final"], event["client"])
        for event in running.progress("replayed")
        if event["event"] == "answered"
    )
    rounds = [(number, False) for number in range(1, ROUNDS + 1)] + [(ROUNDS, True)]
    assert answers == {(*at, client): 1 for at in rounds for client in ("one", "two", "three")}
    history = running.history("replayed")
    assert all(line["participants"] == ["one", "three", "two"] for line in history)
    assert not any(line["set_aside"] or line["notes"] for line in history)


def test_replies_that_are_posted_again_change_no_bit(
    running: Federation, replays: list[dict[str, Any]], undisturbed: Callable[[int], Path]
) -> None:
    assert_equal(running.arrays("replayed", ROUNDS), arrays_apart(undisturbed(ROUNDS), ROUNDS))
