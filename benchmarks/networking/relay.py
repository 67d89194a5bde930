"""A TCP relay between a site and its coordinator that counts the bytes each way; TLS passes through untouched."""

from __future__ import annotations

import socket
import threading
import time
from dataclasses import dataclass
from types import TracebackType
from typing import Self

_BUFFER_BYTES = 2**18
_LOOK_SECONDS = 0.05


@dataclass(frozen=True)
class Counted:
    """Bytes that had passed at a moment.

    Attributes:
        time: seconds since the epoch.
        up: bytes from the site to the coordinator.
        down: bytes from the coordinator to the site.
        connections: connections that had been opened.
    """

    time: float
    up: int
    down: int
    connections: int

    def __sub__(self, other: Counted) -> Counted:
        return Counted(
            self.time - other.time, self.up - other.up, self.down - other.down, self.connections - other.connections
        )


class Relay:
    """Listens on a port of 127.0.0.1 and passes everything on.

    Args:
        target: host and port of the coordinator.
    """

    def __init__(self, target: tuple[str, int]) -> None:
        self._target = target
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._counts = {"up": 0, "down": 0, "connections": 0}
        self._lock = threading.Lock()
        self._samples: list[Counted] = []
        self._ended = threading.Event()

    def __enter__(self) -> Self:
        for target in (self._accept, self._sample):
            threading.Thread(target=target, daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._ended.set()
        self._listener.close()

    def counted(self) -> Counted:
        """Return what has passed until now."""
        with self._lock:
            return Counted(time.time(), self._counts["up"], self._counts["down"], self._counts["connections"])

    def at(self, moment: float) -> Counted:
        """Return what had passed at a moment, in seconds since the epoch.

        Raises:
            ValueError: the relay did not run yet.
        """
        before = [sample for sample in self._samples if sample.time <= moment]
        if not before:
            raise ValueError(f"nothing had been counted at {moment}")
        return before[-1]

    def _sample(self) -> None:
        while not self._ended.is_set():
            self._samples.append(self.counted())
            time.sleep(_LOOK_SECONDS)

    def _accept(self) -> None:
        while True:
            try:
                site, _ = self._listener.accept()
            except OSError:
                return
            try:
                coordinator = socket.create_connection(self._target)
            except OSError:
                site.close()
                continue
            with self._lock:
                self._counts["connections"] += 1
            for source, goal, way in ((site, coordinator, "up"), (coordinator, site, "down")):
                threading.Thread(target=self._pass_on, args=(source, goal, way), daemon=True).start()

    def _pass_on(self, source: socket.socket, goal: socket.socket, way: str) -> None:
        buffer = bytearray(_BUFFER_BYTES)
        view = memoryview(buffer)
        try:
            while count := source.recv_into(buffer):
                with self._lock:
                    self._counts[way] += count
                goal.sendall(view[:count])
        except OSError:
            pass
        finally:
            for end in (source, goal):
                try:
                    end.shutdown(socket.SHUT_RDWR)
                except OSError:
                    continue
