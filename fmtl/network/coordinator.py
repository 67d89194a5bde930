"""The coordinator: the SuperLink, the program that runs server apps, and the list of sites that may take part."""

from __future__ import annotations

import errno
import os
import socket
import time
from collections.abc import Callable
from pathlib import Path

from fmtl.interruption import SignalWatch
from fmtl.network.certificate_watch import CertificateWatch
from fmtl.network.certificates import require_usable
from fmtl.network.coordinator_folder import CoordinatorFolder, local_endpoint, read_settings
from fmtl.network.disk_space import DiskWatch, require_space
from fmtl.network.errors import NetworkSetupError
from fmtl.network.flower_programs import (
    Endpoint,
    answers,
    require_supported_flower,
    service_environment,
    superexec_command,
    superlink_command,
    write_connection,
)
from fmtl.network.private_files import require_private
from fmtl.network.services import Program, Service
from fmtl.network.site_register import SiteRegister
from fmtl.processes import ProcessTree, ending_leftovers
from fmtl_strategies.contract.files import single_instance

START_SECONDS = 180.0
_LOOK_EVERY = 2.0
"""Seconds between two looks at the site keys and the certificates."""


def serve(path: Path, show: Callable[[str], None]) -> None:
    """Run a coordinator until it is told to end (Ctrl-C, SIGTERM); nothing that was started stays.

    Args:
        path: the coordinator's folder.
        show: prints one line.

    Raises:
        RunInterruptedError: the signal that ended it.
    """
    require_supported_flower()
    folder = CoordinatorFolder(path.absolute())
    settings = read_settings(folder)
    listen, local = Endpoint(settings.address, settings.port), local_endpoint(settings)
    for warning in require_usable(folder.certificates):
        show(f"Warning: {warning}")
    require_private(folder.certificates.server_key)
    folder.site_keys()
    require_space(folder.path)
    with (
        single_instance(folder.lock, f"a coordinator of {folder.path} is running already; end it first."),
        SignalWatch() as signals,
        ending_leftovers(folder.home),
        ProcessTree() as tree,
        signals.listening(),
    ):
        require_free_port(listen, f"port in {folder.settings_file}")
        coordinator = _Coordinator(folder, listen, local, tree, show)
        coordinator.start()
        coordinator.watch()


def require_free_port(listen: Endpoint, setting: str) -> None:
    """Refuse an address that this machine does not have or a port that another program uses."""
    family = socket.AF_INET6 if ":" in listen.host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((listen.host, listen.port))
        except (OSError, OverflowError) as error:
            reason = getattr(error, "errno", None)
            if reason == errno.EADDRINUSE:
                raise NetworkSetupError(
                    f"{setting}: port {listen.port} is used by another program; choose another, or end that program."
                ) from error
            if reason == errno.EACCES:
                raise NetworkSetupError(
                    f"{setting}: this user may not listen on port {listen.port}; choose one from 1024 on."
                ) from error
            raise NetworkSetupError(
                f"{setting}: {listen.host} is not an address of this machine ({error}); use 0.0.0.0 for all of them."
            ) from error


class _Coordinator:
    def __init__(
        self,
        folder: CoordinatorFolder,
        listen: Endpoint,
        local: Endpoint,
        tree: ProcessTree,
        show: Callable[[str], None],
    ) -> None:
        self._folder = folder
        self._local = local
        self._show = show
        self._env = service_environment(folder.home, os.environ)
        superlink = superlink_command(listen, folder.certificates, folder.database)
        superexec = superexec_command(local, folder.certificates.ca)
        self._superlink = Service(
            Program("the SuperLink", superlink, self._env, folder.path, folder.logs / "link.log"), tree, show
        )
        self._superexec = Service(
            Program("the SuperExec", superexec, self._env, folder.path, folder.logs / "app-runner.log"), tree, show
        )
        self._sites = SiteRegister(folder, show)
        self._listen = listen

    def start(self) -> None:
        """Start the programs, wait for the SuperLink, and register the sites."""
        self._folder.runs.mkdir(exist_ok=True)
        write_connection(self._folder.home, self._local, self._folder.certificates.ca)
        self._superlink.start()
        deadline = time.monotonic() + START_SECONDS
        while not answers(self._local, self._folder.certificates.ca):
            process = self._superlink.process
            if process is None or process.poll() is not None or time.monotonic() > deadline:
                raise NetworkSetupError(
                    f"the SuperLink did not start; the end of its log:\n{self._superlink.output()[-2000:]}"
                )
            time.sleep(0.1)
        self._superexec.start()
        self._sites.start()
        self._show(f"The coordinator listens on {self._listen}. Sites need {self._folder.certificates.ca}.")

    def watch(self) -> None:
        """Keep the programs running, with the folder's certificates and sites, until a signal comes."""
        certificates = CertificateWatch(self._folder.certificates, self._show)
        disk = DiskWatch(self._folder.path, self._show)
        look = time.monotonic() + _LOOK_EVERY
        while True:
            time.sleep(0.2)
            self._superlink.watch()
            self._superexec.watch()
            if time.monotonic() < look:
                continue
            look = time.monotonic() + _LOOK_EVERY
            certificates.warn()
            if certificates.renewed():
                self._superlink.restart()
            disk.look()
            self._sites.look()
