"""Who may take part is what the keys in the coordinator's folder say, also where a step towards it fails."""

from __future__ import annotations

import errno
import json
import os
import stat
import sys
from pathlib import Path
from typing import Any

import pytest
from errors import naming

from fmtl.network import flower_programs, site_register
from fmtl.network.coordinator_folder import CoordinatorFolder, allow_site, make_coordinator, revoke_site
from fmtl.network.errors import NetworkSetupError
from fmtl.network.flower_programs import flower
from fmtl.network.site_keys import make_site_key, require_public_key
from fmtl.network.site_register import SiteRegister, site_states

STUB = """#!{python} -SE
import json, sys, time
from pathlib import Path

kept = Path({kept!r})
state = json.loads(kept.read_text())
what = sys.argv[2]
state["asked"].append(what)
trouble = state["trouble"].pop(what, None)
answer = {{"success": True}}
if trouble == "hang":
    kept.write_text(json.dumps(state))
    time.sleep(60)
elif trouble:
    answer = {{"success": False, "error-message": trouble}}
elif what == "list":
    answer["nodes"] = [{{"node-id": node, "status": status}} for node, status in state["nodes"].items()]
elif what == "register":
    answer["node-id"] = str(1000 + len(state["nodes"]))
    state["nodes"][answer["node-id"]] = "registered"
elif what == "unregister":
    if state["nodes"][sys.argv[3]] == "unregistered":
        answer = {{"success": False, "error-message": "Node not found"}}
    state["nodes"][sys.argv[3]] = "unregistered"
kept.write_text(json.dumps(state))
print("some words before", json.dumps(answer))
"""


class Link:
    """A stand-in for `flwr` and the SuperLink behind it: knows nodes, and fails once where it is told to."""

    def __init__(self, folder: Path) -> None:
        self.program = folder / "flwr"
        self._kept = folder / "link.json"
        self._kept.write_text(json.dumps({"nodes": {}, "trouble": {}, "asked": []}))
        self.program.write_text(STUB.format(python=sys.executable, kept=str(self._kept)))
        self.program.chmod(self.program.stat().st_mode | stat.S_IXUSR)

    def fails_once(self, command: str, how: str = "database or disk is full") -> None:
        self._change(trouble={command: how})

    def nodes(self) -> dict[str, str]:
        """State of every node by number."""
        return dict(json.loads(self._kept.read_text())["nodes"])

    def asked(self) -> list[str]:
        """What was asked since the last time."""
        found = list(json.loads(self._kept.read_text())["asked"])
        self._change(asked=[])
        return found

    def _change(self, **values: Any) -> None:
        self._kept.write_text(json.dumps(json.loads(self._kept.read_text()) | values))


