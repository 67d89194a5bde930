"""Certificates: made with the right names, and refused with a sentence when something is wrong with them."""

from __future__ import annotations

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
