"""A coordinator's folder: its settings, certificates, the keys of its sites, and what the SuperLink has to remember.

coordinator.yaml        where it listens and by which names sites reach it
certificates/           ca.key, ca.crt (for the sites), server.key, server.crt
sites/NAME.pub          one public key for every site that may take part; removing the file shuts the site out
sites.json              which node number belongs to which site, written by the coordinator
link.db                 the SuperLink's memory: registered keys, messages under way
flower/                 Flower's own files
logs/
runs/                   run folders
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

from fmtl_datasets.scenarios.scenario_file import ScenarioError, ScenarioText, check_keys, read_scenario_text
from fmtl_datasets.scenarios.share import StrictModel
from pydantic import Field, ValidationError

from fmtl.network.certificates import CertificateFiles, make_ca, make_server_certificate, require_hosts
from fmtl.network.errors import NetworkSetupError
from fmtl.network.flower_programs import Endpoint
from fmtl.network.private_files import write_public
from fmtl.network.site_keys import SITE_NAME, require_public_key

FILE_NAME = "coordinator.yaml"
DEFAULT_PORT = 8000


class CoordinatorSettings(StrictModel):
    """The content of ``coordinator.yaml``.

    Attributes:
        address: IP address to listen on: 0.0.0.0 for all of this machine's, 127.0.0.1 for this machine only.
        port: TCP port to listen on; the only one that has to be open to the sites.
        hosts: DNS names and IP addresses by which sites reach it; the certificate is made for them.
    """

    address: Annotated[str, Field(min_length=1)] = "0.0.0.0"  # noqa: S104 - sites are on other machines
    port: Annotated[int, Field(ge=1, le=65535, strict=True)] = DEFAULT_PORT
    hosts: Annotated[tuple[str, ...], Field(min_length=1)]


class CoordinatorFolder:
    """Where a coordinator keeps everything, as listed above; nothing is read or made here."""

    def __init__(self, path: Path) -> None:
        self.path = path.expanduser().absolute()
        self.settings_file = self.path / FILE_NAME
        self.certificates = CertificateFiles(self.path / "certificates")
        self.sites = self.path / "sites"
        self.node_names = self.path / "sites.json"
        self.database = self.path / "link.db"
        self.home = self.path / "flower"
        self.logs = self.path / "logs"
        self.runs = self.path / "runs"
        self.lock = self.path / "lock"

    def key_files(self) -> list[Path]:
        """Return the files that are to hold public keys of sites, sorted."""
        try:
            return sorted(path for path in self.sites.iterdir() if path.suffix == ".pub")
        except OSError as error:
            raise NetworkSetupError(
                f"{self.sites}, the folder of the sites' keys, cannot be read: {error.strerror}. Put it back, or make "
                f"an empty one: without keys no site may take part."
            ) from error

    def site_keys(self) -> dict[str, Path]:
        """Return the public keys of the sites by name, sorted; a file that holds none, or has no site's name, fails."""
        files = self.key_files()
        for path in files:
            require_site_name(path)
            require_public_key(path)
        return {path.stem: path for path in files}


def require_site_name(key: Path) -> str:
    """Return the name of the site whose key a file holds."""
    if not SITE_NAME.fullmatch(key.stem):
        raise NetworkSetupError(f"{key}: a site's name is 1 to 64 letters, digits, '-' or '_'; rename the file.")
    return key.stem


def make_coordinator(path: Path, hosts: tuple[str, ...], port: int = DEFAULT_PORT) -> CoordinatorFolder:
    """Make a new coordinator's folder with settings and certificates.

    Args:
        path: the folder; it must not hold a coordinator yet.
        hosts: names and addresses by which sites reach it.
        port: where it will listen.
    """
    folder = CoordinatorFolder(path)
    _require_new(folder)
    require_hosts(hosts)
    try:
        settings = CoordinatorSettings(hosts=hosts, port=port)
    except ValidationError as error:
        raise NetworkSetupError("\n".join(map(_finding, error.errors()))) from error
    folder.path.mkdir(parents=True, exist_ok=True)
    folder.path.chmod(0o700)
    make_ca(folder.certificates, organisation="fmtl coordinator")
    make_server_certificate(folder.certificates, settings.hosts)
    folder.sites.mkdir(exist_ok=True)
    write_public(folder.settings_file, _as_yaml(settings).encode())
    return folder


