"""What a site finds out before it starts: a wrong authority, a wrong name, plain HTTP, a clock that is off."""

from __future__ import annotations

import socket
import ssl
import sys
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta, tzinfo
from email.utils import format_datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from errors import naming
from fmtl_datasets.shared.privacy import Privacy

from client_app.privacy import Account, account_file, write_account
from client_app.site.site_file import SiteFile
from fmtl.network import certificates, site_checks
from fmtl.network.certificates import CertificateFiles, make_ca, make_server_certificate
from fmtl.network.errors import NetworkSetupError
from fmtl.network.flower_programs import Endpoint
from fmtl.network.site_checks import (
    _check_authority,
    _check_clock,
    _check_privacy,
    _check_state,
    check_coordinator,
    check_site,
)
from fmtl.network.site_template import site_template
from tests.support import tiny_client as tiny


class _Health(BaseHTTPRequestHandler):
    def do_GET(self) -> None:  # noqa: N802 - the name is the library's
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *arguments: object) -> None:
        return


def _serve(context: ssl.SSLContext | None) -> Iterator[Endpoint]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Health)
    if context is not None:
        server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield Endpoint("127.0.0.1", server.server_address[1])
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> CertificateFiles:
    found = CertificateFiles(tmp_path_factory.mktemp("certificates"))
    make_ca(found, "test")
    make_server_certificate(found, ["localhost"])
    return found


def _context(files: CertificateFiles) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(files.server, files.server_key)
    return context


@pytest.fixture
def coordinator(files: CertificateFiles) -> Iterator[Endpoint]:
    yield from _serve(_context(files))


@pytest.fixture
def plain() -> Iterator[Endpoint]:
    yield from _serve(None)


