"""A rehearsal whose sites do what a test tells them, and ways to find and kill its processes."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
from bad_replies import NAMED
from fmtl_datasets.scenarios.scenario import ClientEntry, Scenario, load_scenario
from safetensors.numpy import load_file

from fmtl.network.control import Control
from fmtl.network.coordinator_folder import revoke_site
from fmtl.network.errors import NetworkSetupError
from fmtl.network.rehearsal import Rehearsal
from fmtl.network.runs import follow, resumed_run, submit
from fmtl.processes import processes_using
from server_app.run_folder import RunFolder

ROOT = Path(__file__).parents[2]
TINY = ROOT / "tests/support/tiny.yaml"
CABLE_ADDRESS = "10.231.77.1"
"""Address of the coordinator at its end of a cable to another network namespace."""
HOOKS = Path(__file__).parent / "hooks"
FLOWER_HEARTBEAT, QUICK_HEARTBEAT = 30, 15
"""Seconds between signs of life of a node; one that misses two counts as dead. 10 is the least that Flower takes."""

TRAINING = {"warmup-epochs": 0, "encoder-learning-rate": 0.001, "decoder-learning-rate": 0.001, "schedule": "constant"}

Arrays = dict[str, np.ndarray[Any, Any]]

_IN_PROCESS = """
import json, sys
from pathlib import Path
from fmtl.engine import run
run(json.loads(sys.argv[1]), Path(sys.argv[2]))
"""


def environment() -> dict[str, str]:
    """The environment of everything: one thread, so that sums are in the same order everywhere."""
    return {**os.environ, "OMP_NUM_THREADS": "1"}


class Federation:
    """A running coordinator and sites; what a test starts it also ends, and nothing is left.

    Args:
        scenario: a site for every client.
        folder: where everything goes; a temporary one where left out.
        heartbeat: seconds between signs of life.
    """

    def __init__(
        self, scenario: Scenario | None = None, folder: Path | None = None, heartbeat: int = FLOWER_HEARTBEAT
    ) -> None:
        self.heartbeat = heartbeat
        self.place = Path(tempfile.mkdtemp(prefix="fmtl-net-", dir="/tmp")) if folder is None else folder
        self.plans = self.place / "plans"
        self.plans.mkdir()
        self.shown: list[str] = []
        self.rehearsal = Rehearsal(
            scenario or load_scenario(str(TINY)),
            self.place / "all",
            self.shown.append,
            checks=False,
            hosts=("127.0.0.1", CABLE_ADDRESS),
            environment={**environment(), "FMTL_TEST_PLANS": str(self.plans), "FMTL_TEST_HEARTBEAT": str(heartbeat)},
        )

    def __enter__(self) -> Self:
        self.rehearsal.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.rehearsal.__exit__(kind, error, traceback)
        left = {process.pid: command(process.pid) for process in processes_using(self.place)}
        if kind is None and "FMTL_KEEP" not in os.environ:
            shutil.rmtree(self.place, ignore_errors=True)
        assert not left, f"left running: {left}"

    # Starting -------------------------------------------------------------------------------------------------------

    def start(self, *names: str) -> None:
        """Start the coordinator and these sites; all where none is named."""
        self.rehearsal.start_coordinator()
        for name in names or [entry.name for entry in self.rehearsal.scenario.clients]:
            self.start_site(name)

    def mend(self) -> None:
        """Start sites of the scenario that have ended, end all others, and forget plans."""
        self.forget()
        names = {entry.name for entry in self.rehearsal.scenario.clients}
        for name in self.rehearsal.processes.keys() - names - {"coordinator"}:
            self.remove_site(name)
        for name in sorted(names):
            if self.rehearsal.processes[name].poll() is not None:
                self.start_site(name)

    def start_site(self, name: str, within: Sequence[str] = (), **variables: str) -> subprocess.Popen[bytes]:
        """Start a site whose client follows its plan; `within` is a command that runs another one."""
        return self.rehearsal.start_site(name, within, PYTHONPATH=str(HOOKS), **variables)

    def add_site(self, entry: ClientEntry) -> Path:
        """Make a further site and wait until the coordinator knows its key; returns its file."""
        file = self.rehearsal.make_site(entry)
        self.wait_for_registration(entry.name)
        return file

    def wait_for_registration(self, name: str) -> None:
        """Wait until the coordinator knows the key of a site."""
        names = self.rehearsal.coordinator.node_names
        self.wait(lambda: f'"{name}"' in names.read_text(), f"the registration of {name}")

    def remove_site(self, name: str) -> None:
        """End a site, whether or not it still runs, and take its key away where it has one."""
        if self.rehearsal.processes[name].poll() is None:
            self.stop_site(name)
        if name in self.rehearsal.coordinator.site_keys():
            revoke_site(self.rehearsal.coordinator.path, name)

    def stop_site(self, name: str) -> None:
        """End a site as its administrator would, and wait until its processes are gone."""
        process = self.rehearsal.processes[name]
        process.terminate()
        assert process.wait(60) in (128 + signal.SIGTERM, -signal.SIGTERM)

    def experiment(self, name: str) -> str:
        """The name under which clients keep what belongs to a run."""
        found: str = json.loads((self.folder(name) / "config.json").read_text())["experiment"]
        return found

    def plan(self, client: str, kind: str = "train", **by_round: Mapping[str, Any]) -> None:
        """Tell a client what to do: `plan("one", round_2={"sleep": 5})`; replaces its earlier plan."""
        steps = {name.removeprefix("round_"): step for name, step in by_round.items()}
        beside = self.plans / f".{client}.tmp"
        beside.write_text(json.dumps({kind: steps}))
        beside.replace(self.plans / f"{client}.json")

    def calls(self, client: str) -> list[str]:
        """What a client has been asked, as in `train 2`."""
        path = self.plans / f"{client}.calls"
        return path.read_text().splitlines() if path.is_file() else []

    def forget(self) -> None:
        """Remove all plans and lists of calls."""
        for path in self.plans.iterdir():
            path.unlink()

    def site_log(self, name: str) -> str:
        """What a site's node has printed."""
        path = self.rehearsal.folder / "sites" / name / "state/site.log"
        return path.read_text(errors="replace") if path.is_file() else ""

    # Runs -----------------------------------------------------------------------------------------------------------

    def submit(self, name: str, **values: Any) -> str:
        """Start a run and return Flower's number of it."""
        return self.rehearsal.submit(config({"min_clients": 3, **values}), name)

    def follow(self, run_id: str, name: str) -> dict[str, Any]:
        """Wait for a run's end and return its result."""
        return follow(self.rehearsal.coordinator, run_id, self.folder(name), self.shown.append)

    def run(self, name: str, **values: Any) -> dict[str, Any]:
        """Run to the end."""
        return self.follow(self.submit(name, **values), name)

    def resume(self, name: str) -> dict[str, Any]:
        """Go on with a run that has failed."""
        launch = resumed_run(self.rehearsal.coordinator.path, name)
        return self.follow(submit(*launch), name)

    def status(self, run_id: str) -> tuple[str, str]:
        """Flower's state of a run, and its details."""
        return Control(self.rehearsal.coordinator).run_status(run_id)

    def folder(self, name: str) -> Path:
        """A run's folder."""
        return self.rehearsal.coordinator.runs / name

    def history(self, name: str) -> list[dict[str, Any]]:
        """A run's history."""
        return RunFolder(self.folder(name)).history()

    def progress(self, name: str) -> list[dict[str, Any]]:
        """A run's progress."""
        path = self.folder(name) / "progress.jsonl"
        whole = path.read_text().rpartition("\n")[0] if path.is_file() else ""
        return [json.loads(line) for line in whole.splitlines()]

    def wait_for_event(self, name: str, event: str, round_number: int, seconds: float = 180.0) -> None:
        """Wait until a run's progress says something of a round."""
        self.wait(
            lambda: any(e["event"] == event and e["round"] == round_number for e in self.progress(name)),
            f"{event} in round {round_number} of {name}",
            seconds,
        )

    def wait_for_call(self, client: str, call: str, seconds: float = 180.0) -> None:
        """Wait until a client has been asked something."""
        self.wait(lambda: call in self.calls(client), f"{client}: {call}", seconds)

    def wait(self, condition: Callable[[], bool], what: str, seconds: float = 180.0) -> None:
        """Wait until something holds; where it does not, the error has the ends of every run's progress as well."""
        try:
            self.rehearsal.wait_for(condition, what, seconds)
        except NetworkSetupError as error:
            for run in sorted(self.rehearsal.coordinator.runs.glob("*/progress.jsonl")):
                error.add_note(f"{run}:\n{run.read_text()[-1500:]}")
            raise

    def arrays(self, name: str, rounds: int) -> Arrays:
        """The server's arrays after the newest round and every client's own."""
        sites = self.rehearsal.folder / "sites"
        return server_arrays(self.folder(name)) | client_arrays(sites, f"*/state/{self.experiment(name)}/*", rounds)

    # Processes ------------------------------------------------------------------------------------------------------

    def processes(self, program: str, site: str | None = None) -> list[int]:
        """Ids of this federation's processes that run a program, of a site or (None) of the coordinator."""
        place = self.rehearsal.coordinator.path if site is None else self.rehearsal.folder / "sites" / site
        return sorted(p.pid for p in processes_using(place) if program in command(p.pid))

    def kill(self, program: str, site: str | None = None, seconds: float = 60.0) -> int:
        """Kill a process by force, once it is there; returns its id."""
        found: list[int] = []
        self.wait(
            lambda: bool(found.extend(self.processes(program, site)) or found),
            f"{program} of {site or 'the coordinator'}",
            seconds,
        )
        os.kill(found[0], signal.SIGKILL)
        return found[0]


