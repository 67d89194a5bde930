"""The coordinator's certificates: a CA of its own and a server certificate with the right names.

Sites need the CA certificate only, which is public. The CA signs nothing but this server, so whoever
holds ``ca.crt`` trusts this one coordinator.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from fmtl.network.errors import NetworkSetupError
from fmtl.network.private_files import write_private, write_public

AUTHORITY_DAYS = 3650
SERVER_DAYS = 397
"""Days a server certificate is valid: the longest that common TLS clients accept."""

RENEW_BEFORE = timedelta(days=30)
"""A certificate that ends sooner is worth a warning."""

_CLOCK_SKEW = timedelta(hours=1)
"""Certificates begin so much before they are made, for sites whose clocks are behind."""


class CertificateFiles:
    """Where a coordinator's certificates lie.

    Args:
        folder: of all of them.

    Attributes:
        ca_key: the CA's private key; needed to renew the server certificate only, so it may be kept elsewhere.
        ca: the CA certificate, which every site gets.
        server_key: the server's private key.
        server: the server's certificate.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.ca_key = folder / "ca.key"
        self.ca = folder / "ca.crt"
        self.server_key = folder / "server.key"
        self.server = folder / "server.crt"


@dataclass(frozen=True)
class CertificateFacts:
    """What a certificate says.

    Attributes:
        names: DNS names and addresses it is for; empty for a CA.
        begins, ends: between which times it is valid, UTC.
        fingerprint: SHA-256 of it, as hexadecimal digits in pairs.
    """

    names: tuple[str, ...]
    begins: datetime
    ends: datetime
    fingerprint: str

    def problem(self, now: datetime) -> str | None:
        """Say why it is not valid at a time; None where it is."""
        if now < self.begins:
            return f"is not valid before {_day(self.begins)}; it is {_day(now)} on this machine: check its clock"
        if now > self.ends:
            return f"expired on {_day(self.ends)}; it is {_day(now)} on this machine"
        return None


def make_ca(files: CertificateFiles, organisation: str, days: int = AUTHORITY_DAYS) -> None:
    """Write a new CA: a P-384 key and a self-signed certificate.

    Args:
        files: where to write; an existing CA is never replaced, for all sites would have to be told.
        organisation: shown in the certificate.
        days: how long it is valid.

    Raises:
        NetworkSetupError: there is one already.
    """
    for path in (files.ca_key, files.ca):
        if path.exists():
            raise NetworkSetupError(
                f"{path} exists already. A new CA would shut out every site that trusts the old one; "
                f"to renew the server certificate only, use `fmtl keys renew`."
            )
    key = ec.generate_private_key(ec.SECP384R1())
    name = x509.Name([x509.NameAttribute(NameOID.ORGANIZATION_NAME, organisation)])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _CLOCK_SKEW)
        .not_valid_after(now + timedelta(days=days))
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(signs_certificates=True), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA384())
    )
    files.folder.mkdir(parents=True, exist_ok=True)
    write_private(files.ca_key, _private_pem(key))
    write_public(files.ca, certificate.public_bytes(serialization.Encoding.PEM))


def require_hosts(hosts: Sequence[str]) -> None:
    """Refuse hosts that a certificate cannot be made for.

    Args:
        hosts: DNS names and IP addresses by which sites reach the coordinator.

    Raises:
        NetworkSetupError: no host, or one that is neither a name nor an address.
    """
    if not hosts:
        raise NetworkSetupError("the server certificate needs at least one name or address by which sites reach it.")
    for host in hosts:
        _general_name(host)


def make_server_certificate(files: CertificateFiles, hosts: Sequence[str], days: float = SERVER_DAYS) -> None:
    """Write a new server key and certificate, signed by the CA; an older one is replaced.

    Args:
        files: where the CA is and the server's go.
        hosts: DNS names and IP addresses by which sites reach the coordinator; this machine's own (``localhost``,
            127.0.0.1, ::1) are added, for the coordinator talks to itself.
        days: how long it is valid, at most as long as the CA.

    Raises:
        NetworkSetupError: no CA, no host, or a host that is neither a name nor an address.
    """
    require_hosts(hosts)
    ca_key = _read_key(files.ca_key)
    ca = read_certificate(files.ca)
    key = ec.generate_private_key(ec.SECP384R1())
    now = datetime.now(UTC)
    ends = min(now + timedelta(days=days), ca.not_valid_after_utc)
    names = [_general_name(host) for host in dict.fromkeys([*hosts, "localhost", "127.0.0.1", "::1"])]
    certificate = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, hosts[0][:64])]))
        .issuer_name(ca.subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(max(now - _CLOCK_SKEW, ca.not_valid_before_utc))
        .not_valid_after(ends)
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(signs_certificates=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(ca_key.public_key()), critical=False)
        .sign(ca_key, hashes.SHA384())
    )
    write_private(files.server_key, _private_pem(key))
    write_public(files.server, certificate.public_bytes(serialization.Encoding.PEM))


