"""Worker processes for the runs of a sweep: handed out, watched, and ended for certain."""

from __future__ import annotations

import json
import os
import selectors
import signal
import subprocess
import sys
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fmtl.simulation.interruption import SignalWatch
from fmtl.simulation.process_tree import ProcessTree
from fmtl.sweep.plan import LOG_FILE, Job
from fmtl.sweep.worker import MARK

__all__ = ["Outcome", "do_all"]

_ROOT = Path(__file__).resolve().parents[2]
_PROGRAM = f"import sys; sys.path.insert(0, {str(_ROOT)!r}); from fmtl.sweep.worker import main; main()"
_PRINTED = 2000
"""Characters kept of what a worker printed outside of runs, to say why it could not start."""


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


@dataclass
class _Worker:
    process: subprocess.Popen[bytes]
    job: Job
    unread: bytes = b""
    printed: str = ""


def do_all(jobs: Sequence[Job], processes: int, ended: Callable[[Outcome], None]) -> None:
    """Do runs in worker processes, each of which does one at a time.

    Args:
        jobs: in the order of work.
        processes: how many at once.
        ended: told of every run as it ends.

    Raises:
        RunInterruptedError: a signal asked for the end; the workers have been stopped.
    """
    waiting = deque(jobs)
    environment = _environment(processes)
    with SignalWatch() as watch, ProcessTree() as tree, selectors.DefaultSelector() as selector:
        for _ in range(min(processes, len(waiting))):
            _start(tree, selector, environment, waiting.popleft())
        while selector.get_map():
            with watch.listening():
                ready = selector.select(timeout=1.0)
            for key, _ in ready:
                worker: _Worker = key.data
                outcome = _read(worker)
                if outcome is None:
                    continue
                gone = worker.process.poll() is not None
                if gone or not waiting:
                    selector.unregister(key.fileobj)
                    _close(worker)
                if waiting:
                    following = waiting.popleft()
                    if gone:
                        _start(tree, selector, environment, following)
                    else:
                        _hand(worker, following)
                ended(outcome)


def _environment(processes: int) -> dict[str, str]:
    """The environment of a worker: the cores are shared out, unless the user has chosen a number of threads."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    given = os.environ.get("OMP_NUM_THREADS", "")
    threads = given if given.isdigit() and int(given) > 0 else str(max(1, cores // processes))
    names = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
    return {**os.environ, **dict.fromkeys(names, threads), "PYTHONUNBUFFERED": "1"}


def _start(tree: ProcessTree, selector: selectors.BaseSelector, environment: dict[str, str], job: Job) -> None:
    process = tree.start(
        [sys.executable, "-c", _PROGRAM], environment, Path.cwd(), subprocess.PIPE, stdin=subprocess.PIPE
    )
    worker = _Worker(process, job)
    assert process.stdout is not None
    selector.register(process.stdout, selectors.EVENT_READ, worker)
    _hand(worker, job)


def _hand(worker: _Worker, job: Job) -> None:
    worker.job = job
    assert worker.process.stdin is not None
    line = json.dumps({"values": job.values, "folder": str(job.folder)}) + "\n"
    try:
        worker.process.stdin.write(line.encode())
        worker.process.stdin.flush()
    except BrokenPipeError:
        return  # it has died; its end of the other pipe says so, and the run is reported as broken


def _close(worker: _Worker) -> None:
    for stream in (worker.process.stdin, worker.process.stdout):
        assert stream is not None
        try:
            stream.close()
        except BrokenPipeError:
            continue


def _read(worker: _Worker) -> Outcome | None:
    """Take what a worker has written; the outcome of its run where that is complete."""
    assert worker.process.stdout is not None
    found = os.read(worker.process.stdout.fileno(), 65536)
    if not found:
        status = worker.process.wait()
        return Outcome(worker.job, "broken", _how_it_died(worker, status), 0.0)
    *lines, worker.unread = (worker.unread + found).split(b"\n")
    outcome = None
    for line in lines:
        text = line.decode(errors="replace")
        if text.startswith(MARK):
            values: dict[str, Any] = json.loads(text.removeprefix(MARK))
            outcome = Outcome(worker.job, **values)
        else:
            worker.printed = f"{worker.printed}{text}\n"[-_PRINTED:]
    return outcome


def _how_it_died(worker: _Worker, status: int) -> str:
    how = f"was ended by {signal.Signals(-status).name}" if status < 0 else f"exited with status {status}"
    hint = ", as a process is when memory runs out" if status == -signal.SIGKILL else ""
    printed = worker.printed.strip().splitlines()
    last = f"; it said last: {printed[-1]}" if printed else ""
    return f"its process {how}{hint} (see {worker.job.folder / LOG_FILE}){last}"
