"""The coordinator's certificates: a CA of its own and a server certificate with the right names, renewed in time.

Sites need the CA certificate only, which is public. The CA signs nothing but this server, so whoever
holds ``ca.crt`` trusts this one coordinator.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from fmtl.network.errors import NetworkSetupError
from fmtl.network.private_files import load_key_file, write_private, write_public

AUTHORITY_DAYS = 3650
SERVER_DAYS = 397
"""Days a server certificate is valid: the longest that common TLS clients accept."""

RENEW_BEFORE = timedelta(days=30)
"""A certificate that ends sooner is worth a warning."""

_CLOCK_SKEW = timedelta(hours=1)
"""Certificates begin so much before they are made, for sites whose clocks are behind."""


class CertificateFiles:
    """Where a coordinator's certificates lie.

    Attributes:
        ca_key: the CA's private key; needed to renew the server certificate only, so it may be kept elsewhere.
        ca: the CA certificate, which every site gets.
        server_key, server: the server's private key and certificate.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.ca_key = folder / "ca.key"
        self.ca = folder / "ca.crt"
        self.server_key = folder / "server.key"
        self.server = folder / "server.crt"

    def facts(self) -> dict[Path, CertificateFacts]:
        """Return what both certificates say, by path."""
        return {path: read_facts(path) for path in (self.ca, self.server)}


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
    """
    for path in (files.ca_key, files.ca):
        if path.exists():
            raise NetworkSetupError(
                f"{path} exists already. A new CA would shut out every site that trusts the old one; "
                f"to renew the server certificate only, use `fmtl keys renew`."
            )
    key, now = ec.generate_private_key(ec.SECP384R1()), datetime.now(UTC)
    name = x509.Name([x509.NameAttribute(NameOID.ORGANIZATION_NAME, organisation)])
    certificate = (
        _builder(name, name, key.public_key(), ca=True)
        .not_valid_before(now - _CLOCK_SKEW)
        .not_valid_after(now + timedelta(days=days))
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA384())
    )
    files.folder.mkdir(parents=True, exist_ok=True)
    _write_pair(files.ca_key, key, files.ca, certificate)


def require_hosts(hosts: Sequence[str]) -> None:
    """Refuse hosts that a certificate cannot be made for: none, or one that is neither a name nor an address."""
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
    """
    require_hosts(hosts)
    ca_key, ca = _read_key(files.ca_key), read_certificate(files.ca)
    key, now = ec.generate_private_key(ec.SECP384R1()), datetime.now(UTC)
    names = [_general_name(host) for host in dict.fromkeys([*hosts, "localhost", "127.0.0.1", "::1"])]
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, hosts[0][:64])])
    certificate = (
        _builder(subject, ca.subject, key.public_key(), ca=False)
        .not_valid_before(max(now - _CLOCK_SKEW, ca.not_valid_before_utc))
        .not_valid_after(min(now + timedelta(days=days), ca.not_valid_after_utc))
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(ca_key.public_key()), critical=False)
        .sign(ca_key, hashes.SHA384())
    )
    _write_pair(files.server_key, key, files.server, certificate)


def read_facts(path: Path) -> CertificateFacts:
    """Return what a certificate file says."""
    certificate = read_certificate(path)
    try:
        found = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        names = tuple(str(name.value) for name in found)
    except x509.ExtensionNotFound:
        names = ()
    fingerprint = certificate.fingerprint(hashes.SHA256()).hex(":").upper()
    return CertificateFacts(names, certificate.not_valid_before_utc, certificate.not_valid_after_utc, fingerprint)


def require_usable(files: CertificateFiles, now: datetime | None = None) -> list[str]:
    """Check everything a coordinator needs to start, and return warnings.

    Args:
        files: the coordinator's certificates: there, readable, valid, signed by the CA, belonging to the key.
        now: the time to check for; the present where left out.
    """
    time = now or datetime.now(UTC)
    facts = files.facts()
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
    """Return a sentence for every certificate, of `files.facts()`, that is not valid at a time."""
    problems = ((path, one.problem(now)) for path, one in facts.items())
    remedy = f"Make a new one: `fmtl keys renew {files.folder.parent}`."
    return [f"{path} {problem}. {remedy}" for path, problem in problems if problem]


