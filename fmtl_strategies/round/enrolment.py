"""Who takes part: new nodes are asked who they are, and new clients get what they start from (design.md 4, step 1)."""

from __future__ import annotations

import json
import logging
import math
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from flwr.app import Message, MessageType
from flwr.serverapp import Grid
from pydantic import BaseModel

from fmtl_strategies.contract.groups import kind_of
from fmtl_strategies.contract.layout import FloatArray
from fmtl_strategies.contract.messages import (
    PARAMETERS_RECORD,
    QUERY_INITIAL,
    InitialRequest,
    MessageError,
    Question,
    read_arrays,
    read_text,
    to_records,
)
from fmtl_strategies.contract.profile import ClientProfile
from fmtl_strategies.contract.wire import WireError, decode_flat
from fmtl_strategies.flower_compat import log
from fmtl_strategies.round.admission import (
    NodeAwayError,
    RejectedReplyError,
    check_variances,
    open_reply,
    shortened,
    update_norm,
)
from fmtl_strategies.round.exchange import RetryPolicy, send_and_collect
from fmtl_strategies.round.store import RowKey
from fmtl_strategies.settings import RunConfigError

if TYPE_CHECKING:
    from fmtl_strategies.round.base import PersonalizedStrategy


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


def read_known_sites(path: str) -> dict[int, str] | None:
    """Return which client a node has to be, by node id, as the coordinator has written it; None where no file is named.

    Raises:
        RunConfigError: the file is missing or damaged; a run that cannot tell its sites apart must not go on.
    """
    if not path:
        return None
    try:
        content = json.loads(Path(path).read_text(encoding="utf-8"))
        return {int(node): str(site["name"]) for node, site in content.items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise RunConfigError(
            f"known-sites = {path!r} cannot be read as the coordinator's list of sites ({error}); "
            f"`fmtl server start` writes it"
        ) from error


def enrol(grid: Grid, strategy: PersonalizedStrategy) -> None:
    """Ask every connected node that is not yet bound who it is; bind those whose answer holds.

    One that was refused, or gave no answer, is asked again after ten times `enrolment-timeout`, so that one dead node
    delays rounds by a tenth at most.

    Args:
        grid: connection to the nodes.
        strategy: its roster receives the clients, and the reasons of those refused; its store a row for every shared
            group of a new client.
    """
    roster, settings = strategy.roster, strategy.settings
    alive = list(grid.get_node_ids())
    strangers = roster.strangers(alive, retry_seconds=10 * settings.waiting.enrolment_timeout)
    if not strangers:
        return
    question = Question(experiment=strategy.experiment, settings=settings.local)
    replies = _ask(grid, strategy, MessageType.QUERY, dict.fromkeys(strangers, question), {})
    answers: dict[int, ClientProfile] = {}
    names = read_known_sites(settings.known_sites)
    for node, reply in replies.items():
        try:
            profile = read_text(open_reply(reply).content, ClientProfile)
            _check_own_name(node, profile, names)
            roster.check(node, profile, [*(known for _, known in roster.present(alive)), *answers])
            if any(other.client == profile.client for other in answers.values()):
                raise RosterError(
                    f"client name {profile.client!r} is claimed by two new nodes at once; give every site its own name"
                )
            answers[node] = profile
        except (RejectedReplyError, MessageError, RosterError) as error:
            _refuse(roster, node, error)
    _give_starts(grid, strategy, dict(sorted(answers.items(), key=lambda item: item[1].client)))


def _ask(
    grid: Grid,
    strategy: PersonalizedStrategy,
    message_type: str,
    texts: Mapping[int, BaseModel],
    profiles: Mapping[int, ClientProfile],
) -> dict[int, Message | None]:
    """Send one message to each node and return the replies by node, None where none came."""
    waiting = strategy.settings.waiting
    # A node that went away is not waited for: it is asked anew once it is back.
    policy = RetryPolicy(waiting.enrolment_timeout, waiting.retries)
    messages = [
        Message(to_records(text), node, message_type, ttl=policy.timeout_seconds)
        for node, text in sorted(texts.items())
    ]
    # Matched by message id: an error reply for a lost node is signed by the link, not by the node.
    metadata = [(message.metadata.dst_node_id, message.metadata) for message in messages]
    collected = send_and_collect(grid, messages, policy, profiles=profiles)
    replies = {reply.metadata.reply_to_message_id: reply for reply in collected}
    return {node: replies.get(sent.message_id) for node, sent in metadata}


def _check_own_name(node: int, profile: ClientProfile, names: Mapping[int, str] | None) -> None:
    """Refuse a node that claims another name than the one its key was registered for."""
    if names is None or names.get(node) == profile.client:
        return
    known = f"belongs to site {names[node]!r}" if node in names else "belongs to no registered site"
    raise RosterError(
        f"it says that it is {profile.client!r}, but its key {known}; the client's name in the site's file and the "
        f"name of its public key at the coordinator have to be the same"
    )


def _give_starts(grid: Grid, strategy: PersonalizedStrategy, waiting: dict[int, ClientProfile]) -> None:
    """Fill the store for new clients: from rows that exist, else from the first client by name that has the group."""
    roster, store = strategy.roster, strategy.store
    while waiting:
        wanted = _place_known_starts(strategy, waiting)
        for node in [n for n in waiting if not wanted[n]]:
            if all(RowKey(waiting[node].client, group) in store for group in strategy.shared_groups(waiting[node])):
                roster.bind(node, waiting.pop(node))
        requests = {
            node: InitialRequest(experiment=strategy.experiment, settings=strategy.settings.local, groups=tuple(groups))
            for node, groups in wanted.items()
            if groups
        }
        if not requests:
            continue
        replies = _ask(grid, strategy, QUERY_INITIAL, requests, waiting)
        for node, request in requests.items():
            client, layouts = waiting[node].client, waiting[node].groups
            try:
                for group, flat in _initial_arrays(replies[node], waiting[node], request.groups).items():
                    store.add(RowKey(client, group), layouts[group], flat)
            except (RejectedReplyError, WireError) as error:
                _refuse(roster, node, error, "starting parameters: ")
                if client not in roster.profiles:
                    store.remove_client(client)
                del waiting[node]


def _place_known_starts(strategy: PersonalizedStrategy, waiting: Mapping[int, ClientProfile]) -> dict[int, list[str]]:
    """Add every row whose start exists; return, by node, the groups that this node has to provide itself."""
    # Of several waiting clients with the same need only the first by name is asked: the others start from its rows.
    asked: set[tuple[str, str]] = set()
    wanted: dict[int, list[str]] = {}
    for node, profile in waiting.items():
        wanted[node] = []
        for group in strategy.shared_groups(profile):
            key, layout = RowKey(profile.client, group), profile.groups[group]
            if key in strategy.store:
                continue
            start = strategy.start_for(profile, group)
            if start is not None:
                strategy.store.add(key, layout, start)
            elif (group, layout.signature) not in asked:
                asked.add((group, layout.signature))
                wanted[node].append(group)
    return wanted


def _initial_arrays(reply: Message | None, profile: ClientProfile, groups: Sequence[str]) -> dict[str, FloatArray]:
    arrays = read_arrays(open_reply(reply).content, PARAMETERS_RECORD)
    if set(arrays) != set(groups):
        raise RejectedReplyError(f"holds the groups {sorted(arrays)}, asked for {sorted(groups)}")
    starts = {group: decode_flat(arrays[group], profile.groups[group].size, "float32") for group in groups}
    for group, flat in starts.items():
        if not np.isfinite(update_norm(flat)):
            raise RejectedReplyError(f"{group} holds NaN, infinite or overflowing values")
        if kind_of(group) == "buffers":
            check_variances(flat, profile.groups[group], group)
    return starts


def _refuse(roster: Roster, node: int, error: Exception, about: str = "") -> None:
    """Remember why a node was refused; one that went away while it was asked is asked again as soon as it is back."""
    if isinstance(error, NodeAwayError):
        log(logging.INFO, "node %s went away while it was asked", node)
        return
    reason = shortened(f"{about}{error}")
    if roster.refuse(node, reason):
        log(logging.WARNING, "node %s refused: %s", node, reason)
