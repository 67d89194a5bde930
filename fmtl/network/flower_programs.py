"""The commands of Flower that a coordinator and a site need: one place for flags that change with every release."""

from __future__ import annotations

import json
import os
import socket
import ssl
import subprocess
import sys
import sysconfig
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from fmtl.network.certificates import CertificateFiles
from fmtl.network.errors import NetworkSetupError
from fmtl.network.superlink import OPENING_VARIABLES
from fmtl_strategies.contract.paths import STRATEGY_PATH, strategy_folder

if TYPE_CHECKING:
    from fmtl.network.coordinator_folder import CoordinatorFolder

FIRST_VERSION, FIRST_UNSUPPORTED = (1, 41), (1, 43)
"""Versions of Flower these flags were run with: from 1.41 to before 1.43, which removes gRPC and its flags."""

_ENVIRONMENT = {
    "FLWR_DISABLE_RUNTIME_DEPENDENCY_INSTALLATION": "1",
    "FLWR_TELEMETRY_ENABLED": "0",
    "FLWR_DISABLE_UPDATE_CHECK": "1",
    "FLWR_SUPEREXEC_TASK_POLL_INTERVAL": "0.5",
    "PYTHONUNBUFFERED": "1",
}

CONNECTION = "coordinator"
"""Name of the connection that `flwr` commands of the coordinator use."""

COMMAND_SECONDS = 120.0
"""Seconds `flwr run` may take."""


class Endpoint(NamedTuple):
    """An address with a port; IPv6 hosts stand without brackets."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def require_supported_flower() -> None:
    """Refuse a version of Flower whose flags are not known here."""
    found = version("flwr")
    numbers = tuple(int(part) for part in found.split(".")[:2] if part.isdigit())
    if not FIRST_VERSION <= numbers < FIRST_UNSUPPORTED:
        first, last = (".".join(map(str, numbers)) for numbers in (FIRST_VERSION, FIRST_UNSUPPORTED))
        raise NetworkSetupError(
            f"flwr {found} is installed; this version of fmtl starts coordinator and sites with flwr >= {first}, "
            f"< {last}. Install one of these, the same at the coordinator and at all sites."
        )


def superlink_command(listen: Endpoint, certificates: CertificateFiles, database: Path) -> list[str]:
    """Return the command of the SuperLink: TLS, known keys only, a database that survives it, apps in other processes.

    It runs behind an access filter that lets other machines use the sites' interface only (`fmtl.network.superlink`).
    """
    return [
        *(sys.executable, "-P", "-m", "fmtl.network.superlink", find_program("flower-superlink")),
        *("--host", listen.host, "--port", str(listen.port), "--database", str(database)),
        *("--ssl-ca-certfile", str(certificates.ca), "--ssl-certfile", str(certificates.server)),
        *("--ssl-keyfile", str(certificates.server_key), "--enable-supernode-auth"),
        *("--isolation", "process", "--disable-runtime-dependency-installation"),
    ]


def superexec_command(superlink: Endpoint, ca_certificate: Path) -> list[str]:
    """Return the command that runs server apps beside the SuperLink, so that a restarted SuperLink keeps its run."""
    program = find_program("flower-superexec")
    return [program, "--runtime-api-address", str(superlink), "--root-certificates", str(ca_certificate)]


def supernode_command(
    coordinator: Endpoint, ca_certificate: Path, key: Path, *, port: int, config: Mapping[str, str]
) -> list[str]:
    """Return the command of a site's SuperNode.

    Args:
        coordinator: where the coordinator listens.
        ca_certificate: of the coordinator's CA.
        key: the site's private key.
        port: port of the SuperNode's own interface on 127.0.0.1, used by what it starts on this machine only.
        config: node config by key; never leaves the site.
    """
    quoted = " ".join(f'{name}="{_quotable(name, value)}"' for name, value in config.items())
    return [
        *(find_program("flower-supernode"), "--superlink", str(coordinator)),
        *("--root-certificates", str(ca_certificate), "--auth-supernode-private-key", str(key)),
        *("--host", "127.0.0.1", "--port", str(port), "--isolation", "subprocess", "--node-config", quoted),
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
    """Return the path of a program that belongs to this Python, whether or not its folder is on PATH."""
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


def write_connection(home: Path, superlink: Endpoint, ca_certificate: Path) -> None:
    """Point the `flwr` commands that use this home to a SuperLink."""
    home.mkdir(parents=True, exist_ok=True)
    home.joinpath("config.toml").write_text(
        f'[superlink]\ndefault = "{CONNECTION}"\n\n[superlink.{CONNECTION}]\naddress = "{superlink}"\n'
        f'root-certificates = "{ca_certificate.absolute()}"\n',
        encoding="utf-8",
    )


def parse_endpoint(text: str, setting: str) -> Endpoint:
    """Read `host:port`."""
    host, separator, port = text.strip().rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    numbered = port.isascii() and port.isdigit() and 0 < int(port) < 65536
    if not separator or not host or "/" in host or not numbered:
        raise NetworkSetupError(
            f"{setting} = {text!r}: expected host:port, as in fl.example.org:8000, without https:// before it."
        )
    return Endpoint(host, int(port))


def _quotable(key: str, value: str) -> str:
    if '"' in value or "\\" in value or "\n" in value:
        raise NetworkSetupError(f"{key} = {value!r}: quotation marks, backslashes and line breaks cannot be used here.")
    return value


def start_app(folder: CoordinatorFolder, env: dict[str, str], app: Path, run_config: Path) -> str:
    """Start a run of a Flower app with `flwr run` and return Flower's number of the run.

    Args:
        folder: the coordinator's folder.
        env: environment of the command.
        app: folder of the app.
        run_config: TOML file with the run config.
    """
    full = [find_program("flwr"), "run", str(app), CONNECTION, "--run-config", str(run_config), "--format", "json"]
    try:
        done = subprocess.run(
            full, env=env, cwd=folder.path, capture_output=True, text=True, timeout=COMMAND_SECONDS, check=False
        )
    except subprocess.TimeoutExpired as error:
        raise NetworkSetupError(
            f"`flwr run` had not ended after {COMMAND_SECONDS:.0f} seconds: is the machine overloaded, or its disk "
            f"full? Look at the end of {folder.logs / 'link.log'}."
        ) from error
    try:
        answer: dict[str, Any] = json.loads("{" + done.stdout.partition("{")[2])
    except json.JSONDecodeError:
        answer = {}
    if not answer.get("success"):
        reason = answer.get("error-message") or (done.stdout + done.stderr).strip()[-1000:] or "it gave no reason"
        raise NetworkSetupError(f"Flower refused `flwr run`: {reason}")
    return str(answer["run-id"])


def answers(superlink: Endpoint, ca_certificate: Path) -> bool:
    """Whether a SuperLink answers there with a certificate signed by the CA."""
    import httpx

    context = ssl.create_default_context(cafile=str(ca_certificate))
    try:
        return httpx.get(f"https://{superlink}/health", verify=context, timeout=2, trust_env=False).status_code == 200
    except httpx.HTTPError:
        return False
