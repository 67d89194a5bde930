"""The three `flwr` commands that a simulation needs: run, log and list. They are used, not their Python internals."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from queue import Empty, Queue
from threading import Thread
from typing import Any

from fmtl.simulation.environment import find_program
from fmtl.simulation.errors import SimulationError
from fmtl.simulation.process_tree import ProcessTree
from fmtl.simulation.superlink import CONNECTION, Workplace

__all__ = ["FlowerCommands", "Resources", "RunStatus"]

_COMMAND_TIMEOUT = 120.0


@dataclass(frozen=True)
class Resources:
    """What the simulation gives to clients.

    Attributes:
        clients: number of simulated clients.
        cpus_per_client: CPU cores reserved for each client that works; decides how many work at once.
        gpus_per_client: share of a GPU for each; with 0, clients see no GPU.
    """

    clients: int
    cpus_per_client: int = 1
    gpus_per_client: float = 0.0

    def as_flag(self) -> str:
        """The value of `flwr run --federation-config`."""
        return (
            f"num-supernodes={self.clients} client-resources-num-cpus={self.cpus_per_client} "
            f"client-resources-num-gpus={float(self.gpus_per_client)}"
        )


@dataclass(frozen=True)
class RunStatus:
    """What Flower says of a run.

    Attributes:
        state: `pending`, `starting`, `running`, or `finished:` with completed, failed or stopped.
        details: text of the exception that ended it, or empty.
    """

    state: str
    details: str

    @property
    def finished(self) -> bool:
        """Whether it has ended, well or not."""
        return self.state.startswith("finished")

    @property
    def completed(self) -> bool:
        """Whether it has ended well."""
        return self.state == "finished:completed"


class FlowerCommands:
    """Runs `flwr` commands against the private SuperLink.

    Args:
        tree: owner of the processes.
        place: home, working directory and environment.
        check: called while waiting; raises where waiting has become pointless.
    """

    def __init__(self, tree: ProcessTree, place: Workplace, check: Callable[[], None]) -> None:
        self._tree = tree
        self._place = place
        self._check = check
        self._program = find_program("flwr")

    def submit(self, run_config: Path, resources: Resources) -> str:
        """`flwr run`: pack the app and start the run.

        Args:
            run_config: TOML file of run config values.
            resources: what clients get.

        Returns:
            Flower's number of the run.

        Raises:
            SimulationError: Flower did not take it, with its reason.
        """
        options = ["--run-config", str(run_config), "--federation-config", resources.as_flag()]
        answer = self._json("run", str(self._place.app_dir), CONNECTION, *options)
        return str(answer["run-id"])

    def status(self, run_id: str) -> RunStatus:
        """`flwr list`: how the run stands."""
        runs = self._json("list", CONNECTION, "--run-id", run_id)["runs"]
        if not runs:
            raise SimulationError(f"Flower's SuperLink knows no run {run_id}; it was started again or lost its state.")
        details = str(runs[0].get("status-details", ""))
        return RunStatus(str(runs[0]["status"]), "" if details == "N/A" else details)

    def log_lines(self, run_id: str, skip: int = 0) -> Iterator[str | None]:
        """`flwr log --stream`: lines as they come, and None after every 0.2 s without one, until the stream ends.

        Args:
            run_id: the run.
            skip: so many lines from the start are left out, which an earlier stream gave already.
        """
        process = self._tree.start(
            [self._program, "log", run_id, CONNECTION, "--stream"],
            self._place.env,
            self._place.app_dir,
            subprocess.PIPE,
        )
        lines: Queue[bytes | None] = Queue()
        Thread(target=_pump, args=(process, lines), daemon=True).start()
        while True:
            self._check()
            try:
                line = lines.get(timeout=0.2)
            except Empty:
                yield None
                continue
            if line is None:
                return
            if skip:
                skip -= 1
                continue
            yield line.decode(errors="replace")

    def _json(self, command: str, *arguments: str) -> dict[str, Any]:
        """Run one command with JSON output (its exit status says nothing) and return what it printed."""
        output = self._place.home / f"{command}.out"
        full = [self._program, command, *arguments, "--format", "json"]
        with output.open("wb") as file:
            process = self._tree.start(full, self._place.env, self._place.app_dir, file)
        deadline = time.monotonic() + _COMMAND_TIMEOUT
        while process.poll() is None:
            self._check()
            if time.monotonic() > deadline:
                raise SimulationError(f"`flwr {command}` gave no answer within {_COMMAND_TIMEOUT:.0f} seconds.")
            time.sleep(0.05)
        text = output.read_text(errors="replace")
        answer = _last_object(text)
        if answer is None:
            raise SimulationError(f"`flwr {command}` failed; it printed:\n{text.strip() or '(nothing)'}")
        if not answer.get("success"):
            reason = str(answer.get("error-message", "it gave no reason")).strip().rstrip(".")
            raise SimulationError(f"Flower refused `flwr {command}`: {reason}.")
        return answer


def _pump(process: subprocess.Popen[bytes], lines: Queue[bytes | None]) -> None:
    """Move lines from a process to a queue; None marks the end."""
    if process.stdout is not None:
        for line in process.stdout:
            lines.put(line)
    lines.put(None)


def _last_object(text: str) -> dict[str, Any] | None:
    """The last JSON object that begins a line: warnings may stand before it."""
    decoder = json.JSONDecoder()
    found = None
    position = 0
    for line in text.splitlines(keepends=True):
        if line.startswith("{"):
            try:
                value, _ = decoder.raw_decode(text, position)
            except json.JSONDecodeError:
                value = None
            found = value if isinstance(value, dict) else found
        position += len(line)
    return found