@pytest.fixture
def link(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Link:
    found = Link(tmp_path)
    monkeypatch.setattr(flower_programs, "find_program", lambda name: str(found.program))
    monkeypatch.setattr(site_register, "answers", lambda link, authority: True)
    monkeypatch.setattr(site_register, "FIRST_PAUSE", 0.0)
    return found


@pytest.fixture
def folder(tmp_path: Path) -> CoordinatorFolder:
    """A coordinator with the sites a and b."""
    made = make_coordinator(tmp_path / "coordinator", ("localhost",))
    for name in ("a", "b"):
        allow_site(made.path, make_site_key(tmp_path / "keys", name).public)
    return made


@pytest.fixture
def said() -> list[str]:
    return []


@pytest.fixture
def register(folder: CoordinatorFolder, link: Link, said: list[str]) -> SiteRegister:
    found = SiteRegister(folder, dict(os.environ), said.append)
    found.start()
    assert link.nodes() == {"1000": "registered", "1001": "registered"}
    said.clear()
    link.asked()
    return found


def _names(folder: CoordinatorFolder) -> list[str]:
    return sorted(site["name"] for site in json.loads(folder.node_names.read_text()).values())


@pytest.mark.parametrize("failing", ["list", "unregister"])
def test_a_revocation_that_fails_once_is_carried_out_later(
    failing: str, folder: CoordinatorFolder, link: Link, register: SiteRegister, said: list[str]
) -> None:
    revoke_site(folder.path, "a")
    link.fails_once(failing)
    register.look()
    assert link.nodes()["1000"] == "registered"
    assert "full" in said[0]
    register.look()
    assert link.nodes() == {"1000": "unregistered", "1001": "registered"}
    assert said[1:] == ["Site a may no longer take part.", "The list of sites is up to date again."]
    assert _names(folder) == ["b"]
    link.asked()
    register.look()
    assert link.asked() == []


def test_an_allowance_that_fails_once_is_carried_out_later(
    folder: CoordinatorFolder, link: Link, register: SiteRegister, said: list[str], tmp_path: Path
) -> None:
    allow_site(folder.path, make_site_key(tmp_path, "c").public)
    link.fails_once("register")
    register.look()
    assert "site c" in said[0]
    register.look()
    assert link.nodes()["1002"] == "registered"
    assert _names(folder) == ["a", "b", "c"]


def test_an_error_that_stays_is_said_once_and_tried_again_after_a_pause(
    folder: CoordinatorFolder,
    link: Link,
    register: SiteRegister,
    said: list[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = [100.0]
    monkeypatch.setattr(site_register.time, "monotonic", lambda: now[0])
    monkeypatch.setattr(site_register, "FIRST_PAUSE", 4.0)
    revoke_site(folder.path, "a")
    tries = []
    for second in range(20):
        now[0] = 100.0 + second
        link.fails_once("unregister")
        register.look()
        tries += [second] * link.asked().count("unregister")
    assert tries == [0, 4, 12]
    assert len(said) == 1


def test_a_key_that_cannot_be_read_keeps_no_other_site_in(
    folder: CoordinatorFolder, link: Link, register: SiteRegister, said: list[str]
) -> None:
    (folder.sites / "b.pub").write_bytes(b"\xff broken")
    (folder.sites / "c.pub").mkdir()
    (folder.sites / "not a name.pub").touch()
    revoke_site(folder.path, "a")
    register.look()
    # What is unreadable shuts nobody out: Flower would never take that key again.
    assert link.nodes() == {"1000": "unregistered", "1001": "registered"}
    text = "\n".join(said)
    assert all(name in text for name in ("b.pub is not a public key", "c.pub cannot be read", "not a name.pub"))
    said.clear()
    register.look()
    assert said == []


def test_one_site_that_cannot_be_shut_out_keeps_no_other_in(
    folder: CoordinatorFolder, link: Link, register: SiteRegister
) -> None:
    for name in ("a", "b"):
        revoke_site(folder.path, name)
    link.fails_once("unregister")
    register.look()
    assert link.nodes() == {"1000": "registered", "1001": "unregistered"}


def test_sites_stay_where_the_folder_of_the_keys_is_gone(
    folder: CoordinatorFolder, link: Link, register: SiteRegister, said: list[str]
) -> None:
    folder.sites.rename(folder.path / "elsewhere")
    register.look()
    register.look()
    assert set(link.nodes().values()) == {"registered"}
    assert len(said) == 1
    assert "folder of the sites' keys, cannot be read" in said[0]
    (folder.path / "elsewhere").rename(folder.sites)
    register.look()
    assert said[1:] == ["The list of sites is up to date again."]


def test_a_full_disk_forgets_no_node_number(
    folder: CoordinatorFolder,
    link: Link,
    register: SiteRegister,
    said: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    whole, full = site_register.write_json, {"after": 0}

    def write(path: Path, value: object) -> None:
        full["after"] -= 1
        if full["after"] < 0:
            raise OSError(errno.ENOSPC, "the disk is full")
        whole(path, value)

    monkeypatch.setattr(site_register, "write_json", write)
    allow_site(folder.path, make_site_key(tmp_path, "c").public)
    revoke_site(folder.path, "a")
    register.look()
    # No node is made whose number could not be kept; a is out, although that could not be written down.
    assert link.nodes() == {"1000": "unregistered", "1001": "registered"}
    assert "full" in said[-1]
    full["after"] = 2
    register.look()
    assert link.nodes()["1002"] == "registered"
    assert _names(folder) == ["b"]
    full["after"] = 10
    register.look()
    assert _names(folder) == ["b", "c"]
    assert list(link.nodes()) == ["1000", "1001", "1002"]


def test_a_command_that_does_not_end_is_an_error_that_is_tried_again(
    folder: CoordinatorFolder,
    link: Link,
    register: SiteRegister,
    said: list[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(flower_programs, "COMMAND_SECONDS", 3.0)
    link.fails_once("list", "hang")
    with pytest.raises(NetworkSetupError, match=naming("flwr supernode list", "3 seconds", "link.log")):
        flower(folder, dict(os.environ), "supernode", "list")
    revoke_site(folder.path, "a")
    link.fails_once("list", "hang")
    register.look()
    assert "flwr supernode list" in said[0]
    monkeypatch.setattr(flower_programs, "COMMAND_SECONDS", 120.0)
    register.look()
    assert link.nodes()["1000"] == "unregistered"


def test_sites_that_are_still_to_be_shut_out_are_listed(
    folder: CoordinatorFolder, link: Link, register: SiteRegister, tmp_path: Path
) -> None:
    old = require_public_key(folder.sites / "a.pub")
    revoke_site(folder.path, "a")
    renewed = allow_site(folder.path, make_site_key(tmp_path / "new", "a").public)[1]
    (folder.sites / "c.pub").write_text("broken")
    found = [(site.name, site.state, site.fingerprint) for site in site_states(folder.path)]
    assert found == [
        ("a", "not yet registered", renewed),
        ("a", "revoking", old),
        ("b", "registered", require_public_key(folder.sites / "b.pub")),
        ("c", "key cannot be read", ""),
    ]
    (folder.sites / "c.pub").unlink()
    register.look()
    assert [(site.name, site.state) for site in site_states(folder.path)] == [("a", "registered"), ("b", "registered")]


@pytest.mark.parametrize("content", ["", "[]", '{"1": "a"}', '{"1": {"name": "a"}}', "\x00"])
def test_a_damaged_list_of_node_numbers_is_named(
    folder: CoordinatorFolder, link: Link, content: str, said: list[str]
) -> None:
    folder.node_names.write_text(content)
    with pytest.raises(NetworkSetupError, match=naming("sites.json")):
        SiteRegister(folder, dict(os.environ), said.append).start()
    assert link.asked() == []


def test_revoking_works_while_another_key_cannot_be_read(folder: CoordinatorFolder) -> None:
    (folder.sites / "b.pub").write_text("broken")
    (folder.sites / "c.pub").mkdir()
    assert revoke_site(folder.path, "a").name == "a.revoked"
    assert not (folder.sites / "a.pub").exists()
