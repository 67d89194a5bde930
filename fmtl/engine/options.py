"""How the clients of a run are executed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

EngineName = Literal["inline", "ray"]


class EngineError(ValueError):
    """An engine that cannot be used as asked; nothing has been started."""


@dataclass(frozen=True)
class Engine:
    """Where clients run, and what each of them gets while it is at work.

    Attributes:
        name: `inline`: clients are function calls in this process, one after another; `ray`: tasks of Ray workers.
        workers: `ray`: how many clients are at work at once; None for as many as the CPUs (and GPUs) allow.
        cpus_per_client: CPU cores, which is also the number of threads a client computes with, on both engines: sums
            of floats depend on it.
        gpus_per_client: `ray`: share of a GPU; 0.25 lets four clients share one.
        ray_address: `ray`: address of a cluster that is already running (`auto`, `host:6379`); None for a private one
            on this machine, which ends with the run.
    """

    name: EngineName = "inline"
    workers: int | None = None
    cpus_per_client: int = 1
    gpus_per_client: float = 0.0
    ray_address: str | None = None

    def __post_init__(self) -> None:
        if self.name not in ("inline", "ray"):
            raise EngineError(f"engine = {self.name!r}: expected 'inline' or 'ray'.")
        if self.workers is not None and self.workers < 1:
            raise EngineError(f"workers = {self.workers}: expected at least 1.")
        if self.cpus_per_client < 1:
            raise EngineError(f"cpus-per-client = {self.cpus_per_client}: expected at least 1.")
        if self.gpus_per_client < 0:
            raise EngineError(f"gpus-per-client = {self.gpus_per_client}: expected 0 or more.")
        if self.name == "inline":
            for setting in ("workers", "gpus_per_client", "ray_address"):
                value = getattr(self, setting)
                if value not in (None, 0.0):
                    key = setting.replace("_", "-")
                    raise EngineError(f"{key} = {value}: the inline engine has no workers; set engine = 'ray'.")
