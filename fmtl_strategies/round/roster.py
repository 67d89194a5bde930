"""Who takes part: which node is which client, what each client is, and why a node was refused."""

from __future__ import annotations

import math
import time
from collections.abc import Iterable

from fmtl_strategies.contract.profile import ClientProfile


class RosterError(ValueError):
    """A node whose answer cannot be accepted; the text says why and what to do."""


class Roster:
    """Clients by name. Node ids are only the address of the moment: they change when a node or the run restarts.

    Attributes:
        profiles: what each client said of itself.
        last_rounds: the last round whose training by a client was admitted.
        refused: why a node was refused.
    """

    def __init__(self) -> None:
        self.profiles: dict[str, ClientProfile] = {}
        self.last_rounds: dict[str, int] = {}
        self.refused: dict[int, str] = {}
        self._client_of_node: dict[int, str] = {}
        self._refused_at: dict[int, float] = {}

    def strangers(self, alive: Iterable[int], retry_seconds: float) -> list[int]:
        """Return the connected nodes to ask, sorted: not bound to a client, and not refused within the retry time."""
        now = time.monotonic()
        unbound = (node for node in alive if node not in self._client_of_node)
        return sorted(n for n in unbound if now - self._refused_at.get(n, -math.inf) >= retry_seconds)

    def present(self, alive: Iterable[int]) -> list[tuple[str, int]]:
        """Return (client, node id) of every connected client, sorted by client name."""
        return sorted((self._client_of_node[node], node) for node in alive if node in self._client_of_node)

    def check(self, node_id: int, profile: ClientProfile, alive: Iterable[int]) -> None:
        """Check that a node may be the client it says it is.

        Raises:
            RosterError: another connected node already is this client, or the client came back with other arrays,
                tasks or data set than it had before.
        """
        connected = set(alive)
        for other, client in self._client_of_node.items():
            if client == profile.client and other != node_id and other in connected:
                raise RosterError(
                    f"client name {profile.client!r} is taken by another connected node; give every site its own name"
                )
        known = self.profiles.get(profile.client)
        if known is not None:
            for field in ("tasks", "groups", "dataset", "encoder"):
                if getattr(known, field) != getattr(profile, field):
                    raise RosterError(
                        f"client {profile.client!r} came back with other {field} than it had before; "
                        "use the earlier settings, or another name"
                    )

    def lost_state(self, client: str, restored_round: int) -> str | None:
        """Say what a client went on from, where that is not what it had after its last admitted round; else None.

        Args:
            client: its name.
            restored_round: round of the state it says it went on from; 0 for none.
        """
        last = self.last_rounds.get(client, 0)
        if restored_round >= last:
            return None
        kept = f"of round {restored_round}" if restored_round else "from the start: it had none"
        return (
            f"its own state of round {last} is lost (heads, optimiser, what it does not exchange); it went on with a "
            f"state {kept}"
        )

    def bind(self, node_id: int, profile: ClientProfile) -> None:
        """Remember that a node is this client."""
        self._client_of_node = {n: c for n, c in self._client_of_node.items() if c != profile.client}
        self._client_of_node[node_id] = profile.client
        self.profiles[profile.client] = profile
        self.refused.pop(node_id, None)
        self._refused_at.pop(node_id, None)

    def refuse(self, node_id: int, reason: str) -> bool:
        """Remember why a node was refused; return True where the reason is new."""
        self._refused_at[node_id] = time.monotonic()
        new = self.refused.get(node_id) != reason
        self.refused[node_id] = reason
        return new
