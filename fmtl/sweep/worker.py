"""A process that does runs of a sweep, one after another: a job as a line of JSON in, its outcome as a line out."""

from __future__ import annotations

import gc
import json
import logging
import os
import sys
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from fmtl.sweep.plan import LOG_FILE

__all__ = ["MARK", "main"]

MARK = "\x1e"
"""Begins every outcome; anything else on the same pipe is what some library printed before a run."""


def main() -> None:
    """Do the jobs that come by standard input, until it ends."""
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    _prepare()
    for line in iter(sys.stdin.readline, ""):
        job = json.loads(line)
        outcome = _do(job["values"], Path(job["folder"]))
        answers.write(f"{MARK}{json.dumps(outcome)}\n")
        answers.flush()


def _prepare() -> None:
    import torch

    torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    logger = logging.getLogger("flwr")
    logger.handlers = [handler]
    logger.setLevel(logging.INFO)
    logger.propagate = False


def _do(values: dict[str, Any], folder: Path) -> dict[str, Any]:
    """Start or resume a run; `status` is that of result.json, or `broken` where the run ended without one."""
    from fmtl.local_run import run_in_process
    from server_app.rounds import RunFailedError

    started = time.monotonic()
    status, reason = "completed", None
    folder.mkdir(parents=True, exist_ok=True)
    with _output_to(folder / LOG_FILE):
        try:
            run_in_process({**values, "resume": (folder / "config.json").is_file()}, folder)
        except RunFailedError as error:
            status, reason = "failed", str(error)
        except Exception as error:  # whatever ends one run must not end the others; the log has the traceback
            status, reason = "broken", f"{type(error).__name__}: {error}"
            os.write(2, traceback.format_exc().encode())
    gc.collect()
    return {"status": status, "reason": reason, "seconds": time.monotonic() - started}


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