def command(pid: int) -> str:
    """The command line of a process."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
    except OSError:
        return ""


def config(values: Mapping[str, Any]) -> dict[str, Any]:
    """Run config from keyword arguments, with the training of these tests."""
    return {"strategy": "fedhca2", **TRAINING, **{key.replace("_", "-"): value for key, value in values.items()}}


def run_apart(folder: Path, rounds: int) -> Path:
    """Run the same in one process of its own and return its folder."""
    settings = {**config({}), "scenario": str(TINY), "num-server-rounds": rounds}
    arguments = [sys.executable, "-c", _IN_PROCESS, json.dumps(settings), str(folder)]
    subprocess.run(arguments, cwd=ROOT, env=environment(), check=True, timeout=900, stderr=subprocess.DEVNULL)
    return folder


def arrays_apart(folder: Path, rounds: int) -> Arrays:
    """The arrays of a run on one machine: the server's, and every client's own."""
    return server_arrays(folder) | client_arrays(folder, "clients/*/*", rounds)


def server_arrays(run: Path) -> Arrays:
    """The arrays of a run's newest checkpoint."""
    checkpoint = RunFolder(run).newest_checkpoint()
    assert checkpoint is not None
    return {f"server/{name}": array for name, array in checkpoint.arrays.items()}


def client_arrays(root: Path, pattern: str, rounds: int) -> Arrays:
    """The arrays clients keep after a round, by client and name."""
    found: Arrays = {}
    for path in sorted(root.glob(f"{pattern}/round-{rounds:05d}/state.safetensors")):
        found.update({f"{path.parts[-3]}/{name}": array for name, array in load_file(path).items()})
    return found


def assert_equal(one: Arrays, other: Arrays) -> None:
    """Assert that two runs left the same bits."""
    assert one.keys() == other.keys()
    assert {name.partition("/")[0] for name in one} >= {"server", "one", "two", "three"}
    for name, array in one.items():
        assert array.dtype == other[name].dtype, name
        np.testing.assert_array_equal(array, other[name], err_msg=name)


def plan_bad_replies(federation: Federation, pairs: Sequence[tuple[str, ...]]) -> None:
    """Have two and three send a pair of bad replies in every round from the second on."""
    for place, client in enumerate(("two", "three")):
        steps = {f"round_{2 + i}": {"reply": pair[place]} for i, pair in enumerate(pairs) if place < len(pair)}
        federation.plan(client, **steps)


def assert_set_aside(line: Mapping[str, Any], pair: tuple[str, ...]) -> None:
    """Assert that the history of a round names the reason of each bad reply, and that the round goes on with one."""
    for client, kind in zip(("two", "three"), pair, strict=False):
        assert NAMED[kind] in line["set_aside"][client], kind
        assert client not in line["participants"]
    assert "one" in line["participants"]
    assert not line["skipped"]
