"""How much memory a piece of work takes, from the process' own account (Linux)."""

from __future__ import annotations

import ctypes
import gc
import threading
from collections.abc import Callable
from pathlib import Path


def resident_bytes() -> int:
    """Anonymous memory of this process in bytes (Linux)."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("RssAnon:"):
            return int(line.split()[1]) * 1024
    raise RuntimeError("/proc/self/status has no RssAnon line; the memory measure needs Linux")


def give_back() -> None:
    """Free what nobody uses, down to the blocks that glibc's allocator keeps for later."""
    gc.collect()
    ctypes.CDLL("libc.so.6").malloc_trim(0)


def peak_growth(work: Callable[[], object]) -> int:
    """Bytes by which this process' memory grew at most while `work` ran, sampled every 0.5 ms."""
    gc.collect()
    start, done = resident_bytes(), threading.Event()
    peaks = [start]

    def sample() -> None:
        while not done.wait(0.0005):
            peaks.append(resident_bytes())

    sampler = threading.Thread(target=sample)
    sampler.start()
    result = work()
    peaks.append(resident_bytes())
    done.set()
    sampler.join()
    del result
    return max(peaks) - start
