"""Flower's SuperLink for one simulation, on a port of its own."""

from __future__ import annotations

import os
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from fmtl.simulation.environment import find_program, free_port
from fmtl.simulation.errors import SimulationError, mentions_full_disk
from fmtl.simulation.process_tree import ProcessTree

__all__ = ["CONNECTION", "SuperLink", "Workplace", "start_superlink"]

CONNECTION = "fmtl"
"""Name of the connection in the private config.toml."""
_ATTEMPTS = 5
_START_TIMEOUT = 180.0
_PORT_TAKEN = ("address already in use", "Errno 98", "Errno 48")


@dataclass(frozen=True)
class Workplace:
    """Where a simulation runs.

    Attributes:
        home: private home of Flower and Ray.
        app_dir: the checkout; working directory of everything that is started, so that it finds its own code.
        env: environment of everything that is started.
    """

    home: Path
    app_dir: Path
    env: dict[str, str]

    @property
    def log(self) -> Path:
        """The SuperLink's own log."""
        return self.home / "superlink.log"


@dataclass(frozen=True)
class SuperLink:
    """A running SuperLink.

    Attributes:
        process: its process.
        port: where it listens, on 127.0.0.1.
        log: its log file.
    """

    process: subprocess.Popen[bytes]
    port: int
    log: Path

    def tail(self, lines: int = 15) -> str:
        """The last lines of its log."""
        return _tail(self.log, lines)


def start_superlink(tree: ProcessTree, place: Workplace, choose_port: Callable[[], int] = free_port) -> SuperLink:
    """Start a SuperLink, wait until it answers, and point the private home's `flwr` connection to it.

    Args:
        tree: owner of the process.
        place: home, working directory and environment.
        choose_port: proposes a port; asked again when another program took the port in between.

    Raises:
        SimulationError: it does not start; the message ends with the tail of its log.
    """
    program = find_program("flower-superlink")
    tried = []
    for _ in range(_ATTEMPTS):
        port = choose_port()
        tried.append(str(port))
        superlink = _launch(tree, place, program, port)
        if _wait_until_ready(superlink):
            _write_connection(place.home, port)
            return superlink
        if not any(sign in superlink.tail(40) for sign in _PORT_TAKEN):
            raise SimulationError(_death_notice(superlink))
    raise SimulationError(
        f"Flower's SuperLink found no free port on 127.0.0.1: other programs took {', '.join(tried)} before it could. "
        f"Start the run again."
    )


def _launch(tree: ProcessTree, place: Workplace, program: str, port: int) -> SuperLink:
    """Start with the flags of Flower's managed SuperLink, but its state in memory: runs keep their own checkpoints."""
    command = [program, "--insecure", "--simulation", "--isolation", "subprocess"]
    command += ["--host", "127.0.0.1", "--port", str(port)]
    with place.log.open("wb") as log:
        process = tree.start(command, place.env, place.app_dir, log)
    return SuperLink(process, port, place.log)


def _wait_until_ready(superlink: SuperLink) -> bool:
    """Wait for an answer on the port from this very process; False when the process has ended."""
    deadline = time.monotonic() + _START_TIMEOUT
    while superlink.process.poll() is None:
        if _answers(superlink.port) and _listens(superlink.process.pid, superlink.port):
            return True
        if time.monotonic() > deadline:
            raise SimulationError(
                f"Flower's SuperLink did not answer within {_START_TIMEOUT:.0f} seconds; the end of its log:\n"
                f"{superlink.tail()}"
            )
        time.sleep(0.1)
    return False


def _answers(port: int) -> bool:
    try:
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(
            f"http://127.0.0.1:{port}/health", timeout=2
        ) as response:
            return bool(response.status == 200)
    except (urllib.error.URLError, OSError):
        return False


def _listens(pid: int, port: int) -> bool:
    """Whether the process itself listens on the port: another run's SuperLink would answer just as well."""
    table = Path("/proc/net/tcp")
    if not table.exists():
        return True
    rows = (line.split() for line in table.read_text().splitlines()[1:])
    sockets = {f"socket:[{row[9]}]" for row in rows if row[3] == "0A" and int(row[1].rpartition(":")[2], 16) == port}
    opened = set()
    for descriptor in Path(f"/proc/{pid}/fd").glob("*"):
        try:
            opened.add(os.readlink(descriptor))
        except OSError:
            continue
    return bool(sockets & opened)


def _write_connection(home: Path, port: int) -> None:
    home.joinpath("config.toml").write_text(
        f'[superlink]\ndefault = "{CONNECTION}"\n\n[superlink.{CONNECTION}]\naddress = "127.0.0.1:{port}"\n'
        f"insecure = true\n"
    )


def _death_notice(superlink: SuperLink) -> str:
    tail = superlink.tail()
    if mentions_full_disk(tail):
        return f"Flower's SuperLink ended because the disk of {superlink.log.parent} is full; free some space."
    return f"Flower's SuperLink ended at its start with status {superlink.process.poll()}; the end of its log:\n{tail}"


def _tail(path: Path, lines: int) -> str:
    if not path.is_file():
        return "(no log)"
    return "\n".join(path.read_text(errors="replace").splitlines()[-lines:]) or "(empty log)"
