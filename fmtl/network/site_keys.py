"""The key by which the coordinator knows a site: ECDSA on P-384 in OpenSSH form, as Flower wants it."""

from __future__ import annotations

import base64
import hashlib
import re
from dataclasses import dataclass
from pathlib import Path

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from fmtl.network.errors import NetworkSetupError
from fmtl.network.private_files import require_private, write_private, write_public

SITE_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")


@dataclass(frozen=True)
class SiteKey:
    """A site's key pair on disk.

    Attributes:
        private: stays at the site.
        public: goes to the coordinator.
    """

    private: Path
    public: Path


def make_site_key(folder: Path, name: str) -> SiteKey:
    """Write a new key pair ``<name>.key`` and ``<name>.pub``; an existing one is never replaced.

    Args:
        folder: where to write.
        name: the client's name, as in its file.

    Raises:
        NetworkSetupError: an impossible name, or there is a key already.
    """
    if not SITE_NAME.fullmatch(name):
        raise NetworkSetupError(f"{name!r} is no name for a site; expected 1 to 64 letters, digits, '-' or '_'.")
    pair = SiteKey(folder / f"{name}.key", folder / f"{name}.pub")
    for path in (pair.private, pair.public):
        if path.exists():
            raise NetworkSetupError(
                f"{path} exists already, and with another key the coordinator would not know the site. "
                f"Use that key, or remove it first and send the coordinator the new public key."
            )
    key = ec.generate_private_key(ec.SECP384R1())
    folder.mkdir(parents=True, exist_ok=True)
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.OpenSSH, serialization.NoEncryption()
    )
    write_private(pair.private, private)
    write_public(pair.public, _public_line(key.public_key(), name))
    return pair


def require_site_key(private: Path) -> str:
    """Check a site's private key and return its fingerprint.

    Raises:
        NetworkSetupError: missing, readable by others, damaged, or of another kind.
    """
    require_private(private)
    try:
        key = serialization.load_ssh_private_key(private.read_bytes(), password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise NetworkSetupError(
            f"{private} is not a private key in OpenSSH form without a password. Make one: `fmtl keys site NAME`."
        ) from error
    except PermissionError as error:
        raise NetworkSetupError(f"the private key {private} cannot be read by this user: change its owner.") from error
    if not isinstance(key, ec.EllipticCurvePrivateKey) or key.curve.name != "secp384r1":
        raise NetworkSetupError(f"{private} is not an ECDSA key on P-384. Make one: `fmtl keys site NAME`.")
    return _fingerprint(key.public_key())


def require_public_key(public: Path) -> str:
    """Check a site's public key, as it came to the coordinator, and return its fingerprint.

    Raises:
        NetworkSetupError: missing, a private key, damaged, or of another kind.
    """
    try:
        content = public.read_bytes()
    except OSError as error:
        raise NetworkSetupError(f"the public key {public} cannot be read: {error.strerror}.") from error
    if b"PRIVATE KEY" in content:
        raise NetworkSetupError(
            f"{public} is a private key, which should never leave its site. Ask the site for its .pub file and for a "
            f"new key, because this one is no longer secret."
        )
    try:
        key = serialization.load_ssh_public_key(content)
    except (ValueError, UnsupportedAlgorithm) as error:
        raise NetworkSetupError(
            f"{public} is not a public key in OpenSSH form; ask the site for its .pub file."
        ) from error
    if not isinstance(key, ec.EllipticCurvePublicKey) or key.curve.name != "secp384r1":
        raise NetworkSetupError(
            f"{public} is not an ECDSA key on P-384; ask the site to make one: `fmtl keys site NAME`."
        )
    return _fingerprint(key)


def fingerprint_of_line(line: str) -> str:
    """Return the fingerprint of a public key in OpenSSH form that has been checked, as `ssh-keygen -l` prints it."""
    digest = hashlib.sha256(base64.b64decode(line.split()[1])).digest()
    return "SHA256:" + base64.b64encode(digest).decode("ascii").rstrip("=")


def _public_line(key: ec.EllipticCurvePublicKey, name: str) -> bytes:
    line = key.public_bytes(serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH)
    return line + b" " + name.encode("ascii") + b"\n"


def _fingerprint(key: ec.EllipticCurvePublicKey) -> str:
    line = key.public_bytes(serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH)
    return fingerprint_of_line(line.decode("ascii"))
