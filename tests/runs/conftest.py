"""`fmtl run` as a process of its own."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from small_flower_app import REPOSITORY, Started, pids, uses


@pytest.fixture(scope="module")
def start_run(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., Started]]:
    """Start `fmtl run` on an app in a process of its own; every process left over is killed at the end."""
    started: list[Started] = []

    def start(app: Path, *arguments: str, python_path: tuple[Path, ...] = (), cwd: Path | None = None) -> Started:
        temporary = Path(tempfile.mkdtemp(prefix="ft-", dir="/tmp"))
        out = tmp_path_factory.mktemp("out") / "run"
        env = {key: value for key, value in os.environ.items() if not key.startswith(("FLWR_", "RAY_"))}
        env |= {"TMPDIR": str(temporary), "PYTHONPATH": os.pathsep.join(map(str, python_path))}
        # Without the environment's programs on PATH, as in `.venv/bin/fmtl run` without activation.
        env["PATH"] = "/usr/bin:/bin"
        launcher = [
            sys.executable,
            "-c",
            f"import sys; sys.path.insert(0, {str(REPOSITORY)!r}); sys.argv[0] = 'fmtl'; ",
        ]
        launcher[-1] += "from fmtl.cli import main; main()"
        process = subprocess.Popen(
            [*launcher, "run", str(app), "--clients", "2", "--out", str(out), *arguments],
            env=env,
            cwd=cwd or tmp_path_factory.mktemp("cwd"),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        started.append(Started(process, out, temporary))
        return started[-1]

    yield start
    for run in started:
        for pid in pids():
            if uses(pid, run.temporary):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, 9)
        run.process.wait()
        shutil.rmtree(run.temporary, ignore_errors=True)
