"""`flwr run` runs the code of the checkout it was given, wherever Flower's daemon was started."""

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.support.small_flower_app import write_app

pytestmark = [
    pytest.mark.long,
    pytest.mark.skipif(sys.platform != "linux", reason="Ray's simulation is tried on Linux"),
]

PROGRAMS = Path(sys.executable).parent


@contextmanager
def daemon(folder: Path) -> Iterator[dict[str, str]]:
    """Flower's SuperLink for simulations, started in a folder; gives the environment of `flwr` against it."""
    home = Path(tempfile.mkdtemp(prefix="fr-", dir="/tmp"))  # Ray's sockets have short paths only
    env = {key: value for key, value in os.environ.items() if not key.startswith(("FLWR_", "RAY_", "FMTL_"))}
    env |= {"FLWR_HOME": str(home), "RAY_TMPDIR": str(home), "FLWR_TELEMETRY_ENABLED": "0"}
    env |= {"PATH": f"{PROGRAMS}:{os.environ['PATH']}", "FLWR_DISABLE_RUNTIME_DEPENDENCY_INSTALLATION": "1"}
    from fmtl.network.flower_programs import free_port

    port = free_port()
    (home / "config.toml").write_text(
        f'[superlink]\ndefault = "here"\n[superlink.here]\naddress = "127.0.0.1:{port}"\ninsecure = true\n'
    )
    command = [PROGRAMS / "flower-superlink", "--insecure", "--simulation", "--isolation", "subprocess"]
    link = subprocess.Popen([*command, "--host", "127.0.0.1", "--port", str(port)], env=env, cwd=folder)
    try:
        yield env
    finally:
        link.terminate()
        link.wait(60)
        shutil.rmtree(home, ignore_errors=True)


def facts(app: Path, env: dict[str, str], out: Path) -> dict[str, Any]:
    """Run a small app with two clients; what its server wrote."""
    command: list[str | Path] = [PROGRAMS / "flwr", "run", app, "here"]
    command += ["--federation-config", "num-supernodes=2 client-resources-num-cpus=1"]
    command += ["--run-config", f"out-dir='{out}'"]
    deadline, printed = time.monotonic() + 300, ""
    while "Successfully" not in printed and time.monotonic() < deadline:  # the daemon needs a while to answer
        printed = subprocess.run(command, env=env, cwd=out.parent, capture_output=True, text=True).stdout
    while not (out / "result.json").exists():
        assert time.monotonic() < deadline, printed
        time.sleep(0.2)
    content: dict[str, Any] = json.loads((out / "facts.json").read_text())
    return content


def test_a_checkout_runs_its_own_code_where_the_daemon_was_started_in_another(tmp_path: Path) -> None:
    first, second = write_app(tmp_path / "first", "first"), write_app(tmp_path / "second", "second")
    with daemon(second) as env:
        for name, app in (("first", first), ("second", second)):
            found = facts(app, env, tmp_path / f"out-{name}")
            assert found["marker"] == name
            assert found["clients"] == [{"datasets": name, "strategies": name}] * 2
