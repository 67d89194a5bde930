"""A network that is cut while a site trains, and healed: the site is in a network namespace of its own."""

from __future__ import annotations

import os
import re
import subprocess
import time
from collections.abc import Callable, Iterator

import pytest
from federation import CABLE_ADDRESS, Federation

pytestmark = pytest.mark.long

ROUNDS, CUT_SECONDS = 3, 30.0
AWAY = "Trying again until it answers."
BACK = "The coordinator can be reached again."
_SPACE = f"fmtl-{os.getpid()}"
_HERE, _THERE = f"fh{os.getpid()}"[:15], f"ft{os.getpid()}"[:15]


def _ip(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["ip", *arguments], capture_output=True, text=True, check=False)


def _cut_and_heal(federation: Federation, cable: str, said: Callable[[], str]) -> float:
    """Cut the cable until the site has said so, which it looks for every 30 seconds; returns when it was healed."""
    _ip("link", "set", cable, "down").check_returncode()
    time.sleep(CUT_SECONDS)
    federation.wait(lambda: AWAY in said(), "the site says that the coordinator is away", 15)
    _ip("link", "set", cable, "up").check_returncode()
    return time.time()


@pytest.fixture
def cable() -> Iterator[str]:
    """A namespace with a cable to this one; yields the name of this end."""
    steps = [
        ("netns", "add", _SPACE),
        ("link", "add", _HERE, "type", "veth", "peer", "name", _THERE, "netns", _SPACE),
        ("addr", "add", f"{CABLE_ADDRESS}/30", "dev", _HERE),
        ("link", "set", _HERE, "up"),
        ("-n", _SPACE, "addr", "add", CABLE_ADDRESS.removesuffix("1") + "2/30", "dev", _THERE),
        ("-n", _SPACE, "link", "set", _THERE, "up"),
        ("-n", _SPACE, "link", "set", "lo", "up"),
    ]
    try:
        for step in steps:
            if (done := _ip(*step)).returncode:
                pytest.skip(f"network namespaces are not allowed here: ip {' '.join(step)}: {done.stderr.strip()}")
        yield _HERE
    finally:
        _ip("netns", "del", _SPACE)
        _ip("link", "del", _HERE)


def test_a_cut_costs_one_client_a_round_at_most(federation: Federation, cable: str) -> None:
    federation.stop_site("three")
    earlier = len(federation.rehearsal.log("three"))
    said = lambda: federation.rehearsal.log("three")[earlier:]  # noqa: E731 - read again at every look
    file = federation.rehearsal.site_file("three")
    honest = file.read_text()
    file.write_text(honest.replace("coordinator: 127.0.0.1", f"coordinator: {CABLE_ADDRESS}"))
    try:
        federation.start_site("three", within=("ip", "netns", "exec", _SPACE))
        federation.plan("three", round_1={"sleep": 10})
        run_id = federation.submit("cut", num_server_rounds=ROUNDS, quorum=0.3, round_timeout=150.0, evaluate_every=9)
        federation.wait_for_call("three", "train 1")
        healed = _cut_and_heal(federation, cable, said)
        result = federation.follow(run_id, "cut")
        federation.wait(lambda: BACK in said(), "the site says that the coordinator is back", 60)
    finally:
        federation.stop_site("three")
        file.write_text(honest)
        federation.start_site("three")
    history = federation.history("cut")
    assert result["status"] == "completed"
    assert re.search(rf"no answer from {re.escape(CABLE_ADDRESS)}:\d+ .*{re.escape(AWAY)}\n(.*\n)*{BACK}", said())
    assert all({"one", "two"} <= set(line["participants"]) for line in history)
    assert all(line["set_aside"].keys() <= {"three"} for line in history)
    assert sum("three" in line["set_aside"] for line in history) <= 1
    assert all(line["notes"].keys() <= {"three"} for line in history)
    assert all("asked again after" in line["notes"].get("three", "asked again after") for line in history)
    assert "three" in history[ROUNDS - 1]["participants"]
    # Nothing of round 1 came through the cable while it was cut.
    answers = [e for e in federation.progress("cut") if (e["event"], e.get("client")) == ("answered", "three")]
    assert all(answer["time"] > healed for answer in answers)
