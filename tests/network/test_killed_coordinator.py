"""kill -9 at the coordinator: the link with its database, then the app; the run ends with the bits it should."""

from __future__ import annotations

from pathlib import Path

import pytest
from federation import Federation, assert_equal, run_apart

from fmtl.network.runs import RunEndedBadlyError

ROUNDS = 3
CLIENTS = ("one", "two", "three")


def test_killed_link_and_app_change_no_bit(federation: Federation, tmp_path: Path) -> None:
    # All are at work when the link dies: a message or reply that is on its way just then can be lost (docs/faults.md).
    for client in CLIENTS:
        federation.plan(client, round_1={"hold": True})
    run_id = federation.submit("coordinator", num_server_rounds=ROUNDS)

    for client in CLIENTS:
        federation.wait_for_call(client, "train 1")
    killed = federation.kill("flower-superlink")
    federation.wait(lambda: "the link ended with status -9" in federation.rehearsal.log("coordinator"), "a sentence")
    federation.wait(lambda: federation.processes("flower-superlink") not in ([], [killed]), "a new link")
    for client in CLIENTS:
        federation.plan(client, **({"round_2": {"sleep": 20}} if client == "one" else {}))

    federation.wait_for_call("one", "train 2")
    assert federation.history("coordinator")[0]["participants"] == ["one", "three", "two"]
    federation.kill("flwr-serverapp")
    with pytest.raises(RunEndedBadlyError, match="fmtl server resume"):
        federation.follow(run_id, "coordinator")
    assert not (federation.folder("coordinator") / "result.json").exists()

    result = federation.resume("coordinator")
    assert result["status"] == "completed"
    history = federation.history("coordinator")
    assert [line["round"] for line in history] == [1, 2, 3, 3]
    assert all(not line["set_aside"] and not line["notes"] for line in history)
    assert_equal(federation.arrays("coordinator", ROUNDS), run_apart(tmp_path / "undisturbed", ROUNDS))
