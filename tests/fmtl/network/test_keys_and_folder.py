"""Keys of sites and the coordinator's folder: who may take part, and what is refused."""

from __future__ import annotations

import errno
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest
from errors import naming

from fmtl.network.coordinator_folder import (
    CoordinatorFolder,
    allow_site,
    local_endpoint,
    make_coordinator,
    read_settings,
    revoke_site,
)
from fmtl.network.errors import NetworkSetupError
from fmtl.network.site_keys import make_site_key, require_public_key, require_site_key
from fmtl_strategies.contract.files import DiskFullError

BAD_NAMES = ["", "..", "../a", "a/b", "a b", ".a", "a.b", "ä", "x" * 65, "a\n", "a\0", "~a", "a;b"]


@pytest.fixture
def coordinator(tmp_path: Path) -> CoordinatorFolder:
    return make_coordinator(tmp_path / "coordinator", ("localhost",), 8123)


def test_private_key_is_for_its_owner_and_both_halves_have_one_fingerprint(tmp_path: Path) -> None:
    pair = make_site_key(tmp_path, "site-a")
    assert pair.private.stat().st_mode & 0o777 == 0o600
    assert require_site_key(pair.private) == require_public_key(pair.public)


def test_ssh_keygen_agrees_on_the_fingerprint(tmp_path: Path) -> None:
    pair = make_site_key(tmp_path, "site-a")
    try:
        done = subprocess.run(["ssh-keygen", "-lf", str(pair.public)], capture_output=True, text=True, check=True)
    except FileNotFoundError:
        pytest.skip("ssh-keygen is not installed")
    assert require_public_key(pair.public) in done.stdout
    assert done.stdout.startswith("384 ")


@pytest.mark.parametrize("name", BAD_NAMES)
def test_no_key_has_a_name_that_could_be_a_path(tmp_path: Path, name: str) -> None:
    with pytest.raises(NetworkSetupError, match=naming("name")):
        make_site_key(tmp_path / "keys", name)
    assert not (tmp_path / "keys").exists()


def test_a_key_is_never_replaced(tmp_path: Path) -> None:
    pair = make_site_key(tmp_path, "a")
    before = pair.private.read_bytes()
    with pytest.raises(NetworkSetupError, match=naming("exists")):
        make_site_key(tmp_path, "a")
    assert pair.private.read_bytes() == before


def test_a_key_that_others_can_read_is_refused(tmp_path: Path) -> None:
    pair = make_site_key(tmp_path, "a")
    pair.private.chmod(0o644)
    with pytest.raises(NetworkSetupError, match="chmod"):
        require_site_key(pair.private)


@pytest.mark.parametrize("content", [b"", b"nonsense", b"-----BEGIN OPENSSH PRIVATE KEY-----\nAAAA\n"])
def test_a_damaged_key_is_named(tmp_path: Path, content: bytes) -> None:
    pair = make_site_key(tmp_path, "a")
    pair.private.write_bytes(content)
    with pytest.raises(NetworkSetupError, match=naming("OpenSSH")):
        require_site_key(pair.private)
    pair.public.write_bytes(content)
    with pytest.raises(NetworkSetupError, match="a.pub"):
        require_public_key(pair.public)


def test_a_revoked_key_stays_out_and_a_new_one_takes_its_name(coordinator: CoordinatorFolder, tmp_path: Path) -> None:
    pair = make_site_key(tmp_path / "old", "a")
    name, fingerprint = allow_site(coordinator.path, pair.public)
    assert (name, fingerprint) == ("a", require_site_key(pair.private))
    assert list(coordinator.site_keys()) == ["a"]
    revoke_site(coordinator.path, "a")
    assert coordinator.site_keys() == {}
    with pytest.raises(NetworkSetupError, match=naming("revoked", "fmtl keys site a")):
        allow_site(coordinator.path, pair.public)
    assert coordinator.site_keys() == {}
    renewed = make_site_key(tmp_path / "new", "a")
    allow_site(coordinator.path, renewed.public)
    assert coordinator.site_keys()["a"].read_bytes() == renewed.public.read_bytes()
    revoke_site(coordinator.path, "a")
    assert len(list(coordinator.sites.glob("*.revoked"))) == 2


def test_a_name_keeps_its_key_and_a_key_its_name(coordinator: CoordinatorFolder, tmp_path: Path) -> None:
    pair = make_site_key(tmp_path / "one", "a")
    allow_site(coordinator.path, pair.public)
    with pytest.raises(NetworkSetupError, match=naming("key")):
        allow_site(coordinator.path, make_site_key(tmp_path / "two", "a").public)
    other = tmp_path / "b.pub"
    other.write_bytes(pair.public.read_bytes())
    with pytest.raises(NetworkSetupError, match=naming("site a")):
        allow_site(coordinator.path, other)


