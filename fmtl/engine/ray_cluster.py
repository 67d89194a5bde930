"""The Ray cluster of a run or a sweep: one that is already running, or a private one that ends with this process."""

from __future__ import annotations

import logging
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from fmtl.engine.options import Engine, EngineError

_RAY_SETTINGS = {
    # Ray gives its workers niceness 15: beside any other work on the machine they would starve.
    "RAY_worker_niceness": "0",
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "1",
    # Workers started before they are asked for would be started once more with the packages of a client.
    "RAY_enable_worker_prestart": "0",
}
_THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
_NOT_INHERITED = ("RAY_ADDRESS", "RAY_NAMESPACE", "RAY_JOB_ID", *_THREAD_VARIABLES)
"""Variables that a private cluster must not see: another cluster's address, and numbers of threads, which Ray would
hand to every worker; each takes as many as it has CPUs."""


_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_TOO_SLOW = "timed out during startup"
"""In what Ray says where a busy machine could not start it within the 30 seconds that it allows itself."""
_ATTEMPTS = 10


class PrivateCluster:
    """A Ray cluster of this machine; nothing of it is left when the context ends, or this process.

    It starts in the background: `address` waits for it.

    Args:
        cpus: CPU cores that Ray may hand out.

    Attributes:
        folder: what Ray writes on disk.
        process_group: of all its processes.
    """

    def __init__(self, cpus: int) -> None:
        self._cpus = cpus

    def __enter__(self) -> Self:
        # Ray's Unix sockets lie up to 68 characters below this folder, and a socket's path is limited to 104.
        base = tempfile.gettempdir()
        self.folder = Path(tempfile.mkdtemp(prefix="fmtl-", dir=base if len(base) < 24 else "/tmp"))
        self._start()
        return self

    def _start(self) -> None:
        inherited = {key: value for key, value in os.environ.items() if key not in _NOT_INHERITED}
        log = os.open(self.folder / "head.log", os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        self._process = subprocess.Popen(
            [sys.executable, "-P", str(Path(__file__).with_name("ray_head.py")), str(self._cpus), str(self.folder)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            env=inherited | _RAY_SETTINGS | _data_root(),
            start_new_session=True,
        )
        os.close(log)
        self.process_group = self._process.pid

    def address(self) -> str:
        """Return the cluster's address, once it is there.

        Raises:
            EngineError: Ray could not start; its last line says why.
        """
        for _ in range(_ATTEMPTS):
            assert self._process.stdout is not None
            if line := self._process.stdout.readline().decode().strip():
                return line
            self._process.wait()
            log = self.folder / "head.log"
            said = log.read_text(errors="replace").strip().splitlines() or ["it said nothing"]
            if _TOO_SLOW not in said[-1]:
                break
            self._end()
            self._start()
        raise EngineError(f"engine = 'ray': Ray could not start: {said[-1]}")

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._end()
        shutil.rmtree(self.folder, ignore_errors=True)

    def _end(self) -> None:
        with suppress(ProcessLookupError):
            os.killpg(self.process_group, signal.SIGKILL)
        self._process.wait()
        for stream in (self._process.stdin, self._process.stdout):
            if stream is not None:
                stream.close()


@contextmanager
def starting_cluster(engine: Engine) -> Iterator[PrivateCluster | None]:
    """Begin to start the cluster that an engine needs, while the caller goes on; None where one is running already."""
    if engine.ray_address is not None:
        yield None
        return
    require_machine(engine)
    with PrivateCluster((engine.workers or default_workers(engine)) * engine.cpus_per_client) as cluster:
        yield cluster


def default_workers(engine: Engine) -> int:
    """Return how many workers this machine has the CPU cores for."""
    return max(1, machine_cpus() // engine.cpus_per_client)


def machine_cpus() -> int:
    """Return the CPU cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def require_machine(engine: Engine) -> None:
    """Refuse what this machine does not have.

    Raises:
        EngineError: names the setting, what it asks for, and what there is.
    """
    gpus = 0
    if engine.gpus_per_client > 0:
        import torch

        gpus = torch.cuda.device_count()
    _require(engine, machine_cpus(), gpus, "this machine has")


def _require(engine: Engine, cpus: float, gpus: float, who: str) -> None:
    if engine.cpus_per_client > cpus:
        raise EngineError(f"cpus-per-client = {engine.cpus_per_client}: {who} {cpus:g} CPU cores; ask for fewer.")
    if engine.gpus_per_client > gpus:
        raise EngineError(
            f"gpus-per-client = {engine.gpus_per_client:g}: {who} {gpus:g} GPUs; ask for a smaller share, or 0."
        )


@contextmanager
def connected(address: str, engine: Engine) -> Iterator[Any]:
    """Connect to a running cluster and give the module `ray`; tasks and actors of this process end with the context.

    Args:
        address: as Ray takes it.
        engine: what each client gets; refused here where no machine of the cluster has it.

    Raises:
        EngineError: no cluster is there, or none of its machines has the resources.
    """
    import ray

    # Ray would warn of a change of a default that its processes are told not to follow.
    warnings.filterwarnings("ignore", message=".*RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", category=FutureWarning)
    handlers = {number: signal.getsignal(number) for number in _SIGNALS}
    try:
        ray.init(
            address,
            log_to_driver=False,
            configure_logging=False,
            logging_level=logging.ERROR,
            namespace=f"fmtl-{os.getpid()}",
            runtime_env=None if engine.ray_address is None else {"env_vars": _for_workers(engine)},
        )
    except (ConnectionError, RuntimeError, ValueError) as error:
        raise EngineError(f"ray-address = {address!r}: no Ray cluster can be reached there ({error}).") from error
    _take_back(handlers)
    try:
        _require_cluster(ray, engine)
        yield ray
    finally:
        ray.shutdown()


def _take_back(handlers: Mapping[signal.Signals, Any]) -> None:
    """Put back the signal handlers that Ray has replaced: its own abort the process on SIGTERM, cleaning nothing up."""
    if threading.current_thread() is threading.main_thread():
        for number, handler in handlers.items():
            signal.signal(number, signal.SIG_DFL if handler is None else handler)


def _for_workers(engine: Engine) -> dict[str, str]:
    """Environment variables that workers of a running cluster need."""
    return {"OMP_NUM_THREADS": str(engine.cpus_per_client)} | _data_root()


def _data_root() -> dict[str, str]:
    """Return the folder of data sets as an absolute path, for workers have folders of their own."""
    root = os.environ.get("FMTL_DATA_ROOT")
    return {} if not root else {"FMTL_DATA_ROOT": str(Path(root).expanduser().absolute())}


def _require_cluster(ray: Any, engine: Engine) -> None:
    machines = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    cpus, gpus = (max((machine.get(kind, 0.0) for machine in machines), default=0.0) for kind in ("CPU", "GPU"))
    _require(engine, cpus, gpus, "the largest machine of the Ray cluster has")


def cluster_workers(ray: Any, engine: Engine) -> int:
    """Return how many clients the machines of a cluster can have at work at once."""
    if engine.workers is not None:
        return engine.workers
    count = 0
    for node in ray.nodes():
        if node["Alive"]:
            fits = [node["Resources"].get("CPU", 0.0) / engine.cpus_per_client]
            if engine.gpus_per_client > 0:
                fits.append(node["Resources"].get("GPU", 0.0) / engine.gpus_per_client)
            count += int(min(fits))
    return max(1, count)
