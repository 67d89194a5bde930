"""A whole federation on this machine: a coordinator and one site for every client of a scenario, as real processes.

Everything is as between machines: TLS, keys, a file for each site, `fmtl server start` and `fmtl site start` in
processes of their own that talk over loopback.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from fmtl_datasets.scenarios.scenario import ClientEntry, Scenario
from ruamel.yaml import YAML

from fmtl.network.coordinator_folder import (
    CoordinatorFolder,
    allow_site,
    local_endpoint,
    make_coordinator,
    read_settings,
)
from fmtl.network.errors import NetworkSetupError
from fmtl.network.flower_programs import free_port, service_environment
from fmtl.network.launching import new_run
from fmtl.network.link_commands import answers
from fmtl.network.runs import follow, submit
from fmtl.network.site_keys import make_site_key
from fmtl.processes import ProcessTree, ending_leftovers

START_SECONDS = 180.0


class Rehearsal:
    """A coordinator and its sites on this machine; nothing is left running when the context ends.

    Args:
        scenario: one site is made for every client.
        folder: where everything goes; made anew, so it must not exist yet.
        show: prints one line.
        checks: whether sites check themselves before they start.
        hosts: names and addresses by which sites reach the coordinator.
        environment: what all processes' environments are made from; this process's own where left out.
    """

    def __init__(
        self,
        scenario: Scenario,
        folder: Path,
        show: Callable[[str], None],
        *,
        checks: bool = True,
        hosts: tuple[str, ...] = ("127.0.0.1",),
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self.scenario = scenario
        self.folder = folder.expanduser().absolute()
        self.coordinator = CoordinatorFolder(self.folder / "coordinator")
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        self._show = show
        self._checks = checks
        self._hosts = hosts
        self._environment = dict(os.environ if environment is None else environment)
        self._tree = ProcessTree(grace=15.0)
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        """Make keys and files for everybody; nothing is started yet."""
        if self.folder.exists():
            raise NetworkSetupError(f"{self.folder} exists already; choose another folder, or remove it.")
        make_coordinator(self.coordinator.path, self._hosts, free_port())
        for entry in self.scenario.clients:
            self.make_site(entry)
        self._stack.enter_context(ending_leftovers(self.folder))
        self._stack.enter_context(self._tree)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._stack.close()

    def make_site(self, entry: ClientEntry, *, allowed: bool = True) -> Path:
        """Make a site's folder with key and file, and let it take part; returns the file's path.

        Args:
            entry: the client.
            allowed: whether the coordinator gets to know its key.
        """
        place = self.folder / "sites" / entry.name
        pair = make_site_key(place, entry.name)
        shutil.copyfile(self.coordinator.certificates.authority, place / "ca.crt")
        if allowed:
            allow_site(self.coordinator.path, pair.public)
        content = {
            "coordinator": str(local_endpoint(read_settings(self.coordinator))),
            "authority": "ca.crt",
            "key": pair.private.name,
            "state": "state",
            "client": _as_keys(entry),
        }
        file = place / "site.yaml"
        YAML().dump(content, file)
        return file

    def site_file(self, name: str) -> Path:
        """Return the path of a site's file."""
        return self.folder / "sites" / name / "site.yaml"

    def start_coordinator(self) -> None:
        """Start the coordinator and wait until it answers and knows all sites."""
        self._start("coordinator", "server", "start", str(self.coordinator.path))
        endpoint = local_endpoint(read_settings(self.coordinator))
        self.wait_for(lambda: answers(endpoint, self.coordinator.certificates.authority), "the coordinator")
        names = set(self.coordinator.site_keys())
        self.wait_for(lambda: names <= self._registered(), "the registration of all sites")

    def start_site(self, name: str, within: Sequence[str] = (), **environment: str) -> subprocess.Popen[bytes]:
        """Start a site.

        Args:
            name: the client's name.
            within: a command that runs another one, as in `ip netns exec NAME`.
            environment: further variables of its environment.
        """
        extra = () if self._checks else ("--without-checks",)
        arguments = ("site", "start", str(self.site_file(name)), *extra)
        return self._start(name, *arguments, environment=environment, within=within)

    def run(self, values: Mapping[str, Any], name: str) -> dict[str, Any]:
        """Run to the end and return the result.

        Args:
            values: run config by key; the others take their defaults.
            name: of the run's folder.

        Raises:
            RunEndedBadlyError: the run failed.
        """
        run_id = self.submit(values, name)
        return follow(self.coordinator, run_id, self.coordinator.runs / name, self._show)

    def submit(self, values: Mapping[str, Any], name: str) -> str:
        """Start a run and return Flower's number of it."""
        source = ({**values, "scenario": self.scenario.name}, "rehearsal")
        launch = new_run(self.coordinator.path, [source], name)
        return submit(*launch)

    def flower_environment(self) -> dict[str, str]:
        """Return the environment of `flwr` commands against the coordinator."""
        return service_environment(self.coordinator.home, self._environment)

    def log(self, name: str) -> str:
        """Return what the coordinator or a site has printed."""
        path = self.folder / f"{name}.log"
        return path.read_text(errors="replace") if path.is_file() else ""

    def wait_for(self, condition: Callable[[], bool], what: str, seconds: float = START_SECONDS) -> None:
        """Wait until something holds.

        Raises:
            NetworkSetupError: it does not within the time, or the coordinator has ended; with the ends of all logs.
        """
        deadline = time.monotonic() + seconds
        while not condition():
            coordinator = self.processes.get("coordinator")
            ended = coordinator is not None and coordinator.poll() is not None
            if ended or time.monotonic() > deadline:
                ends = "\n".join(f"{name}: {self.log(name)[-500:]}" for name in self.processes)
                raise NetworkSetupError(f"{what}: not within {seconds:.0f} seconds; the ends of the logs:\n{ends}")
            time.sleep(0.1)

    def _registered(self) -> set[str]:
        path = self.coordinator.node_names
        content = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
        return {site["name"] for site in content.values()}

    def _start(
        self, name: str, *arguments: str, environment: Mapping[str, str] | None = None, within: Sequence[str] = ()
    ) -> subprocess.Popen[bytes]:
        env = {**self._environment, "PYTHONUNBUFFERED": "1", **(environment or {})}
        with (self.folder / f"{name}.log").open("ab") as log:
            command = [*within, sys.executable, "-P", "-m", "fmtl", *arguments]
            process = self._tree.start(command, env, self.folder, log)
        self.processes[name] = process
        return process


def _as_keys(entry: ClientEntry) -> dict[str, Any]:
    """Return a client's keys as they stand in a file."""
    given: dict[str, Any] = json.loads(entry.model_dump_json(by_alias=True, exclude_none=True, exclude_defaults=True))
    share = given.get("share")
    if isinstance(share, dict):
        given["share"] = {key: value for key, value in share.items() if value is not None and value != []}
    return given
