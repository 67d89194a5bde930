"""A private place for one simulation: Flower's home folder, environment variables, a free port, the programs.

Flower's defaults are shared between runs: one daemon on one port keeps the working directory, environment and code of
whoever started it first. Two checkouts would then run each other's code, so every run here has a home of its own.
"""

from __future__ import annotations

import os
import shutil
import socket
import sys
import sysconfig
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from fmtl.simulation.errors import SimulationError, disk_full
from fmtl_strategies.contract.paths import STRATEGY_PATH, strategy_folder

__all__ = [
    "SPACE_NEEDED",
    "check_space",
    "find_program",
    "flower_environment",
    "free_bytes",
    "free_port",
    "private_home",
]

_LONGEST_HOME = 36
"""Ray's Unix sockets lie up to 68 characters below this folder, and a socket's path is limited to 104."""
SPACE_NEEDED = 256 * 2**20

_FIXED = {
    "FLWR_DISABLE_RUNTIME_DEPENDENCY_INSTALLATION": "1",
    "FLWR_TELEMETRY_ENABLED": "0",
    "FLWR_DISABLE_UPDATE_CHECK": "1",
    "FLWR_SUPEREXEC_TASK_POLL_INTERVAL": "0.1",
    "RAY_USAGE_STATS_ENABLED": "0",
    # Ray holds back lines that look alike, and progress lines of clients do.
    "RAY_DEDUP_LOGS": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "1",
    "PYTHONUNBUFFERED": "1",
}
_REMOVED = (
    # Would make the simulation join a Ray cluster that happens to run on the machine.
    *("RAY_ADDRESS", "RAY_NAMESPACE", "RAY_JOB_ID"),
    # Would let requests say themselves where they come from, or open interfaces on further ports.
    *("FORWARDED_ALLOW_IPS", "FLWR_INTERNAL_GRPC_CONTROL_API", "FLWR_INTERNAL_GRPC_FLEET_API"),
)


@contextmanager
def private_home() -> Iterator[Path]:
    """A new folder for Flower and Ray, short enough for Unix sockets, removed at the end.

    Raises:
        SimulationError: it cannot be made, for example because the disk is full.
    """
    base = Path(tempfile.gettempdir())
    if len(str(base)) + len("/fmtl-12345678") > _LONGEST_HOME:
        base = Path("/tmp")
    check_space(base)
    try:
        home = Path(tempfile.mkdtemp(prefix="fmtl-", dir=base))
    except OSError as error:
        raise disk_full(error, base) or SimulationError(
            f"A temporary folder could not be made in {base} ({error.strerror}); set TMPDIR to a folder that can be "
            f"written to."
        ) from error
    try:
        yield home
    finally:
        shutil.rmtree(home, ignore_errors=True)


def free_bytes(folder: Path) -> int:
    """Return what is free on the disk of a folder, which need not exist yet."""
    existing = next(place for place in (folder, *folder.parents) if place.exists())
    return shutil.disk_usage(existing).free


def check_space(folder: Path) -> None:
    """Refuse to start where the disk is nearly full.

    Args:
        folder: existing or not yet existing folder that will be written to.

    Raises:
        SimulationError: less than 256 MiB are free.
    """
    free = free_bytes(folder)
    if free < SPACE_NEEDED:
        raise SimulationError(
            f"Only {free // 2**20} MiB are free on the disk of {folder}, and a run needs at least "
            f"{SPACE_NEEDED // 2**20}; free some space, or choose another disk (--out for results, the environment "
            f"variable TMPDIR for temporary files)."
        )


def flower_environment(home: Path, base: Mapping[str, str]) -> dict[str, str]:
    """Environment of the SuperLink, of everything it starts, and of the `flwr` commands.

    Args:
        home: the private home.
        base: the environment to start from.

    Returns:
        A copy with Flower and Ray confined to the home, telemetry and installation of dependencies off, this Python's
        programs first on PATH, FMTL_DATA_ROOT made absolute, and FMTL_STRATEGY_PATH set (to the current folder where
        it was not).
    """
    env = {key: value for key, value in base.items() if key not in _REMOVED}
    env |= _FIXED | {"FLWR_HOME": str(home), "RAY_TMPDIR": str(home)}
    env["PATH"] = os.pathsep.join([*map(str, _program_folders()), env.get("PATH", os.defpath)])
    env[STRATEGY_PATH] = str(strategy_folder(base))
    if data_root := env.get("FMTL_DATA_ROOT"):
        env["FMTL_DATA_ROOT"] = str(Path(data_root).expanduser().absolute())
    return env


def find_program(name: str) -> str:
    """Path of a program that belongs to this Python, whether or not its folder is on PATH.

    Raises:
        SimulationError: Flower is not installed for this Python.
    """
    for folder in _program_folders():
        if (folder / name).is_file():
            return str(folder / name)
    raise SimulationError(
        f"The program {name!r} is not installed for {sys.executable}; install Flower there: "
        f"`{sys.executable} -m pip install 'flwr[simulation]'`."
    )


def free_port() -> int:
    """A TCP port of this machine that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _program_folders() -> list[Path]:
    folders = [Path(sys.executable).parent, Path(sysconfig.get_path("scripts"))]
    return list(dict.fromkeys(folder.absolute() for folder in folders))
