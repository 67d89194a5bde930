"""A small Flower app with this project's package names, and `fmtl run` as a process of its own."""

from __future__ import annotations

import os
import shutil
import subprocess
import textwrap
import time
from dataclasses import dataclass
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]

PYPROJECT = """
    [project]
    name = "fmtl"
    version = "0.1.0"
    [tool.flwr.app]
    publisher = "fmtl"
    [tool.flwr.app.components]
    serverapp = "server_app.app:app"
    clientapp = "client_app.app:app"
    [tool.flwr.app.config]
    strategy = "local"
    scenario = "default"
    num-server-rounds = 1
    seed = 0
    out-dir = ""
    resume = false
    behaviour = "complete"
    fake.rate = 0.5
"""
SERVER = """
    import json
    import time
    from pathlib import Path

    from flwr.app import ConfigRecord, Message, RecordDict
    from flwr.serverapp import ServerApp
    from fmtl_datasets.marker import MARKER

    app = ServerApp()

    @app.main()
    def main(grid, context):
        out = Path(context.run_config["out-dir"])
        behaviour = context.run_config["behaviour"]
        if behaviour == "fail-early":
            raise RuntimeError("this server was told to fail")
        out.mkdir(parents=True)
        (out / "config.json").write_text(json.dumps({"run_config": {"behaviour": behaviour}}))
        print("round 1 begins", flush=True)
        nodes = []
        while len(nodes) < 2:
            nodes = list(grid.get_node_ids())
            time.sleep(0.1)
        messages = [Message(RecordDict({"ask": ConfigRecord({"x": 1})}), node, "train") for node in nodes]
        replies = [dict(reply.content["told"]) for reply in grid.send_and_receive(messages, timeout=120)]
        facts = {"marker": MARKER, "rate": context.run_config["fake.rate"], "clients": replies}
        (out / "facts.json").write_text(json.dumps(facts))
        if behaviour == "hang":
            time.sleep(600)
        (out / "result.json").write_text(json.dumps({"status": "completed"}))
"""
CLIENT = """
    import fmtl_strategies
    from flwr.app import ConfigRecord, Message, RecordDict
    from flwr.clientapp import ClientApp
    from fmtl_datasets.marker import MARKER

    app = ClientApp()

    @app.train()
    def train(message, context):
        told = {"datasets": MARKER, "strategies": fmtl_strategies.MARKER}
        return Message(RecordDict({"told": ConfigRecord(told)}), reply_to=message)
"""


def write_app(folder: Path, marker: str) -> Path:
    """A checkout whose packages carry a marker; `client_app` and `fmtl_datasets` begin as the project's own do."""
    for package in ("server_app", "client_app", "datasets", "fmtl_strategies"):
        folder.joinpath(package).mkdir(parents=True)
        folder.joinpath(package, "__init__.py").write_text(f"MARKER = {marker!r}\n")
    folder.joinpath("datasets", "marker.py").write_text(f"MARKER = {marker!r}\n")
    folder.joinpath("fmtl_datasets").mkdir()
    for package in ("client_app", "fmtl_datasets"):
        shutil.copy(REPOSITORY / package / "__init__.py", folder / package / "__init__.py")
    folder.joinpath("server_app", "app.py").write_text(textwrap.dedent(SERVER))
    folder.joinpath("client_app", "app.py").write_text(textwrap.dedent(CLIENT))
    folder.joinpath("pyproject.toml").write_text(textwrap.dedent(PYPROJECT))
    return folder


@dataclass
class Started:
    """A started `fmtl run`."""

    process: subprocess.Popen[str]
    out: Path
    temporary: Path

    def finish(self, timeout: float = 600.0) -> str:
        """Wait for its end and return what it printed."""
        printed, _ = self.process.communicate(timeout=timeout)
        return printed

    def wait_for(self, name: str, timeout: float = 600.0) -> None:
        """Wait for a file of its run folder."""
        deadline = time.monotonic() + timeout
        while not (self.out / name).exists():
            if self.process.poll() is not None or time.monotonic() > deadline:
                self.process.kill()
                pytest.fail(f"{name} was not written; the run printed:\n{self.process.communicate()[0]}")
            time.sleep(0.1)

    def leftovers(self) -> list[str]:
        """Processes that still use the run's temporary folder, by environment, arguments or open files."""
        return [f"{pid} {command_line(pid)}" for pid in pids() if uses(pid, self.temporary)]


def pids() -> list[int]:
    """Ids of all processes."""
    return [int(entry) for entry in os.listdir("/proc") if entry.isdigit()]


def command_line(pid: int) -> str:
    """A process's program and arguments."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
    except OSError:
        return ""


def uses(pid: int, folder: Path) -> bool:
    """Whether a process has to do with a folder."""
    needle = os.fsencode(folder)
    base = Path(f"/proc/{pid}")
    try:
        if needle in base.joinpath("environ").read_bytes() or needle in base.joinpath("cmdline").read_bytes():
            return True
    except OSError:
        return False
    return any(needle in os.fsencode(name) for name in opened_files(pid))


def opened_files(pid: int) -> list[str]:
    """Names of a process's open files; none for one that has ended. What it closes meanwhile is left out."""
    found = []
    try:
        links = list(Path(f"/proc/{pid}/fd").iterdir())
    except OSError:
        return []
    for link in links:
        try:
            found.append(os.readlink(link))
        except OSError:
            continue
    return found