def _require_new(folder: CoordinatorFolder) -> None:
    if folder.settings_file.exists():
        raise NetworkSetupError(f"{folder.settings_file} exists already; choose another folder, or edit that file.")
    for made in (folder.certificates.ca_key, folder.certificates.ca):
        if made.exists():
            raise NetworkSetupError(
                f"{made} exists already, but {folder.settings_file} does not. Where sites use this CA, put that "
                f"file back; otherwise remove {folder.certificates.folder} and give the command again."
            )


def read_settings(folder: CoordinatorFolder) -> CoordinatorSettings:
    """Read ``coordinator.yaml``."""
    path = folder.settings_file
    if not path.is_file():
        raise NetworkSetupError(
            f"{path} does not exist, so {folder.path} is no coordinator's folder. "
            f"Make one: `fmtl keys coordinator {folder.path} --host NAME`."
        )
    text = _read_text(path)
    problems = check_keys(text, (), text.content, CoordinatorSettings.file_keys())
    try:
        settings = CoordinatorSettings.model_validate(text.content)
    except ValidationError as error:
        problems += [f"{text.where(*item['loc'])}: {_finding(item)}" for item in error.errors()]
        raise NetworkSetupError("\n".join(problems)) from error
    return settings


def _read_text(path: Path) -> ScenarioText:
    try:
        return read_scenario_text(path, "coordinator's settings file", "address, port and hosts")
    except ScenarioError as error:
        raise NetworkSetupError(str(error)) from error


def local_endpoint(settings: CoordinatorSettings) -> Endpoint:
    """Return the address at which this machine itself reaches the coordinator."""
    everywhere = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - a comparison, nothing is bound
    return Endpoint(everywhere.get(settings.address, settings.address), settings.port)


def _finding(item: Any) -> str:
    key = ".".join(str(part) for part in item["loc"])
    return f"{key} = {item['input']!r}: {str(item['msg'])[:1].lower()}{str(item['msg'])[1:]}."


def _as_yaml(settings: CoordinatorSettings) -> str:
    # As JSON, for some hosts are no plain YAML: `::1`, `*.example.org`.
    hosts = json.dumps(settings.hosts)
    return (
        f"# Where the coordinator listens. Only this port has to be open to the sites.\n"
        f"address: {settings.address}\nport: {settings.port}\n"
        f"# Names and addresses by which sites reach it; after a change: fmtl keys renew\nhosts: {hosts}\n"
    )


def allow_site(path: Path, key: Path) -> tuple[str, str]:
    """Put a site's public key where the coordinator looks; returns the site's name and the key's fingerprint."""
    folder = CoordinatorFolder(path)
    read_settings(folder)
    fingerprint = require_public_key(key)
    name = require_site_name(key)
    folder.sites.mkdir(exist_ok=True)
    if any(require_public_key(path) == fingerprint for path in folder.sites.glob("*.revoked")):
        raise NetworkSetupError(
            f"{key} has been revoked, and Flower takes no key a second time. Ask the site to make a new key: "
            f"`fmtl keys site {name}`."
        )
    for other, known in folder.site_keys().items():
        same_key = require_public_key(known) == fingerprint
        if other == name and not same_key:
            raise NetworkSetupError(
                f"site {name} has another key already; if it has made a new one, `fmtl server revoke` the old first."
            )
        if other != name and same_key:
            raise NetworkSetupError(f"this is the key of site {other}; every site needs a key of its own.")
    write_public(folder.sites / f"{name}.pub", key.read_bytes())
    return name, fingerprint


def revoke_site(path: Path, name: str) -> Path:
    """Take a site's key from where the coordinator looks; returns where it is kept."""
    folder = CoordinatorFolder(path)
    read_settings(folder)
    # By their names only: another site's key that cannot be read must not keep this one in.
    keys = {key.stem: key for key in folder.key_files() if SITE_NAME.fullmatch(key.stem)}
    if name not in keys:
        raise NetworkSetupError(f"no site is called {name!r}; there are {', '.join(keys) or 'none'}.")
    kept = keys[name].with_suffix(".revoked")
    number = 1
    while kept.exists():
        number += 1
        kept = kept.with_name(f"{name}.{number}.revoked")
    keys[name].replace(kept)
    return kept
