"""What was right at a site's start becomes wrong and is mended: a clock that jumps, a certificate that ends."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
from federation import TINY, Federation
from fmtl_datasets.scenarios.scenario import load_scenario

from fmtl.network.certificates import make_server_certificate, read_facts
from fmtl.network.site import HANDSHAKE_FAILED
from fmtl.network.site_register import site_states

pytestmark = pytest.mark.long

CERTIFICATE_SECONDS = 75.0
WAIT_SECONDS = 300.0


@pytest.fixture
def alone() -> Iterator[Federation]:
    """A coordinator and one site, of its own for every test."""
    scenario = load_scenario(str(TINY))
    with Federation(scenario.model_copy(update={"clients": scenario.clients[:1]})) as federation:
        yield federation


def _run(federation: Federation, name: str) -> dict[str, Any]:
    return federation.run(name, strategy="fedavg", num_server_rounds=2, min_clients=1, wait_for_clients=WAIT_SECONDS)


def test_an_expired_certificate_is_named_by_both_sides_and_a_renewed_one_mends_it(alone: Federation) -> None:
    files = alone.rehearsal.coordinator.certificates
    make_server_certificate(files, ["127.0.0.1"], days=CERTIFICATE_SECONDS / 86_400)
    ends = read_facts(files.server).ends
    alone.start()
    alone.wait(lambda: "SuperNode ID" in alone.site_log("one"), "the site is connected")
    alone.plan("one", round_1={"sleep": CERTIFICATE_SECONDS})
    run_id = alone.submit(
        "expiry",
        strategy="fedavg",
        num_server_rounds=2,
        min_clients=1,
        wait_for_clients=WAIT_SECONDS,
        return_timeout=WAIT_SECONDS,
    )
    alone.wait_for_call("one", "train 1", 60)
    assert datetime.now(UTC) < ends
    site, coordinator = lambda: alone.rehearsal.log("one"), lambda: alone.rehearsal.log("coordinator")
    alone.wait(lambda: "certificate has expired" in site(), "the site says so")
    alone.wait(lambda: "sites cannot connect" in coordinator(), "the coordinator says so")
    assert "fmtl keys renew" in coordinator()
    alone.wait(lambda: HANDSHAKE_FAILED in alone.site_log("one"), "the node has given up")
    make_server_certificate(files, ["127.0.0.1"])
    alone.wait(lambda: "the SuperLink starts again with it, runs go on" in coordinator(), "the renewal is noticed")
    result = alone.follow(run_id, "expiry")
    assert result["status"] == "completed"
    history = alone.history("expiry")
    assert "asked again after" in history[0]["notes"]["one"]
    assert [line["participants"] for line in history[:2]] == [["one"], ["one"]]
    assert "The coordinator can be reached again." in site()
    assert alone.rehearsal.processes["one"].poll() is None
    assert _run(alone, "afterwards")["status"] == "completed"


def test_a_clock_that_jumps_is_named_and_the_site_is_back_once_it_is_right(alone: Federation) -> None:
    clock = alone.plans / "clock"
    alone.rehearsal.start_coordinator()
    alone.start_site("one", FMTL_TEST_CLOCK=str(clock))
    assert _run(alone, "before")["status"] == "completed"
    clock.write_text("3600")
    site = lambda: alone.rehearsal.log("one")  # noqa: E731 - read again at every look
    alone.wait(lambda: "seconds ahead of the coordinator" in site(), "the site says so")
    assert "Set the clocks of both by NTP. This site cannot take part until then." in site()
    alone.wait(lambda: "one" not in _online(alone), "the coordinator has noticed")
    clock.unlink()
    alone.wait(lambda: "The coordinator can be reached again." in site(), "the site says that it is mended")
    assert _run(alone, "after")["status"] == "completed"
    assert alone.rehearsal.processes["one"].poll() is None


def _online(federation: Federation) -> list[str]:
    return [site.name for site in site_states(federation.rehearsal.coordinator.path) if site.state == "online"]
