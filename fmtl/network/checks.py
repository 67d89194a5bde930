"""What is looked at before a coordinator or a site starts."""

from __future__ import annotations

import errno
import socket

from fmtl.network.errors import NetworkSetupError
from fmtl.network.flower_programs import Endpoint


def require_free_port(listen: Endpoint, setting: str) -> None:
    """Refuse an address that this machine does not have or a port that another program uses.

    Raises:
        NetworkSetupError: says which of the two, and names the setting.
    """
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
