"""The key by which the coordinator knows a site: ECDSA on P-384 in OpenSSH form, as Flower wants it."""

from __future__ import annotations

import base64
import hashlib
import re
from pathlib import Path
from typing import NamedTuple

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from fmtl.network.errors import NetworkSetupError
from fmtl.network.private_files import load_key_file, require_private, write_private, write_public

SITE_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")
_MAKE_ONE = "Make one: `fmtl keys site NAME`."
_ASK_THE_SITE = "Ask the site for its .pub file, made by `fmtl keys site NAME`."


class SiteKey(NamedTuple):
    """A site's key pair on disk: the private half stays at the site, the public one goes to the coordinator."""

    private: Path
    public: Path


def make_site_key(folder: Path, name: str) -> SiteKey:
    """Write a new key pair ``<name>.key`` and ``<name>.pub``; an existing one is never replaced.

    Args:
        folder: where to write.
        name: the client's name, as in its file.
    """
    if not SITE_NAME.fullmatch(name):
        raise NetworkSetupError(f"{name!r} is no name for a site; expected 1 to 64 letters, digits, '-' or '_'.")
    pair = SiteKey(folder / f"{name}.key", folder / f"{name}.pub")
    for path in pair:
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
    write_public(pair.public, f"{_openssh(key.public_key())} {name}\n".encode("ascii"))
    return pair


def require_site_key(private: Path) -> str:
    """Return the fingerprint of a site's private key; refuse one that is of another kind or that others can read."""
    require_private(private)
    expected = "an ECDSA key on P-384 in OpenSSH form without a password"

    def load(content: bytes) -> str:
        key = serialization.load_ssh_private_key(content, password=None)
        if not isinstance(key, ec.EllipticCurvePrivateKey):
            raise ValueError
        return _fingerprint(key.public_key())

    return load_key_file(private, load, expected, _MAKE_ONE)


def require_public_key(public: Path) -> str:
    """Return the fingerprint of a site's public key as it came to the coordinator; refuse another kind of key."""

    def load(content: bytes) -> str:
        if b"PRIVATE KEY" in content:
            raise NetworkSetupError(
                f"{public} is a private key, which should never leave its site. Ask the site for its .pub file and for "
                f"a new key, because this one is no longer secret."
            )
        return _fingerprint(serialization.load_ssh_public_key(content))

    return load_key_file(public, load, "a public key in OpenSSH form, ECDSA on P-384", _ASK_THE_SITE)


def fingerprint_of_line(line: str) -> str:
    """Return the fingerprint of a public key in OpenSSH form that has been checked, as `ssh-keygen -l` prints it."""
    digest = hashlib.sha256(base64.b64decode(line.split()[1])).digest()
    return "SHA256:" + base64.b64encode(digest).decode("ascii").rstrip("=")


def _openssh(key: ec.EllipticCurvePublicKey) -> str:
    return key.public_bytes(serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH).decode("ascii")


def _fingerprint(key: object) -> str:
    """Return a key's fingerprint; a ValueError for one that is not ECDSA on P-384."""
    if not isinstance(key, ec.EllipticCurvePublicKey) or key.curve.name != "secp384r1":
        raise ValueError("another kind of key")
    return fingerprint_of_line(_openssh(key))
