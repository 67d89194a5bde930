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
from typing import Any, NamedTuple, Self

from fmtl_datasets.scenarios.scenario import ClientEntry, Scenario, load_scenario
from ruamel.yaml import YAML

from fmtl.errors import RunInterruptedError
from fmtl.interruption import SignalWatch
from fmtl.network.coordinator_folder import (
    CoordinatorFolder,
    allow_site,
    local_endpoint,
    make_coordinator,
    read_settings,
)
from fmtl.network.disk_space import require_space
from fmtl.network.errors import NetworkSetupError
from fmtl.network.flower_programs import answers, free_port, service_environment
from fmtl.network.runs import check_run_config, follow, new_run, submit
from fmtl.network.site_keys import make_site_key
from fmtl.network.site_register import read_names
from fmtl.processes import ProcessTree, ending_leftovers
from fmtl.settings import default_settings, merge_all
from fmtl_strategies.registry import in_force

START_SECONDS = 180.0
CHECK_SECONDS = 600.0
_THREADS = "OMP_NUM_THREADS"


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
        shutil.copyfile(self.coordinator.certificates.ca, place / "ca.crt")
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
        self.wait_for(lambda: answers(endpoint, self.coordinator.certificates.ca), "the coordinator")
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
        return submit(*new_run(self.coordinator.path, [source], name))

    def flower_environment(self) -> dict[str, str]:
        """Return the environment of `flwr` commands against the coordinator."""
        return service_environment(self.coordinator.home, self._environment)

    def log(self, name: str) -> str:
        """Return what the coordinator or a site has printed."""
        path = self.folder / f"{name}.log"
        return path.read_text(errors="replace") if path.is_file() else ""

    def wait_for(self, condition: Callable[[], bool], what: str, seconds: float = START_SECONDS) -> None:
        """Wait until something holds."""
        deadline = time.monotonic() + seconds
        while not condition():
            coordinator = self.processes.get("coordinator")
            ended = coordinator is not None and coordinator.poll() is not None
            if ended or time.monotonic() > deadline:
                ends = "\n".join(f"{name}: {self.log(name)[-500:]}" for name in self.processes)
                raise NetworkSetupError(f"{what}: not within {seconds:.0f} seconds; the ends of the logs:\n{ends}")
            time.sleep(0.1)

    def _registered(self) -> set[str]:
        return {site["name"] for site in read_names(self.coordinator.node_names).values()}

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


class Plan(NamedTuple):
    """What to rehearse.

    Attributes:
        scenario: name or path; every client becomes a site.
        strategies: run one after another.
        values: run config by key.
        out: new folder for the run folders.
        keep: whether keys, site files, states and logs stay, in `out`/federation.
    """

    scenario: str
    strategies: tuple[str, ...]
    values: Mapping[str, Any]
    out: Path
    keep: bool


def rehearse(plan: Plan, show: Callable[[str], None]) -> list[Path]:
    """Rehearse a plan and return the run folders.

    After a failure everything is kept, for the logs; after an interruption nothing.

    Args:
        plan: what to do.
        show: prints one line.

    Raises:
        RunInterruptedError: Ctrl-C or SIGTERM.
    """
    out = plan.out.expanduser().absolute()
    if out.exists():
        raise NetworkSetupError(f"--out {plan.out} exists already; choose another folder, or remove it.")
    scenario = load_scenario(plan.scenario)
    _check_settings(plan)
    require_space(out)
    federation = out / "federation"
    environment = {**os.environ, _THREADS: os.environ.get(_THREADS, str(_threads(len(scenario.clients))))}
    try:
        with (
            SignalWatch() as signals,
            Rehearsal(scenario, federation, show, environment=environment) as rehearsal,
            signals.listening(),
        ):
            _start(rehearsal, show)
            for strategy in plan.strategies:
                show(f"{strategy}:")
                rehearsal.run(_values_for(plan, strategy), strategy)
            runs = rehearsal.coordinator.runs
    except RunInterruptedError:
        shutil.rmtree(out)
        raise
    except NetworkSetupError as error:
        raise NetworkSetupError(f"{error}\nKeys, files and logs of the rehearsal are in {federation}.") from error
    for strategy in plan.strategies:
        shutil.copytree(runs / strategy, out / strategy)
    if not plan.keep:
        shutil.rmtree(federation)
    return [out / strategy for strategy in plan.strategies]


def _check_settings(plan: Plan) -> None:
    """Refuse a setting that a run would refuse, before anything is started."""
    repeated = sorted({name for name in plan.strategies if plan.strategies.count(name) > 1})
    if repeated:
        raise NetworkSetupError(f"--strategy {repeated[0]} is given twice; name every strategy once.")
    for strategy in plan.strategies:
        if Path(strategy).name != strategy or ":" in strategy:
            raise NetworkSetupError(f"--strategy {strategy}: a rehearsal knows the strategies of `fmtl strategies`.")
        check_run_config(merge_all(default_settings(), [(_values_for(plan, strategy), "rehearsal")]))
    reached = {key for strategy in plan.strategies for key in _values_for(plan, strategy)}
    for key, value in plan.values.items():
        if key not in reached:
            raise NetworkSetupError(
                f"--set {key} = {value!r} has no effect: {', '.join(plan.strategies)} do not read it. Leave it out, or "
                f"rehearse the strategy it belongs to with --strategy."
            )


def _values_for(plan: Plan, strategy: str) -> dict[str, Any]:
    """What was set for all strategies, without the parameters that this one does not read."""
    values = {**plan.values, "strategy": strategy}
    read = in_force(strategy, values)
    return {key: value for key, value in values.items() if "." not in key or read.reads(key)}


def _start(rehearsal: Rehearsal, show: Callable[[str], None]) -> None:
    names = [entry.name for entry in rehearsal.scenario.clients]
    show(f"Keys and files for a coordinator and {len(names)} sites are made; the coordinator starts.")
    rehearsal.start_coordinator()
    show(f"The coordinator listens and knows {', '.join(names)}; the sites check themselves and start.")
    for name in names:
        rehearsal.start_site(name)
    waiting = set(names)

    def all_started() -> bool:
        for name in sorted(waiting):
            if " takes part at " in rehearsal.log(name):
                waiting.discard(name)
                show(f"Site {name} takes part.")
            elif rehearsal.processes[name].poll() is not None:
                raise NetworkSetupError(f"site {name} did not start:\n{rehearsal.log(name)[-2000:]}")
        return not waiting

    rehearsal.wait_for(all_started, "the start of all sites", CHECK_SECONDS)


def _threads(sites: int) -> int:
    """Sites on one machine share its cores, instead of each taking all of them."""
    return max(1, (os.cpu_count() or 1) // sites)
