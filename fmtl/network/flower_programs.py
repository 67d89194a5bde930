"""The commands of Flower that a coordinator and a site need: one place for flags that change with every release."""

from __future__ import annotations

import os
import socket
import sys
import sysconfig
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

from fmtl.network.certificates import CertificateFiles
from fmtl.network.errors import NetworkSetupError
from fmtl.network.link import OPENING_VARIABLES
from fmtl_strategies.contract.paths import STRATEGY_PATH, strategy_folder

FIRST_VERSION, FIRST_UNSUPPORTED = (1, 41), (1, 43)
"""Versions of Flower these flags were run with: from 1.41 to before 1.43, which removes gRPC and its flags."""

_ENVIRONMENT = {
    "FLWR_DISABLE_RUNTIME_DEPENDENCY_INSTALLATION": "1",
    "FLWR_TELEMETRY_ENABLED": "0",
    "FLWR_DISABLE_UPDATE_CHECK": "1",
    "FLWR_SUPEREXEC_TASK_POLL_INTERVAL": "0.1",
    "PYTHONUNBUFFERED": "1",
}

CONNECTION = "coordinator"
"""Name of the connection that `flwr` commands of the coordinator use."""


@dataclass(frozen=True)
class Endpoint:
    """An address with a port.

    Attributes:
        host: DNS name or IP address; IPv6 without brackets.
        port: TCP port.
    """

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


@dataclass(frozen=True)
class NodeSettings:
    """How a site's node is started.

    Attributes:
        coordinator: where the coordinator listens.
        authority: its authority's certificate.
        key: the site's private key.
        port: port of the node's own interface on 127.0.0.1, used by what it starts on this machine only.
        config: node config by key; never leaves the site.
    """

    coordinator: Endpoint
    authority: Path
    key: Path
    port: int
    config: Mapping[str, str]


def require_supported_flower() -> None:
    """Refuse a version of Flower whose flags are not known here.

    Raises:
        NetworkSetupError: too old or too new.
    """
    found = version("flwr")
    numbers = tuple(int(part) for part in found.split(".")[:2] if part.isdigit())
    if not FIRST_VERSION <= numbers < FIRST_UNSUPPORTED:
        first, last = (".".join(map(str, numbers)) for numbers in (FIRST_VERSION, FIRST_UNSUPPORTED))
        raise NetworkSetupError(
            f"flwr {found} is installed; this version of fmtl starts coordinator and sites with flwr >= {first}, "
            f"< {last}. Install one of these, the same at the coordinator and at all sites."
        )


def link_command(listen: Endpoint, certificates: CertificateFiles, database: Path) -> list[str]:
    """Return the command of the link: TLS, known keys only, a database that survives it, apps in other processes.

    It runs behind a door that lets other machines use the sites' interface only (`fmtl.network.link`).
    """
    return [
        *(sys.executable, "-P", "-m", "fmtl.network.link"),
        find_program("flower-superlink"),
        "--host",
        listen.host,
        "--port",
        str(listen.port),
        "--ssl-ca-certfile",
        str(certificates.authority),
        "--ssl-certfile",
        str(certificates.server),
        "--ssl-keyfile",
        str(certificates.server_key),
        "--enable-supernode-auth",
        "--database",
        str(database),
        "--isolation",
        "process",
        "--disable-runtime-dependency-installation",
    ]


def app_runner_command(link: Endpoint, authority: Path) -> list[str]:
    """Return the command that runs server apps beside the link, so that a restarted link keeps its run."""
    program = find_program("flower-superexec")
    return [program, "--runtime-api-address", str(link), "--root-certificates", str(authority)]


def node_command(settings: NodeSettings) -> list[str]:
    """Return the command of a site's node."""
    return [
        find_program("flower-supernode"),
        "--superlink",
        str(settings.coordinator),
        "--root-certificates",
        str(settings.authority),
        "--auth-supernode-private-key",
        str(settings.key),
        "--host",
        "127.0.0.1",
        "--port",
        str(settings.port),
        "--isolation",
        "subprocess",
        "--node-config",
        " ".join(f'{key}="{_quotable(key, value)}"' for key, value in settings.config.items()),
    ]


def service_environment(home: Path, base: Mapping[str, str]) -> dict[str, str]:
    """Return the environment of coordinator or site.

    Args:
        home: folder for Flower's own files.
        base: the environment to start from.

    Returns:
        A copy with Flower confined to the home, telemetry and installation of dependencies off, this Python's programs
        first on PATH, FMTL_DATA_ROOT made absolute, and FMTL_STRATEGY_PATH set (to the current folder where it was
        not).
    """
    env = {key: value for key, value in base.items() if key not in OPENING_VARIABLES}
    env |= _ENVIRONMENT | {"FLWR_HOME": str(home), STRATEGY_PATH: str(strategy_folder(base))}
    env["PATH"] = os.pathsep.join([*map(str, _program_folders()), env.get("PATH", os.defpath)])
    if data_root := env.get("FMTL_DATA_ROOT"):
        env["FMTL_DATA_ROOT"] = str(Path(data_root).expanduser().absolute())
    return env


def find_program(name: str) -> str:
    """Return the path of a program that belongs to this Python, whether or not its folder is on PATH.

    Raises:
        NetworkSetupError: Flower is not installed for this Python.
    """
    for folder in _program_folders():
        if (folder / name).is_file():
            return str(folder / name)
    raise NetworkSetupError(
        f"The program {name!r} is not installed for {sys.executable}; install Flower there: "
        f"`{sys.executable} -m pip install 'flwr[simulation]'`."
    )


def free_port() -> int:
    """Return a TCP port of this machine that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _program_folders() -> list[Path]:
    folders = [Path(sys.executable).parent, Path(sysconfig.get_path("scripts"))]
    return list(dict.fromkeys(folder.absolute() for folder in folders))


def write_connection(home: Path, link: Endpoint, authority: Path) -> None:
    """Point the `flwr` commands that use this home to a link."""
    home.mkdir(parents=True, exist_ok=True)
    home.joinpath("config.toml").write_text(
        f'[superlink]\ndefault = "{CONNECTION}"\n\n[superlink.{CONNECTION}]\naddress = "{link}"\n'
        f'root-certificates = "{authority.absolute()}"\n',
        encoding="utf-8",
    )


def parse_endpoint(text: str, setting: str) -> Endpoint:
    """Read `host:port`.

    Raises:
        NetworkSetupError: it has another form; `setting` is named.
    """
    host, separator, port = text.strip().rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    if (
        not separator
        or not host
        or "/" in host
        or not port.isascii()
        or not port.isdigit()
        or not 0 < int(port) < 65536
    ):
        raise NetworkSetupError(
            f"{setting} = {text!r}: expected host:port, as in fl.example.org:8000, without https:// before it."
        )
    return Endpoint(host, int(port))


def _quotable(key: str, value: str) -> str:
    if '"' in value or "\\" in value or "\n" in value:
        raise NetworkSetupError(f"{key} = {value!r}: quotation marks, backslashes and line breaks cannot be used here.")
    return value
