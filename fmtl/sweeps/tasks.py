"""The runs of a sweep as tasks of a Ray cluster, each of which does its clients one after another."""

from __future__ import annotations

import gc
import os
import sys
import time
import traceback
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fmtl.engine.federated_run import LOG_FILE, run
from fmtl.engine.options import Engine
from fmtl.engine.ray_cluster import connected, starting_cluster
from fmtl.sweeps.plan import Job

Verdict = tuple[str, str | None]
"""Status of a run and the reason why it did not complete; see `Outcome`."""


@dataclass(frozen=True)
class Outcome:
    """How one run ended.

    Attributes:
        job: the run.
        status: `completed`, `failed` (result.json says why) or `broken` (ended without a result; it can be resumed).
        reason: why it did not complete.
        seconds: how long it took this time.
    """

    job: Job
    status: str
    reason: str | None
    seconds: float


def do_all(
    jobs: Sequence[Job], engine: Engine, ended: Callable[[Outcome], None], do: Callable[..., Verdict] | None = None
) -> None:
    """Do runs on a Ray cluster, so many at once as the engine has workers.

    Args:
        jobs: in the order of work.
        engine: workers, and what each run gets.
        ended: called with every run as it ends.
        do: does one run, from (run config, folder, threads); `do_run` if left out.

    Raises:
        EngineError: no cluster can be had, or none of its machines has the resources.
    """
    if not jobs:
        return
    with starting_cluster(engine) as cluster:
        address = cluster.address() if cluster is not None else str(engine.ray_address)
        with connected(address, engine) as ray:
            # max_calls = 0: workers keep what they have imported and loaded for the next run, also with a GPU.
            task = ray.remote(max_calls=0)(do or do_run)
            _do_all(ray, task, deque(jobs), engine, ended)


def _do_all(ray: Any, task: Any, waiting: deque[Job], engine: Engine, ended: Callable[[Outcome], None]) -> None:
    task = task.options(num_cpus=engine.cpus_per_client, num_gpus=engine.gpus_per_client, max_retries=0)
    running: dict[Any, tuple[Job, float]] = {}
    while waiting or running:
        while waiting and len(running) < (engine.workers or 1):
            job = waiting.popleft()
            reference = task.remote(job.values, job.folder, engine.cpus_per_client)
            running[reference] = (job, time.monotonic())
        done, _ = ray.wait(list(running), num_returns=1, timeout=1.0)
        for reference in done:
            job, started = running.pop(reference)
            try:
                status, reason = ray.get(reference)
            except ray.exceptions.RayError as error:
                status, reason = "broken", _how_it_died(job, error)
            ended(Outcome(job, status, reason, time.monotonic() - started))


def _how_it_died(job: Job, error: Exception) -> str:
    said = next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
    return f"its process was ended, perhaps for lack of memory (see {job.folder / LOG_FILE}): {said}"


def do_run(values: Mapping[str, Any], folder: Path, threads: int) -> Verdict:
    """Start or resume a run; `status` is that of result.json, or `broken` where the run ended without one."""
    from server_app.rounds import RunFailedError

    status, reason = "completed", None
    folder.mkdir(parents=True, exist_ok=True)
    with _output_to(folder / LOG_FILE):
        try:
            resume = (folder / "config.json").is_file()
            run({**values, "resume": resume}, folder, Engine("inline", cpus_per_client=threads))
        except RunFailedError as error:
            status, reason = "failed", str(error)
        except Exception as error:  # whatever ends one run must not end the others; the log has the traceback
            status, reason = "broken", f"{type(error).__name__}: {error}"
            os.write(2, traceback.format_exc().encode())
    gc.collect()
    return status, reason


@contextmanager
def _output_to(path: Path) -> Iterator[None]:
    """Send all that this process prints, by whatever means, to the end of a file."""
    kept = os.dup(1), os.dup(2)
    file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    try:
        _redirect(file, file)
        yield
    finally:
        _redirect(*kept)
        for descriptor in (file, *kept):
            os.close(descriptor)


def _redirect(output: int, errors: int) -> None:
    sys.stdout.flush()
    sys.stderr.flush()
    os.dup2(output, 1)
    os.dup2(errors, 2)
