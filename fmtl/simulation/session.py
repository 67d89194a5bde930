"""One simulated run from start to end: SuperLink, submission, log, verdict, and nothing left behind."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from fmtl.settings import ConfigValue, as_toml
from fmtl.simulation.environment import check_space, flower_environment, private_home
from fmtl.simulation.errors import SimulationError, disk_full, mentions_full_disk
from fmtl.simulation.flwr_cli import FlowerCommands, Resources, RunStatus
from fmtl.simulation.guardian import Guardian
from fmtl.simulation.interruption import SignalWatch, exclusive
from fmtl.simulation.log_view import LogFile, LogView
from fmtl.simulation.process_tree import ProcessTree
from fmtl.simulation.superlink import SuperLink, Workplace, start_superlink
from fmtl_strategies.contract.paths import STRATEGY_PATH

__all__ = ["LAUNCH_FILE", "RECORDED_STRATEGY_PATH", "RESULT_FILE", "Launch", "simulate"]

LAUNCH_FILE = "launch.json"
RESULT_FILE = "result.json"
RECORDED_STRATEGY_PATH = "strategy_path"
"""Key of launch.json: folder in which a strategy outside this project was found."""
_DRIVER = "flwr-simulation"
_NO_REASON = "An error was encountered. Ending simulation."
_TOO_SLOW = "The current node timed out during startup"
_DETAILS_PREFIX = "Simulation failed with exception: "
_SECONDS_WITHOUT_DRIVER = 10.0


@dataclass(frozen=True)
class Launch:
    """What to run.

    Attributes:
        app_dir: absolute path of the checkout whose code runs.
        run_config: complete run config; its `out-dir` is `out_dir`.
        out_dir: absolute path of the run folder, made by the server.
        resources: number of clients, and what each of them gets.
    """

    app_dir: Path
    run_config: Mapping[str, ConfigValue]
    out_dir: Path
    resources: Resources


def simulate(launch: Launch, show: Callable[[str], None]) -> dict[str, Any]:
    """Run an app in Flower's simulation and wait for its end; no process and no temporary file is left.

    Args:
        launch: what to run.
        show: prints one line of progress.

    Returns:
        The run's result, as written by the server.

    Raises:
        SimulationError: the run could not be started, failed, or left no result; the message says why.
        RunInterruptedError: a signal ended it.
    """
    check_space(launch.out_dir)
    try:
        with (
            exclusive(launch.out_dir),
            SignalWatch() as signals,
            private_home() as home,
            Guardian(home),
            ProcessTree() as tree,
            signals.listening(),
        ):
            place = Workplace(home, launch.app_dir, flower_environment(home, os.environ))
            return _Session(launch, show, tree, place).run()
    except OSError as error:
        places = f"{launch.out_dir} or of the temporary files"
        raise disk_full(error, places) or SimulationError(f"The run could not go on: {error}.") from error


class _Session:
    def __init__(self, launch: Launch, show: Callable[[str], None], tree: ProcessTree, place: Workplace) -> None:
        self._launch = launch
        self._show = show
        self._tree = tree
        self._place = place
        self._log = LogFile(launch.out_dir)
        self._superlink: SuperLink | None = None
        self._recorded = False

    def run(self) -> dict[str, Any]:
        """Start, submit, follow, judge."""
        config = self._place.home / "run-config.toml"
        config.write_text(as_toml(self._launch.run_config), encoding="utf-8")
        self._superlink = start_superlink(self._tree, self._place)
        commands = FlowerCommands(self._tree, self._place, self._check_superlink)
        run_id = commands.submit(config, self._launch.resources)
        try:
            status = self._follow(commands, run_id)
        finally:
            log = self._log.close()
        return self._judge(status, log)

    def _check_superlink(self) -> None:
        superlink = self._superlink
        if superlink is not None and superlink.process.poll() is not None:
            raise SimulationError(
                f"Flower's SuperLink ended during the run with status {superlink.process.returncode}; "
                f"the end of its log:\n{superlink.tail()}"
            )

    def _follow(self, commands: FlowerCommands, run_id: str) -> RunStatus:
        """Show and keep the log until the run has ended; a stream that breaks off is taken up again."""
        view, driver, seen = LogView(), _DriverWatch(self._tree), 0
        while True:
            for raw in commands.log_lines(run_id, skip=seen):
                if raw is not None:
                    seen += 1
                    self._log.write(raw)
                    if (line := view.line(raw)) is not None:
                        self._show(line)
                self._record_launch()
                if driver.lost():
                    break
            status = commands.status(run_id)
            if status.finished:
                return status
            if driver.lost():
                raise SimulationError(
                    f"The simulation process ended without a word, which is what happens when the system runs out of "
                    f"memory and kills it; try fewer clients at once (--cpus-per-client).\n{self._log.tail()}"
                )
            time.sleep(0.5)

    def _record_launch(self) -> None:
        """Note in the run folder, once there is one, what `fmtl resume` needs beside the run config."""
        if self._recorded or not self._launch.out_dir.is_dir():
            return
        self._recorded = True
        content = {"app_dir": str(self._launch.app_dir), **asdict(self._launch.resources)}
        if ":" in str(self._launch.run_config.get("strategy", "")):
            content[RECORDED_STRATEGY_PATH] = self._place.env[STRATEGY_PATH]
        self._launch.out_dir.joinpath(LAUNCH_FILE).write_text(json.dumps(content, indent=2) + "\n")

    def _judge(self, status: RunStatus, log: Path) -> dict[str, Any]:
        self._record_launch()
        result = _read_result(self._launch.out_dir / RESULT_FILE)
        if not status.completed:
            reason = _failure_reason(result) or self._reason_of(status)
            raise SimulationError(self._with_hint(reason, log))
        if result is None:
            raise SimulationError(
                f"The run ended but left no {self._launch.out_dir / RESULT_FILE}; the whole log is in {log}, its end:\n"
                f"{self._log.tail()}"
            )
        if (said := _failure_reason(result)) is not None:
            raise SimulationError(self._with_hint(said, log))
        return result

    def _reason_of(self, status: RunStatus) -> str:
        """Flower's reason; where it is the one it gives for every failure of clients or of Ray, the log's."""
        details = status.details.removeprefix(_DETAILS_PREFIX)
        if not details or details.startswith(_NO_REASON):
            details = self._log.last_exception or details or f"Flower reports {status.state}"
        if _TOO_SLOW in details:
            return (
                "Ray could not start within 30 seconds, its fixed limit; the machine is too busy. End other work, or "
                "start fewer runs at once."
            )
        return details

    def _with_hint(self, reason: str, log: Path) -> str:
        if mentions_full_disk(reason) or mentions_full_disk(self._log.tail()):
            return f"The run failed: no space is left on the disk of {self._launch.out_dir} or of the temporary files."
        return f"The run failed: {reason.strip()}\nThe whole log is in {log}."


class _DriverWatch:
    """Notices that the simulation's main process has gone, which Flower itself notices only after minutes."""

    def __init__(self, tree: ProcessTree) -> None:
        self._tree = tree
        self._seen = False
        self._gone_since: float | None = None
        self._next_look = 0.0

    def lost(self) -> bool:
        """Whether it ran once and has been gone for longer than Flower needs to close a finished run."""
        now = time.monotonic()
        if now >= self._next_look:
            self._next_look = now + 2.0
            there = self._tree.has_program(_DRIVER)
            self._seen = self._seen or there is True
            if there is not False or not self._seen:
                self._gone_since = None
            elif self._gone_since is None:
                self._gone_since = now
        return self._gone_since is not None and now - self._gone_since > _SECONDS_WITHOUT_DRIVER


def _read_result(path: Path) -> dict[str, Any] | None:
    if not path.is_file():
        return None
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise SimulationError(f"{path} is not valid JSON ({error}); the run did not end well.") from error
    return content if isinstance(content, dict) else None


def _failure_reason(result: Mapping[str, Any] | None) -> str | None:
    """Why the server says that the run failed; None where it says that it did not, or nothing."""
    if result is None or result.get("status") == "completed":
        return None
    return str(result.get("reason") or result.get("error") or f"the server reports status {result.get('status')!r}")