@pytest.fixture
def old(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> CertificateFiles:
    """Certificates that were made eleven years ago."""

    class Earlier(datetime):
        @classmethod
        def now(cls, tz: tzinfo | None = None) -> datetime:  # type: ignore[override]
            return datetime.now(tz) - timedelta(days=11 * 366)

    with monkeypatch.context() as patch:
        patch.setattr(certificates, "datetime", Earlier)
        found = CertificateFiles(tmp_path / "old")
        make_ca(found, "old")
        make_server_certificate(found, ["localhost"])
    return found


def test_the_right_coordinator_passes(coordinator: Endpoint, files: CertificateFiles) -> None:
    said: list[str] = []
    check_coordinator(coordinator, files.ca, said.append)
    assert any("certificate" in line for line in said)
    assert "clock: as the coordinator's" in said


def test_another_authority_is_refused(coordinator: Endpoint, tmp_path: Path) -> None:
    other = CertificateFiles(tmp_path)
    make_ca(other, "other")
    with pytest.raises(NetworkSetupError, match=naming("coordinator")):
        check_coordinator(coordinator, other.ca, print)


def test_an_expired_certificate_is_refused(old: CertificateFiles) -> None:
    serving = _serve(_context(old))
    endpoint = next(serving)
    with pytest.raises(NetworkSetupError, match=naming("expired")):
        check_coordinator(endpoint, old.ca, print)
    next(serving, None)


def test_an_expired_authority_says_whom_to_ask(old: CertificateFiles) -> None:
    with pytest.raises(NetworkSetupError, match=naming("expired", "ca.crt")):
        _check_authority(old.ca, print)


def test_plain_http_is_refused(plain: Endpoint, files: CertificateFiles) -> None:
    with pytest.raises(NetworkSetupError, match=naming("TLS", "port")):
        check_coordinator(plain, files.ca, print)


def test_nobody_there(files: CertificateFiles) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        endpoint = Endpoint("127.0.0.1", probe.getsockname()[1])
    with pytest.raises(NetworkSetupError, match=naming("port")):
        check_coordinator(endpoint, files.ca, print)


@pytest.mark.parametrize(("hours", "direction"), [(1, "behind"), (-1, "ahead of")])
def test_clocks_an_hour_apart_are_told_with_the_direction(hours: int, direction: str) -> None:
    theirs = format_datetime(datetime.now(UTC) + timedelta(hours=hours), usegmt=True)
    with pytest.raises(NetworkSetupError, match=rf"(3599|3600|3601) seconds {direction} the coordinator's.*NTP"):
        _check_clock(theirs, datetime.now(UTC), print)


@pytest.mark.parametrize("seconds", [0, -2, 100])
def test_clocks_that_differ_a_little_pass(seconds: int) -> None:
    theirs = format_datetime(datetime.now(UTC) + timedelta(seconds=seconds), usegmt=True)
    _check_clock(theirs, datetime.now(UTC), lambda line: None)


def test_an_answer_that_takes_long_is_no_clock_that_is_ahead() -> None:
    asked_at = datetime.now(UTC) - timedelta(seconds=30)
    for seconds in (0, 15, 30):
        _check_clock(format_datetime(asked_at + timedelta(seconds=seconds), usegmt=True), asked_at, lambda line: None)


def test_limits_lie_within_those_of_flower() -> None:
    from flwr.common.constant import SYSTEM_TIME_TOLERANCE, TIMESTAMP_TOLERANCE

    assert site_checks.MOST_AHEAD < SYSTEM_TIME_TOLERANCE
    assert site_checks.MOST_BEHIND < TIMESTAMP_TOLERANCE + SYSTEM_TIME_TOLERANCE


def test_a_state_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(NetworkSetupError, match=naming("state:", "file/state")):
        _check_state(tmp_path / "file/state", print)


def _site(state: Path, privacy: Privacy | None) -> SiteFile:
    entry = tiny.entry(name="clinic-a", privacy=privacy)
    return SiteFile("localhost:8000", state / "ca.crt", state / "clinic-a.key", state, entry)


def test_a_site_with_privacy_is_told_what_it_has_spent_and_what_the_next_upload_costs(tmp_path: Path) -> None:
    said: list[str] = []
    place = account_file(tmp_path, "clinic-a")
    write_account(place, Account({1.0: 9}))
    _check_privacy(_site(tmp_path, Privacy(clip=1.0, noise=1.0, epsilon=20.0)), said.append)
    assert said == [
        "privacy: 9 uploads so far, epsilon 17.8 at delta 1e-05; the next brings it to 19.1, the limit is 20"
    ]
    write_account(place, Account({1.0: 11}))
    _check_privacy(_site(tmp_path, Privacy(clip=1.0, noise=1.0, epsilon=20.0)), said.append)
    assert "will upload nothing more" in said[-1]


@pytest.mark.parametrize("account", [None, "{"], ids=["no package", "damaged account"])
def test_privacy_that_cannot_be_accounted_for_is_found_before_a_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, account: str | None
) -> None:
    if account is None:
        monkeypatch.setitem(sys.modules, "dp_accounting", None)
        expected = r"privacy: the package dp-accounting"
    else:
        account_file(tmp_path, "clinic-a").parent.mkdir()
        account_file(tmp_path, "clinic-a").write_text(account)
        expected = r"privacy: .*clinic-a\.json is damaged"
    with pytest.raises(NetworkSetupError, match=expected):
        _check_privacy(_site(tmp_path, Privacy(clip=1.0, noise=1.0)), print)
    _check_privacy(_site(tmp_path, None), print)


def test_the_check_of_a_site_looks_at_privacy_before_it_loads_data(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "site.yaml"
    lines = [line for line in site_template("procedural", "clinic-a", "localhost:1").splitlines() if line[:1] != "#"]
    file.write_text("\n".join([*lines, "  privacy: {clip: 1.0, noise: 1.0}"]))
    for name in ("require_site_key", "_check_authority", "check_coordinator", "_check_data"):
        monkeypatch.setattr(site_checks, name, lambda *arguments: None)
    monkeypatch.setitem(sys.modules, "dp_accounting", None)
    said: list[str] = []
    with pytest.raises(NetworkSetupError, match=naming("privacy", "dp-accounting")):
        check_site(file, said.append)
    assert said[-1].startswith("state:")
