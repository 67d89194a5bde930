"""A site: checks first, then Flower's node, started again whenever it dies."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from pathlib import Path

from client_app.app import RESIDENT_VARIABLE
from client_app.site.resident.asking import LOG_VARIABLE
from client_app.site.sent import SENT_VARIABLE
from client_app.site.site_file import SiteFile, read_site_file
from fmtl.interruption import SignalWatch
from fmtl.network.errors import NetworkSetupError
from fmtl.network.flower_programs import free_port, parse_endpoint, service_environment, supernode_command
from fmtl.network.services import Program, Service
from fmtl.network.site_checks import CoordinatorAwayError, check_coordinator
from fmtl.processes import ProcessTree, ending_leftovers
from fmtl_strategies.contract.files import single_instance

SENT_FILE = "sent.jsonl"
"""In the state folder: the site's own record of everything its client has sent."""

HELD_SECONDS = 100.0
"""A connection that ended without a word (power, kill -9, network) is held for alive by the coordinator for up to 60 s.
Until then it refuses the same site; Flower's answer is the same as to a key it does not know."""

LOOK_EVERY, LOOK_SOON = 30.0, 5.0
"""Seconds between two looks whether the coordinator can be reached, and while the node has ended."""

HANDSHAKE_FAILED = "SSL/TLS handshake error detected"
"""What Flower 1.41 prints when a connection fails for a reason that has to do with TLS. It does not try again then: the
node runs on and takes no more messages."""

HEARTBEAT_FAILED = "/v1/fleet/send-node-heartbeat'"
"""End of what Flower 1.41 prints when the SuperLink could not take a node's heartbeat, as with a full disk (500).
It sends none after that: the node runs on, and the coordinator holds it for away."""

_ACCEPTED = "SuperNode ID:"
"""What the node prints once the coordinator has let it in."""


def run_site(path: Path, show: Callable[[str], None], *, checks: bool = True) -> None:
    """Run a site until it is told to end (Ctrl-C, SIGTERM); nothing that was started stays.

    Args:
        path: the site's file.
        show: prints one line.
        checks: whether to check everything first.

    Raises:
        RunInterruptedError: the signal that ended it.
    """
    place = path.expanduser().absolute()
    site = read_site_file(place)
    if checks:
        check_apart(place, show)
    site.state.mkdir(parents=True, exist_ok=True)
    home = site.state / "flower"
    with (
        ExitStack() as stack,
        single_instance(site.state / "lock", f"a site with the state {site.state} is running already; end it first."),
        SignalWatch() as signals,
        ending_leftovers(home),
        ProcessTree() as tree,
        signals.listening(),
    ):
        resident = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="fmtl-site-")))
        node = Service(node_program(site, place, os.environ, resident), tree, show)
        node.start()
        show(f"Site {site.entry.name} takes part at {site.coordinator}; its log is {node.program.log}.")
        accepted = site.state / "accepted"
        connection = _Connection(site, show)
        while True:
            time.sleep(0.2)
            if not accepted.exists() and _ACCEPTED in node.output():
                accepted.touch()
            node.patience = HELD_SECONDS if accepted.exists() else 0.0
            connection.watch(give_up=not accepted.exists(), soon=node.ended)
            if connection.usable:
                node.watch()
            else:
                node.excuse()


class _Connection:
    """Looks now and then whether the coordinator can be reached: Flower's node tries again for ever, and says little.

    Args:
        site: the site's file.
        show: prints one line.

    Attributes:
        usable: False while something is wrong that a node started again cannot cure: another coordinator, an expired
            certificate, clocks too far apart.
    """

    def __init__(self, site: SiteFile, show: Callable[[str], None]) -> None:
        self.usable = True
        self._site = site
        self._show = show
        self._looked = time.monotonic()
        self._said = ""

    def watch(self, *, give_up: bool, soon: bool) -> None:
        """Look where it is time to; say what has changed.

        Args:
            give_up: whether something that does not pass by itself is an error.
            soon: whether to look more often, because the node has ended.
        """
        if time.monotonic() - self._looked < (LOOK_SOON if soon else LOOK_EVERY):
            return
        said, usable = "", True
        try:
            endpoint = parse_endpoint(self._site.coordinator, "coordinator")
            check_coordinator(endpoint, self._site.authority, lambda line: None)
        except CoordinatorAwayError as error:
            said = f"{error} Trying again until it answers."
        except NetworkSetupError as error:
            if give_up:
                raise
            said, usable = f"{error} This site cannot take part until then.", False
        if said != self._said:
            self._show(said or "The coordinator can be reached again.")
        self._said, self.usable, self._looked = said, usable, time.monotonic()


def node_program(site: SiteFile, path: Path, environment: Mapping[str, str], resident: Path) -> Program:
    """Return the node's program.

    Args:
        site: the site's file.
        path: where it lies.
        environment: what the node's environment is made from.
        resident: private folder of the process that does the client's work (`client_app.site.resident`).
    """
    home = site.state / "flower"
    home.mkdir(parents=True, exist_ok=True)
    unknown = (
        f"the coordinator rejected the key of this site. A dropped connection can block a new one for 60 s; if this "
        f"persists, send it {site.key.with_suffix('.pub')} again, or ask whether the site was revoked."
    )
    return Program(
        name=f"the SuperNode of site {site.entry.name}",
        command=supernode_command(
            parse_endpoint(site.coordinator, "coordinator"),
            site.authority,
            site.key,
            port=free_port(),
            config={"site-file": str(path)},
        ),
        env={
            **service_environment(home, environment),
            RESIDENT_VARIABLE: str(resident),
            LOG_VARIABLE: str(site.state / "training.log"),
            SENT_VARIABLE: str(site.state / SENT_FILE),
        },
        folder=site.state,
        log=site.state / "site.log",
        fatal={
            "CERTIFICATE_VERIFY_FAILED": f"what answers at {site.coordinator} is not the coordinator of "
            f"{site.authority}, or its certificate has expired; ask it for a new ca.crt.",
            "WRONG_VERSION_NUMBER": f"{site.coordinator} does not speak TLS; check the port.",
            "Failed to activate SuperNode": unknown,
        },
        stuck=(HANDSHAKE_FAILED, HEARTBEAT_FAILED),
    )


def check_apart(path: Path, show: Callable[[str], None]) -> None:
    """Run the checks in a process of their own, so that the memory of the trial step is free again before the start."""
    process = subprocess.run([sys.executable, "-P", "-m", "fmtl", "site", "check", str(path)], check=False)
    if process.returncode:
        raise NetworkSetupError(f"the site was not started, because a check failed; again: `fmtl site check {path}`.")
    show("All checks passed.")
