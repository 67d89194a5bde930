"""The coordinator: the SuperLink, the program that runs server apps, and the list of sites that may take part."""

from __future__ import annotations

import errno
import os
import socket
import time
from collections.abc import Callable
from pathlib import Path

from fmtl.interruption import SignalWatch
from fmtl.network.certificates import CertificateWatch, require_usable
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
    env = service_environment(folder.home, os.environ)
    with (
        single_instance(folder.lock, f"a coordinator of {folder.path} is running already; end it first."),
        SignalWatch() as signals,
        ending_leftovers(folder.home),
        ProcessTree() as tree,
        signals.listening(),
    ):
        require_free_port(listen, f"port in {folder.settings_file}")

        def service(name: str, command: list[str], log: str) -> Service:
            return Service(Program(name, command, env, folder.path, folder.logs / log), tree, show)

        certificates = folder.certificates
        superlink = service("the SuperLink", superlink_command(listen, certificates, folder.database), "link.log")
        superexec = service("the SuperExec", superexec_command(local, certificates.ca), "app-runner.log")
        sites = SiteRegister(folder, show)
        folder.runs.mkdir(exist_ok=True)
        write_connection(folder.home, local, certificates.ca)
        _start_superlink(superlink, lambda: answers(local, certificates.ca))
        superexec.start()
        sites.start()
        show(f"The coordinator listens on {listen}. Sites need {certificates.ca}.")
        _watch(folder, superlink, superexec, sites, show)


def _start_superlink(superlink: Service, there: Callable[[], bool]) -> None:
    superlink.start()
    deadline = time.monotonic() + START_SECONDS
    while not there():
        if superlink.ended or time.monotonic() > deadline:
            raise NetworkSetupError(f"the SuperLink did not start; the end of its log:\n{superlink.output()[-2000:]}")
        time.sleep(0.1)


def _watch(
    folder: CoordinatorFolder, superlink: Service, superexec: Service, sites: SiteRegister, show: Callable[[str], None]
) -> None:
    """Keep the programs running, with the folder's certificates and sites, until a signal comes."""
    certificates, disk = CertificateWatch(folder.certificates, show), DiskWatch(folder.path, show)
    look = time.monotonic() + _LOOK_EVERY
    while True:
        time.sleep(0.2)
        superlink.watch()
        superexec.watch()
        if time.monotonic() < look:
            continue
        look = time.monotonic() + _LOOK_EVERY
        certificates.warn()
        if certificates.renewed():
            superlink.restart()
        disk.look()
        sites.look()


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
