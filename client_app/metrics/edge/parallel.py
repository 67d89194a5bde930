"""Scoring images in worker processes: bounded, in order, and the same numbers as without workers."""

import multiprocessing
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from functools import cache

from client_app.metrics.edge.counts import EdgeCounts, EdgeImage, image_counts
from client_app.metrics.edge.protocol import EdgeProtocol

IMAGES_IN_FLIGHT_PER_WORKER = 3


@cache
def _pool(workers: int) -> ProcessPoolExecutor:
    """Return the worker processes of this process; started once, because that takes about a second."""
    # Spawned, not forked: the caller may hold threads and locks of torch that do not survive a fork.
    return ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("spawn"))


def score_images(images: Iterable[EdgeImage], protocol: EdgeProtocol) -> Iterator[EdgeCounts]:
    """Score images one after the other, or in parallel if the protocol asks for workers.

    Args:
        images: consumed as needed: with workers, at most three images per worker are held at a time.
        protocol: `workers` chooses the number of processes, 0 for none.

    Yields:
        The counts of each image, in the order of the images.

    Raises:
        ValueError: an image does not fit (see `image_counts`).
        RuntimeError: a worker process died.
    """
    if protocol.workers == 0:
        for image in images:
            yield image_counts(image, protocol)
        return
    pool = _pool(protocol.workers)
    waiting: deque[Future[EdgeCounts]] = deque()
    try:
        for image in images:
            waiting.append(pool.submit(image_counts, image, protocol))
            if len(waiting) == IMAGES_IN_FLIGHT_PER_WORKER * protocol.workers:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    except BrokenProcessPool as error:
        _pool.cache_clear()
        raise RuntimeError(
            f"One of the {protocol.workers} worker processes of the edge metric died, probably for lack of memory. "
            "Score with fewer workers, or with workers = 0 in this process."
        ) from error
    finally:
        for future in waiting:
            future.cancel()