def ending_soon(files: CertificateFiles, facts: Mapping[Path, CertificateFacts], now: datetime) -> list[str]:
    """Return a sentence for every certificate, of `files.facts()`, that ends within `RENEW_BEFORE`."""
    return [
        f"{path} ends on {_day(one.ends)}; renew it before: `fmtl keys renew {files.folder.parent}`."
        for path, one in facts.items()
        if one.ends - now < RENEW_BEFORE
    ]


def read_certificate(path: Path) -> x509.Certificate:
    """Return the first certificate of a PEM file."""
    remedy = "A site gets it from the coordinator, where `fmtl keys coordinator` makes it."
    return load_key_file(path, x509.load_pem_x509_certificate, "a certificate in PEM form", remedy)


def _read_key(path: Path) -> ec.EllipticCurvePrivateKey:
    def load(content: bytes) -> ec.EllipticCurvePrivateKey:
        key = serialization.load_pem_private_key(content, password=None)
        if not isinstance(key, ec.EllipticCurvePrivateKey):
            raise TypeError
        return key

    expected = "an elliptic-curve private key in PEM form without a password"
    return load_key_file(path, load, expected, "It is needed here, beside its certificate.")


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey, *, ca: bool
) -> x509.CertificateBuilder:
    unused = ("content_commitment", "key_encipherment", "data_encipherment", "key_agreement")
    usage = x509.KeyUsage(
        digital_signature=not ca,
        key_cert_sign=ca,
        crl_sign=ca,
        encipher_only=False,
        decipher_only=False,
        **dict.fromkeys(unused, False),
    )
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .add_extension(x509.BasicConstraints(ca=ca, path_length=0 if ca else None), critical=True)
        .add_extension(usage, critical=True)
    )


def _write_pair(key_file: Path, key: ec.EllipticCurvePrivateKey, file: Path, certificate: x509.Certificate) -> None:
    pem, form = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
    write_private(key_file, key.private_bytes(pem, form, serialization.NoEncryption()))
    write_public(file, certificate.public_bytes(pem))


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


def _day(time: datetime) -> str:
    return f"{time:%Y-%m-%d %H:%M} UTC"


WARN_EVERY = timedelta(days=1)


class CertificateWatch:
    """Looks at the certificates' files again and again.

    Args:
        files: the certificates, as the SuperLink has just read them.
        show: prints one line.
        now: the time of day, UTC.
    """

    def __init__(
        self,
        files: CertificateFiles,
        show: Callable[[str], None],
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._files = files
        self._show = show
        self._now = now
        self._used = self._seen = self._stamp()
        self._facts = files.facts()
        self._warned = now()
        self._expired = False

    def renewed(self) -> bool:
        """Whether there are new certificates, complete and valid, that the SuperLink does not use yet; says so once."""
        stamp, before = self._stamp(), self._seen
        self._seen = stamp
        if stamp in (self._used, ()) or stamp != before:  # a change is taken once it has stood between two looks
            return False
        self._used = stamp
        try:
            require_usable(self._files, self._now())
        except NetworkSetupError as error:
            self._show(f"Error: the new certificate is not used: {error}")
            return False
        self._facts, self._expired = self._files.facts(), False
        self._show(f"The certificate {self._files.server} is new; the SuperLink starts again with it, runs go on.")
        return True

    def warn(self) -> None:
        """Say once a day that a certificate ends soon, and at once that one has ended."""
        now = self._now()
        due = now - self._warned >= WARN_EVERY
        for sentence in not_valid(self._files, self._facts, now):
            if due or not self._expired:
                self._show(f"Error: sites cannot connect: {sentence} A renewed certificate is picked up automatically.")
                self._warned, self._expired = now, True
            return
        for warning in ending_soon(self._files, self._facts, now) if due else []:
            self._show(f"Warning: {warning}")
            self._warned = now

    def _stamp(self) -> tuple[tuple[str, int, int], ...]:
        """Return what changes whenever one of the files does; empty where one is missing."""
        found = []
        for path in (self._files.ca, self._files.server, self._files.server_key):
            try:
                status = path.stat()
            except FileNotFoundError:
                return ()
            found.append((path.name, status.st_mtime_ns, status.st_ino))
        return tuple(found)
