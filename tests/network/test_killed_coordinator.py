"""kill -9 at the coordinator: the link with its database, then the app; the run ends with the bits it should."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from federation import Federation, arrays_apart, assert_equal

from fmtl.network.runs import RunEndedBadlyError
from fmtl_strategies.round.exchange import CONNECTED_ANEW, LINK_RESTARTED

pytestmark = pytest.mark.long

ROUNDS = 3
CLIENTS = ("one", "two", "three")


def test_killed_link_and_app_change_no_bit(federation: Federation, undisturbed: Callable[[int], Path]) -> None:
    # A link that dies while it takes a reply answers it with an error or not at all, and the node drops the reply.
    lost = federation.place / "lost-replies"
    federation.stop_site("two")
    federation.start_site("two", FMTL_TEST_LOSE_REPLIES=str(lost))
    for client in CLIENTS:
        federation.plan(client, round_1={"hold": True})
    run_id = federation.submit("coordinator", num_server_rounds=ROUNDS)

    for client in CLIENTS:
        federation.wait_for_call(client, "train 1")
    lost.touch()
    federation.plan("two")
    federation.wait(lambda: lost.read_text() != "", "two's reply is lost")
    lost.unlink()
    killed = federation.kill("flower-superlink")
    federation.wait(lambda: "the SuperLink ended with status -9" in federation.rehearsal.log("coordinator"), "noticed")
    federation.wait(lambda: federation.processes("flower-superlink") not in ([], [killed]), "a new link")
    for client in CLIENTS:
        federation.plan(client, **({"round_2": {"hold": True}} if client == "one" else {}))

    federation.wait_for_call("one", "train 2")
    first = federation.history("coordinator")[0]
    assert first["participants"] == ["one", "three", "two"]
    # The others may have answered before the server of the run has seen that the link is another one. Where the new
    # link was slow, the nodes have been away.
    assert any(reason in first["notes"]["two"] for reason in (LINK_RESTARTED, CONNECTED_ANEW, "Node Unavailable"))
    federation.kill("flwr-serverapp")
    federation.plan("one")
    with pytest.raises(RunEndedBadlyError, match="fmtl server resume"):
        federation.follow(run_id, "coordinator")
    assert not (federation.folder("coordinator") / "result.json").exists()

    result = federation.resume("coordinator")
    assert result["status"] == "completed"
    history = federation.history("coordinator")
    assert [line["round"] for line in history] == [1, 2, 3, 3]
    assert not any(line["set_aside"] for line in history)
    assert all(not line["notes"] for line in history[1:])
    federation.stop_site("two")
    federation.start_site("two")
    assert_equal(federation.arrays("coordinator", ROUNDS), arrays_apart(undisturbed(ROUNDS), ROUNDS))
