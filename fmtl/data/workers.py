"""Examining chunks of a data set in place or in several processes."""

from __future__ import annotations

import multiprocessing
import signal
from collections.abc import Generator, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from itertools import islice

import torch
from fmtl_datasets.shared.source import Source

from fmtl.data.examine import Chunk, Examined, examine
from fmtl.data.plan import ListPlan

AHEAD = 4
"""Chunks that wait for each process; more would only hold memory."""

_work: tuple[Source, list[ListPlan]] | None = None


def examine_all(
    source: Source, plans: list[ListPlan], chunks: list[Chunk], workers: int
) -> Generator[tuple[Chunk, Examined], None, None]:
    """Examine chunks, in any order.

    Args:
        source: the data set.
        plans: lists that are checked.
        chunks: what to examine.
        workers: processes; 1 or less to work in place, as always on systems that cannot fork.

    Yields:
        Each chunk with what was found in it.

    Raises:
        ValueError: a process was killed.
    """
    if workers <= 1 or "fork" not in multiprocessing.get_all_start_methods():
        for chunk in chunks:
            yield chunk, examine(source, plans, chunk)
        return
    # A forked process shares what the parent has read (the annotations of COCO take gigabytes).
    context = multiprocessing.get_context("fork")
    pool = ProcessPoolExecutor(workers, mp_context=context, initializer=_begin, initargs=(source, plans))
    try:
        yield from _as_they_end(pool, chunks, workers)
    except BrokenProcessPool as error:
        raise ValueError(
            f"workers = {workers}: a process ended unexpectedly, most likely for lack of memory. Use fewer workers."
        ) from error
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _as_they_end(pool: ProcessPoolExecutor, chunks: list[Chunk], workers: int) -> Iterator[tuple[Chunk, Examined]]:
    remaining = iter(chunks)
    running: dict[Future[Examined], Chunk] = {}
    while True:
        for chunk in islice(remaining, AHEAD * workers - len(running)):
            running[pool.submit(_examine_shared, chunk)] = chunk
        if not running:
            return
        for future in wait(running, return_when=FIRST_COMPLETED).done:
            yield running.pop(future), future.result()


def _begin(source: Source, plans: list[ListPlan]) -> None:
    """Set up a worker process."""
    global _work
    # Ctrl-C reaches every process of a terminal; the parent alone decides what to do then.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    torch.set_num_threads(1)
    _work = (source, plans)


def _examine_shared(chunk: Chunk) -> Examined:
    assert _work is not None
    return examine(*_work, chunk)
