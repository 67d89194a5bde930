"""What the coordinator asks its SuperLink: which nodes there are, who may take part, how a run stands."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

import httpx

from fmtl.network.coordinator_folder import CoordinatorFolder, local_endpoint, read_settings
from fmtl.network.errors import NetworkSetupError
from fmtl_strategies.flower_compat import ControlApi, NodeInfo

ANSWER_SECONDS = 120.0
"""Seconds the SuperLink may take for an answer."""


class Node(NamedTuple):
    """A registered node: ``registered`` (never seen), ``online`` or ``offline``, and since when (UTC), if ever."""

    status: str
    since: str


class Control:
    """The Control API of a coordinator's SuperLink; every method raises NetworkSetupError where that fails.

    Args:
        folder: the coordinator's folder.
    """

    def __init__(self, folder: CoordinatorFolder) -> None:
        self._folder = folder

    def nodes(self) -> dict[str, Node]:
        """Return the registered nodes by number."""
        with self._api("listing nodes") as api:
            found = api.nodes()
        return {str(node.node_id): Node(node.status, _since(node)) for node in found if node.status != "unregistered"}

    def register(self, public_key: Path) -> str:
        """Let a site with this key take part, and return its node number."""
        with self._api("registering a node") as api:
            number = api.register(public_key.read_bytes())
        if not number:
            raise NetworkSetupError(f"the SuperLink did not register {public_key}.")
        return str(number)

    def unregister(self, node: str) -> None:
        """Take the right to take part from a node."""
        with self._api("unregistering a node") as api:
            api.unregister(int(node))

    def run_status(self, run_id: str) -> tuple[str, str]:
        """Return the state of a run, as in ``finished:completed``, and details of its end."""
        with self._api("listing runs") as api:
            found = api.run_status(int(run_id))
        if found is None:
            database = self._folder.database
            raise NetworkSetupError(f"the SuperLink knows no run {run_id}; was its database {database} removed?")
        return found

    def stop(self, run_id: str) -> None:
        """Stop a run."""
        with self._api("stopping a run") as api:
            stopped = api.stop(int(run_id))
        if not stopped:
            raise NetworkSetupError(f"the SuperLink did not stop run {run_id}: it has ended, or it knows no such run.")

    @contextmanager
    def _api(self, purpose: str) -> Iterator[ControlApi]:
        superlink = local_endpoint(read_settings(self._folder))
        log = self._folder.logs / "link.log"
        api = ControlApi(str(superlink), self._folder.certificates.ca, ANSWER_SECONDS)
        try:
            yield api
        except httpx.TimeoutException as error:
            raise NetworkSetupError(
                f"{purpose}: the SuperLink has not answered for {ANSWER_SECONDS:.0f} seconds: is the machine "
                f"overloaded, or its disk full? Look at the end of {log}."
            ) from error
        except httpx.HTTPStatusError as error:
            answer = error.response.text.strip()[:1000] or error.response.reason_phrase
            raise NetworkSetupError(f"{purpose}: the SuperLink refused: {answer}. Look at the end of {log}.") from error
        except (httpx.HTTPError, ValueError) as error:
            raise NetworkSetupError(f"{purpose}: no SuperLink answers at {superlink}: {error}.") from error
        finally:
            api.close()


def _since(node: NodeInfo) -> str:
    text = {"online": node.last_activated_at, "offline": node.last_deactivated_at}.get(node.status, "")
    return f"{datetime.fromisoformat(text).astimezone(UTC):%Y-%m-%d %H:%M:%SZ}" if text else ""