def read_facts(path: Path) -> CertificateFacts:
    """Return what a certificate file says.

    Raises:
        NetworkSetupError: it cannot be read.
    """
    certificate = read_certificate(path)
    try:
        found = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        names = tuple(str(name.value) for name in found)
    except x509.ExtensionNotFound:
        names = ()
    digest = certificate.fingerprint(hashes.SHA256()).hex().upper()
    return CertificateFacts(
        names=names,
        begins=certificate.not_valid_before_utc,
        ends=certificate.not_valid_after_utc,
        fingerprint=":".join(digest[i : i + 2] for i in range(0, len(digest), 2)),
    )


def require_usable(files: CertificateFiles, now: datetime | None = None) -> list[str]:
    """Check everything a coordinator needs to start, and return warnings.

    Args:
        files: the coordinator's certificates.
        now: the time to check for; the present where left out.

    Raises:
        NetworkSetupError: a file is missing or unreadable, a certificate is not valid now, was not signed by the
            CA, or does not belong to the key.
    """
    time = now or datetime.now(UTC)
    facts = {path: read_facts(path) for path in (files.ca, files.server)}
    for sentence in not_valid(files, facts, time):
        raise NetworkSetupError(sentence)
    server, ca = read_certificate(files.server), read_certificate(files.ca)
    try:
        server.verify_directly_issued_by(ca)
    except (InvalidSignature, ValueError, TypeError) as error:
        raise NetworkSetupError(
            f"{files.server} was not signed by {files.ca}. Put the matching files together, or make a new "
            f"server certificate: `fmtl keys renew {files.folder.parent}`."
        ) from error
    if _read_key(files.server_key).public_key() != server.public_key():
        raise NetworkSetupError(
            f"{files.server_key} is not the key of {files.server}; put the matching files together."
        )
    return ending_soon(files, facts, time)


def not_valid(files: CertificateFiles, facts: Mapping[Path, CertificateFacts], now: datetime) -> list[str]:
    """Return a sentence for every certificate that is not valid at a time; arguments as of `ending_soon`."""
    problems = ((path, one.problem(now)) for path, one in facts.items())
    remedy = f"Make a new one: `fmtl keys renew {files.folder.parent}`."
    return [f"{path} {problem}. {remedy}" for path, problem in problems if problem]


def ending_soon(files: CertificateFiles, facts: Mapping[Path, CertificateFacts], now: datetime) -> list[str]:
    """Return a sentence for every certificate that ends within `RENEW_BEFORE`.

    Args:
        files: the coordinator's certificates.
        facts: what they say, by path.
        now: the time to look from.
    """
    return [
        f"{path} ends on {_day(one.ends)}; renew it before: `fmtl keys renew {files.folder.parent}`."
        for path, one in facts.items()
        if one.ends - now < RENEW_BEFORE
    ]


def read_certificate(path: Path) -> x509.Certificate:
    """Return the first certificate of a PEM file.

    Raises:
        NetworkSetupError: there is none.
    """
    try:
        return x509.load_pem_x509_certificate(path.read_bytes())
    except FileNotFoundError as error:
        raise NetworkSetupError(f"the certificate {path} does not exist. Make it: `fmtl keys coordinator`.") from error
    except PermissionError as error:
        raise NetworkSetupError(f"the certificate {path} cannot be read by this user: change its owner.") from error
    except ValueError as error:
        raise NetworkSetupError(
            f"{path} is not a certificate in PEM form; get it from the coordinator again."
        ) from error


def _read_key(path: Path) -> ec.EllipticCurvePrivateKey:
    try:
        key = serialization.load_pem_private_key(path.read_bytes(), password=None)
    except FileNotFoundError as error:
        raise NetworkSetupError(f"the private key {path} does not exist; it is needed here.") from error
    except PermissionError as error:
        raise NetworkSetupError(f"the private key {path} cannot be read by this user: change its owner.") from error
    except (ValueError, TypeError) as error:
        raise NetworkSetupError(f"{path} is not a private key in PEM form without a password.") from error
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise NetworkSetupError(f"{path} is not an elliptic-curve key, which the certificates here use.")
    return key


def _private_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def _general_name(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        pass
    plain = host.removeprefix("*.")
    if not plain or len(host) > 253 or not all(_is_label(label) for label in plain.split(".")):
        raise NetworkSetupError(
            f"host {host!r} is neither a DNS name nor an IP address; give it as in fl.example.org or 192.0.2.7, "
            f"without port and without https://."
        )
    return x509.DNSName(host)


def _is_label(label: str) -> bool:
    plain = label.replace("-", "").replace("_", "")
    return 0 < len(label) < 64 and plain.isascii() and plain.isalnum() and label[0] != "-" and label[-1] != "-"


def _usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _day(time: datetime) -> str:
    return f"{time:%Y-%m-%d %H:%M} UTC"
