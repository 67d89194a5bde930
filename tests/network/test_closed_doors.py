"""What must not get in: bad replies over the wire, strangers, false names, revoked keys, secrets in logs."""

from __future__ import annotations

import contextlib
import http.client
import json
import re
from collections.abc import Iterator
from typing import Any

import pytest
import yaml
from bad_replies import OVERSIZED
from federation import Federation, assert_set_aside, plan_bad_replies

from fmtl.network.certificates import CertificateFiles, make_ca
from fmtl.network.coordinator_folder import allow_site, local_endpoint, read_settings, revoke_site
from fmtl.network.site_keys import make_site_key

KINDS = ("nan", "garbage-bytes", "pickled-dtype", "header-1e11", OVERSIZED)
"""One of a kind, an odd number: three, which is revoked in the last round with one, sends a good reply there. All kinds
are in test_bad_replies."""

PAIRS = [KINDS[i : i + 2] for i in range(0, len(KINDS), 2)]
ROUNDS = len(PAIRS) + 2
SHUT_OUT = "Site three may no longer take part."


@pytest.fixture(scope="module")
def history(running: Federation) -> Iterator[list[dict[str, Any]]]:
    """A run in which two of three clients send something bad in every round but the first; in the last, one of them
    has been shut out. A stranger, and a site that says it is somebody else, try to take part from the start.
    """
    running.forget()
    plan_bad_replies(running, PAIRS)
    entry = running.rehearsal.scenario.clients[0]
    running.rehearsal.make_site(entry.model_copy(update={"name": "stranger"}), allowed=False)
    running.start_site("stranger")
    file = running.add_site(entry.model_copy(update={"name": "liar"}))
    content = yaml.safe_load(file.read_text())
    content["client"]["name"] = "one"
    file.write_text(yaml.safe_dump(content))
    running.start_site("liar")
    _start_outsiders(running)
    running.wait(lambda: "SuperNode ID" in running.site_log("liar"), "the liar is connected")
    running.plan("one", **{f"round_{ROUNDS - 1}": {"hold": True}})
    run_id = running.submit("doors", num_server_rounds=ROUNDS, quorum=0.3, evaluate_every=ROUNDS)
    running.wait_for_event("doors", "asked", ROUNDS - 1, 1800)
    revoke_site(running.rehearsal.coordinator.path, "three")
    running.wait(lambda: SHUT_OUT in running.rehearsal.log("coordinator"), "three is shut out")
    running.plan("one")
    result = running.follow(run_id, "doors")
    assert result["status"] == "completed"
    yield running.history("doors")
    for name in ("stranger", "liar", "foreign", "early", "three"):
        running.remove_site(name)
    _give_a_new_key(running, "three")
    running.start_site("three")


def _give_a_new_key(running: Federation, name: str) -> None:
    """Let a site that was shut out take part again: Flower takes no key twice, so it needs another one."""
    place = running.rehearsal.site_file(name).parent
    for suffix in ("key", "pub"):
        (place / f"{name}.{suffix}").unlink()
    allow_site(running.rehearsal.coordinator.path, make_site_key(place, name).public)
    running.wait_for_registration(name)


def _start_outsiders(running: Federation) -> None:
    """Start a site that trusts another authority, and one whose clock is an hour ahead."""
    entry = running.rehearsal.scenario.clients[0]
    other = CertificateFiles(running.place / "other-authority")
    make_ca(other, "another coordinator")
    file = running.add_site(entry.model_copy(update={"name": "foreign"}))
    file.with_name("ca.crt").write_bytes(other.ca.read_bytes())
    running.start_site("foreign")
    running.add_site(entry.model_copy(update={"name": "early"}))
    clock = running.plans / "clock-of-early"
    clock.write_text("3600")
    running.start_site("early", FMTL_TEST_CLOCK=str(clock))


def test_bad_replies_are_set_aside_and_named(history: list[dict[str, Any]]) -> None:
    for line, pair in zip(history[1:], PAIRS, strict=False):
        assert_set_aside(line, pair)


def test_a_revoked_site_is_shut_out_and_the_run_goes_on(running: Federation, history: list[dict[str, Any]]) -> None:
    assert "three" not in history[ROUNDS - 1]["participants"]
    assert {"one", "two"} <= set(history[ROUNDS - 1]["participants"])
    assert SHUT_OUT in running.rehearsal.log("coordinator")


def test_a_key_that_nobody_registered_ends_the_site_with_what_to_do(
    running: Federation, history: list[dict[str, Any]]
) -> None:
    assert running.rehearsal.processes["stranger"].wait(120) != 0
    assert "rejected the key of this site" in running.rehearsal.log("stranger")
    assert "stranger.pub" in running.rehearsal.log("stranger")


def test_a_site_with_another_authority_ends_with_what_to_do(running: Federation, history: list[dict[str, Any]]) -> None:
    assert running.rehearsal.processes["foreign"].wait(120) != 0
    assert "is not the coordinator of" in running.rehearsal.log("foreign")


def test_a_site_whose_clock_is_wrong_ends_with_what_to_do(running: Federation, history: list[dict[str, Any]]) -> None:
    assert running.rehearsal.processes["early"].wait(120) != 0
    said = running.rehearsal.log("early")
    assert re.search("this machine.s clock is 36[0-9][0-9] seconds ahead of the coordinator.s", said)
    assert "NTP" in said


@pytest.mark.parametrize("path", ["/health", "/v1/fleet/pull-messages", "/v1/control/start-run"])
def test_plain_http_gets_no_answer(running: Federation, path: str) -> None:
    endpoint = local_endpoint(read_settings(running.rehearsal.coordinator))
    with contextlib.closing(http.client.HTTPConnection(endpoint.host, endpoint.port, timeout=60)) as connection:
        connection.request("POST", path, b"")
        with pytest.raises((http.client.HTTPException, ConnectionError)):
            connection.getresponse()


def test_a_site_that_says_it_is_another_is_refused_and_named(history: list[dict[str, Any]]) -> None:
    reasons = [reason for line in history for who, reason in line["set_aside"].items() if who.startswith("node ")]
    assert any("its key belongs to site 'liar'" in reason for reason in reasons)
    assert "one" in history[0]["participants"]


def test_no_secret_is_in_any_log_or_run_folder(running: Federation, history: list[dict[str, Any]]) -> None:
    keys = list(running.rehearsal.folder.rglob("*.key"))
    assert len(keys) >= 5
    assert all(path.stat().st_mode & 0o777 == 0o600 for path in keys)
    lines = [line for path in keys for line in path.read_bytes().splitlines() if line and b"-----" not in line]
    # The first line of an OpenSSH key names its kind; it is the same in all keys and no secret.
    secrets = {line for line in lines if lines.count(line) == 1}
    assert len(secrets) >= 2 * len(keys)
    for path in running.rehearsal.folder.rglob("*"):
        if path.is_file() and path.suffix != ".key":
            with contextlib.suppress(FileNotFoundError):  # Flower has removed it meanwhile
                content = path.read_bytes()
            assert not any(secret in content for secret in secrets), path


def test_the_result_names_only_clients_that_may_take_part(running: Federation, history: list[dict[str, Any]]) -> None:
    result = json.loads((running.folder("doors") / "result.json").read_text())
    assert set(result["clients"]) == {"one", "two", "three"}
