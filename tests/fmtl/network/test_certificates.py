"""Certificates: made with the right names, refused with a sentence when something is wrong, renewed while in use."""

from __future__ import annotations

import shutil
import socket
import ssl
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from errors import naming

from fmtl.network.certificates import (
    CertificateFiles,
    CertificateWatch,
    make_ca,
    make_server_certificate,
    read_certificate,
    read_facts,
    require_usable,
)
from fmtl.network.errors import NetworkSetupError


@pytest.fixture
def files(tmp_path: Path) -> CertificateFiles:
    found = CertificateFiles(tmp_path / "certificates")
    make_ca(found, "test")
    make_server_certificate(found, ["fl.example.org", "192.0.2.7"])
    return found


def test_names_are_those_given_and_this_machine(files: CertificateFiles) -> None:
    assert set(read_facts(files.server).names) == {"fl.example.org", "192.0.2.7", "localhost", "127.0.0.1", "::1"}


def test_private_keys_are_for_their_owner_only(files: CertificateFiles) -> None:
    for key in (files.ca_key, files.server_key):
        assert key.stat().st_mode & 0o777 == 0o600


def test_usable_without_warnings(files: CertificateFiles) -> None:
    assert require_usable(files) == []


def test_authority_may_sign_and_server_may_not(files: CertificateFiles) -> None:
    for path, signs in ((files.ca, True), (files.server, False)):
        extension = read_certificate(path).extensions.get_extension_for_class(x509.BasicConstraints)
        assert extension.value.ca is signs


def test_an_authority_is_never_replaced(files: CertificateFiles) -> None:
    before = files.ca.read_bytes()
    with pytest.raises(NetworkSetupError, match="fmtl keys renew"):
        make_ca(files, "other")
    assert files.ca.read_bytes() == before


def test_expired_and_not_yet_valid_name_the_day_and_the_clock(files: CertificateFiles) -> None:
    with pytest.raises(NetworkSetupError, match=naming("expired")):
        require_usable(files, datetime.now(UTC) + timedelta(days=500))
    with pytest.raises(NetworkSetupError, match=naming("clock")):
        require_usable(files, datetime.now(UTC) - timedelta(days=2))


def test_a_certificate_that_ends_soon_is_a_warning(files: CertificateFiles) -> None:
    (warning,) = require_usable(files, datetime.now(UTC) + timedelta(days=380))
    assert "server.crt" in warning


def test_certificate_of_another_authority_is_refused(files: CertificateFiles, tmp_path: Path) -> None:
    other = CertificateFiles(tmp_path / "other")
    make_ca(other, "other")
    files.ca.write_bytes(other.ca.read_bytes())
    with pytest.raises(NetworkSetupError, match=naming("signed")):
        require_usable(files)


def test_key_of_another_certificate_is_refused(files: CertificateFiles, tmp_path: Path) -> None:
    before = files.server_key.read_bytes()
    make_server_certificate(files, ["localhost"])
    files.server_key.write_bytes(before)
    with pytest.raises(NetworkSetupError, match=naming("key")):
        require_usable(files)


@pytest.mark.parametrize(
    "content", [b"", b"nonsense", b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"]
)
def test_a_damaged_certificate_is_named(files: CertificateFiles, content: bytes) -> None:
    files.server.write_bytes(content)
    with pytest.raises(NetworkSetupError, match=naming("PEM")):
        require_usable(files)


@pytest.mark.parametrize("host", ["https://a", "a b", "a:80", "", "-a", "a..b", "a/../b", "ä.example", "x" * 300])
def test_an_impossible_host_is_refused(files: CertificateFiles, host: str) -> None:
    with pytest.raises(NetworkSetupError, match=naming("DNS")):
        make_server_certificate(files, [host])


def test_a_server_certificate_does_not_outlive_its_authority(tmp_path: Path) -> None:
    found = CertificateFiles(tmp_path)
    make_ca(found, "test", days=10)
    make_server_certificate(found, ["localhost"])
    assert read_facts(found.server).ends <= read_facts(found.ca).ends


@pytest.mark.parametrize("name", ["localhost", "other.example.org"])
def test_tls_accepts_the_names_and_no_others(files: CertificateFiles, name: str) -> None:
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(files.server, files.server_key)
    client = ssl.create_default_context(cafile=str(files.ca))
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def answer() -> None:
            connection, _ = listener.accept()
            with connection:
                try:
                    server.wrap_socket(connection, server_side=True).close()
                except OSError:
                    return

        thread = threading.Thread(target=answer)
        thread.start()
        with socket.create_connection(listener.getsockname()) as raw:
            if name == "localhost":
                client.wrap_socket(raw, server_hostname=name).close()
            else:
                with pytest.raises(ssl.SSLCertVerificationError):
                    client.wrap_socket(raw, server_hostname=name)
        thread.join()


class _Clock:
    def __init__(self) -> None:
        self.days = 0.0

    def __call__(self) -> datetime:
        return datetime.now(UTC) + timedelta(days=self.days)


@pytest.fixture
def clock() -> _Clock:
    return _Clock()


@pytest.fixture
def said() -> list[str]:
    return []


@pytest.fixture
def watch(files: CertificateFiles, said: list[str], clock: _Clock) -> CertificateWatch:
    make_server_certificate(files, ["localhost"], days=40)
    return CertificateWatch(files, said.append, clock)


def test_nothing_is_said_of_certificates_that_last(watch: CertificateWatch, said: list[str], clock: _Clock) -> None:
    for clock.days in range(9):
        watch.warn()
        assert not watch.renewed()
    assert said == []


def test_a_renewed_certificate_is_taken_once(watch: CertificateWatch, files: CertificateFiles, said: list[str]) -> None:
    make_server_certificate(files, ["localhost"])
    assert [watch.renewed() for _ in range(4)] == [False, True, False, False]
    assert len(said) == 1
    assert "starts again" in said[0]


def test_half_a_pair_is_not_taken_until_the_other_half_is_there(
    watch: CertificateWatch, files: CertificateFiles, said: list[str], tmp_path: Path
) -> None:
    kept = tmp_path / "kept.crt"
    shutil.copyfile(files.server, kept)
    make_server_certificate(files, ["localhost"])
    new = files.server.read_bytes()
    files.server.write_bytes(kept.read_bytes())
    assert [watch.renewed() for _ in range(4)] == [False] * 4
    assert len(said) == 1
    assert "key" in said[0]
    files.server.write_bytes(new)
    assert [watch.renewed() for _ in range(3)] == [False, True, False]


def test_a_missing_file_is_no_renewal(watch: CertificateWatch, files: CertificateFiles) -> None:
    files.server.rename(files.server.with_suffix(".away"))
    assert [watch.renewed() for _ in range(3)] == [False] * 3
    files.server.with_suffix(".away").rename(files.server)
    assert [watch.renewed() for _ in range(3)] == [False] * 3


def test_the_end_is_announced_daily_and_its_arrival_at_once(
    watch: CertificateWatch, files: CertificateFiles, said: list[str], clock: _Clock
) -> None:
    for clock.days in (11, 11.1, 11.9, 12.1):
        watch.warn()
    assert [line.startswith("Warning: ") and "ends" in line for line in said] == [True, True]
    said.clear()
    for clock.days in (40.1, 40.2, 41.2):
        watch.warn()
    assert len(said) == 2
    assert all("connect" in line and "fmtl keys renew" in line for line in said)
    said.clear()
    make_server_certificate(files, ["localhost"], days=60)
    assert [watch.renewed() for _ in range(2)] == [False, True]
    watch.warn()
    assert [line for line in said if "Error" in line] == []