def test_a_private_key_is_not_taken_for_a_public_one(coordinator: CoordinatorFolder, tmp_path: Path) -> None:
    pair = make_site_key(tmp_path, "a")
    wrong = tmp_path / "b.pub"
    wrong.write_bytes(pair.private.read_bytes())
    with pytest.raises(NetworkSetupError):
        allow_site(coordinator.path, wrong)
    assert coordinator.site_keys() == {}


@pytest.mark.parametrize("name", ["nobody", "../sites/a", "/etc/passwd", ""])
def test_revoking_a_site_that_is_not_there_says_who_is(coordinator: CoordinatorFolder, name: str) -> None:
    with pytest.raises(NetworkSetupError, match=naming("site")):
        revoke_site(coordinator.path, name)


def test_the_folder_is_for_its_owner_and_made_once(coordinator: CoordinatorFolder) -> None:
    assert coordinator.path.stat().st_mode & 0o777 == 0o700
    with pytest.raises(NetworkSetupError, match=naming("exists")):
        make_coordinator(coordinator.path, ("localhost",))


def test_settings_come_back_and_the_own_address_is_loopback(coordinator: CoordinatorFolder) -> None:
    settings = read_settings(coordinator)
    assert (settings.port, settings.hosts) == (8123, ("localhost",))
    assert str(local_endpoint(settings)) == "127.0.0.1:8123"


@pytest.mark.parametrize(
    ("line", "finding"),
    [
        ("port: 0", "port = 0"),
        ("port: many", "port"),
        ("hosts: []", "hosts"),
        ("prot: 5", "prot"),
        ("port: 70000", "port"),
    ],
)
def test_a_wrong_setting_is_named_with_its_line(coordinator: CoordinatorFolder, line: str, finding: str) -> None:
    lines = [text for text in coordinator.settings_file.read_text().splitlines() if not text.startswith(line[:4])]
    coordinator.settings_file.write_text("\n".join([*lines, line]))
    with pytest.raises(NetworkSetupError, match=rf"coordinator\.yaml.*{len(lines) + 1}.*{finding}"):
        read_settings(coordinator)


def test_a_folder_that_is_none_says_how_to_make_one(tmp_path: Path) -> None:
    with pytest.raises(NetworkSetupError, match="fmtl keys coordinator"):
        read_settings(CoordinatorFolder(tmp_path))


@pytest.mark.parametrize("text", ["", "- address\n- port\n", "just words\n", "hosts: [*\n"])
def test_settings_that_are_no_mapping_are_called_a_coordinators(coordinator: CoordinatorFolder, text: str) -> None:
    coordinator.settings_file.write_text(text)
    with pytest.raises(NetworkSetupError, match=r"coordinator\.yaml") as told:
        read_settings(coordinator)
    assert "scenario" not in str(told.value)
    if "*" not in text:
        assert "address, port and hosts" in str(told.value)


@pytest.mark.parametrize(
    ("host", "port"),
    [
        ("https://fl.example.org", 8000),
        ("fl.example.org:8000", 8000),
        ("", 8000),
        ("localhost", 0),
        ("localhost", 65536),
    ],
)
def test_a_wrong_host_or_port_leaves_nothing_so_that_the_right_one_works(tmp_path: Path, host: str, port: int) -> None:
    place = tmp_path / "coordinator"
    with pytest.raises(NetworkSetupError, match="host|port"):
        make_coordinator(place, ("localhost", host), port)
    assert not place.exists()
    make_coordinator(place, ("fl.example.org",), 8000)


def test_an_authority_without_settings_says_how_to_go_on(coordinator: CoordinatorFolder) -> None:
    coordinator.settings_file.unlink()
    with pytest.raises(NetworkSetupError, match=naming("coordinator.yaml", "certificates")):
        make_coordinator(coordinator.path, ("localhost",))


@pytest.mark.parametrize("host", ["::1", "*.example.org", "fd00::7", "10.0.0.1"])
def test_every_host_that_a_certificate_takes_is_read_again(tmp_path: Path, host: str) -> None:
    assert read_settings(make_coordinator(tmp_path / "coordinator", (host,))).hosts == (host,)


def test_a_full_disk_names_the_file_and_what_to_do(
    coordinator: CoordinatorFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pair = make_site_key(tmp_path, "a")

    def full(*arguments: Any, **options: Any) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(DiskFullError, match=naming(f"{coordinator.sites}/a.pub")):
        allow_site(coordinator.path, pair.public)
    assert list(coordinator.sites.iterdir()) == []
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(DiskFullError, match=naming("b.key", "full")):
        make_site_key(tmp_path, "b")
    assert not list(tmp_path.glob("*b.key*"))
