"""Who may take part is what the keys in the coordinator's folder say, also where a step towards it fails."""

from __future__ import annotations

import errno
import json
from pathlib import Path

import httpx
import pytest
from errors import naming

from fmtl.network import control, site_register
from fmtl.network.coordinator_folder import CoordinatorFolder, allow_site, make_coordinator, revoke_site
from fmtl.network.errors import NetworkSetupError
from fmtl.network.site_keys import make_site_key, require_public_key
from fmtl.network.site_register import SiteRegister, site_states
from fmtl_strategies.flower_compat import NodeInfo


class StandIn:
    """The SuperLink's Control API: knows nodes, and fails once where it is told to."""

    def __init__(self) -> None:
        self.states: dict[str, str] = {}
        self.trouble: dict[str, Exception] = {}
        self._asked: list[str] = []

    def fails_once(self, call: str, error: Exception | None = None) -> None:
        refused = httpx.Response(500, text="database or disk is full", request=httpx.Request("POST", "https://link"))
        self.trouble = {call: error or httpx.HTTPStatusError("500", request=refused.request, response=refused)}

    def asked(self) -> list[str]:
        """What was asked since the last time."""
        found, self._asked = self._asked, []
        return found

    def nodes(self) -> list[NodeInfo]:
        self._ask("list")
        return [NodeInfo(node_id=int(node), status=status) for node, status in self.states.items()]

    def register(self, public_key: bytes) -> int:
        self._ask("register")
        number = 1000 + len(self.states)
        self.states[str(number)] = "registered"
        return number

    def unregister(self, node_id: int) -> None:
        self._ask("unregister")
        assert self.states[str(node_id)] == "registered"
        self.states[str(node_id)] = "unregistered"

    def close(self) -> None:
        """Nothing is open."""

    def _ask(self, call: str) -> None:
        self._asked.append(call)
        if error := self.trouble.pop(call, None):
            raise error


@pytest.fixture
def link(monkeypatch: pytest.MonkeyPatch) -> StandIn:
    found = StandIn()
    monkeypatch.setattr(control, "ControlApi", lambda *arguments: found)
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
def register(folder: CoordinatorFolder, link: StandIn, said: list[str]) -> SiteRegister:
    found = SiteRegister(folder, said.append)
    found.start()
    assert link.states == {"1000": "registered", "1001": "registered"}
    said.clear()
    link.asked()
    return found


def _names(folder: CoordinatorFolder) -> list[str]:
    return sorted(site["name"] for site in json.loads(folder.node_names.read_text()).values())


@pytest.mark.parametrize("failing", ["list", "unregister"])
def test_a_revocation_that_fails_once_is_carried_out_later(
    failing: str, folder: CoordinatorFolder, link: StandIn, register: SiteRegister, said: list[str]
) -> None:
    revoke_site(folder.path, "a")
    link.fails_once(failing)
    register.look()
    assert link.states["1000"] == "registered"
    assert "full" in said[0]
    register.look()
    assert link.states == {"1000": "unregistered", "1001": "registered"}
    assert said[1:] == ["Site a may no longer take part.", "The list of sites is up to date again."]
    assert _names(folder) == ["b"]
    link.asked()
    register.look()
    assert link.asked() == []


def test_an_allowance_that_fails_once_is_carried_out_later(
    folder: CoordinatorFolder, link: StandIn, register: SiteRegister, said: list[str], tmp_path: Path
) -> None:
    allow_site(folder.path, make_site_key(tmp_path, "c").public)
    link.fails_once("register")
    register.look()
    assert "site c" in said[0]
    register.look()
    assert link.states["1002"] == "registered"
    assert _names(folder) == ["a", "b", "c"]


def test_an_error_that_stays_is_said_once_and_tried_again_after_a_pause(
    folder: CoordinatorFolder,
    link: StandIn,
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
    folder: CoordinatorFolder, link: StandIn, register: SiteRegister, said: list[str]
) -> None:
    (folder.sites / "b.pub").write_bytes(b"\xff broken")
    (folder.sites / "c.pub").mkdir()
    (folder.sites / "not a name.pub").touch()
    revoke_site(folder.path, "a")
    register.look()
    # What is unreadable shuts nobody out: Flower would never take that key again.
    assert link.states == {"1000": "unregistered", "1001": "registered"}
    text = "\n".join(said)
    assert all(name in text for name in ("b.pub is not a public key", "c.pub cannot be read", "not a name.pub"))
    said.clear()
    register.look()
    assert said == []


def test_one_site_that_cannot_be_shut_out_keeps_no_other_in(
    folder: CoordinatorFolder, link: StandIn, register: SiteRegister
) -> None:
    for name in ("a", "b"):
        revoke_site(folder.path, name)
    link.fails_once("unregister")
    register.look()
    assert link.states == {"1000": "registered", "1001": "unregistered"}


def test_sites_stay_where_the_folder_of_the_keys_is_gone(
    folder: CoordinatorFolder, link: StandIn, register: SiteRegister, said: list[str]
) -> None:
    folder.sites.rename(folder.path / "elsewhere")
    register.look()
    register.look()
    assert set(link.states.values()) == {"registered"}
    assert len(said) == 1
    assert "folder of the sites' keys, cannot be read" in said[0]
    (folder.path / "elsewhere").rename(folder.sites)
    register.look()
    assert said[1:] == ["The list of sites is up to date again."]


def test_a_full_disk_forgets_no_node_number(
    folder: CoordinatorFolder,
    link: StandIn,
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
    assert link.states == {"1000": "unregistered", "1001": "registered"}
    assert "full" in said[-1]
    full["after"] = 2
    register.look()
    assert link.states["1002"] == "registered"
    assert _names(folder) == ["b"]
    full["after"] = 10
    register.look()
    assert _names(folder) == ["b", "c"]
    assert list(link.states) == ["1000", "1001", "1002"]


def test_an_answer_that_does_not_come_is_an_error_that_is_tried_again(
    folder: CoordinatorFolder, link: StandIn, register: SiteRegister, said: list[str]
) -> None:
    revoke_site(folder.path, "a")
    link.fails_once("list", httpx.ReadTimeout("slow"))
    register.look()
    assert "link.log" in said[0]
    register.look()
    assert link.states["1000"] == "unregistered"


def test_sites_that_are_still_to_be_shut_out_are_listed(
    folder: CoordinatorFolder, link: StandIn, register: SiteRegister, tmp_path: Path
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
    folder: CoordinatorFolder, link: StandIn, content: str, said: list[str]
) -> None:
    folder.node_names.write_text(content)
    with pytest.raises(NetworkSetupError, match=naming("sites.json")):
        SiteRegister(folder, said.append).start()
    assert link.asked() == []


def test_revoking_works_while_another_key_cannot_be_read(folder: CoordinatorFolder) -> None:
    (folder.sites / "b.pub").write_text("broken")
    (folder.sites / "c.pub").mkdir()
    assert revoke_site(folder.path, "a").name == "a.revoked"
    assert not (folder.sites / "a.pub").exists()
