"""The sites that may take part: the keys in the coordinator's folder on one side, the SuperLink's list on the other."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

from pydantic import TypeAdapter, ValidationError
from typing_extensions import TypedDict

from fmtl.network.control import Control
from fmtl.network.coordinator_folder import CoordinatorFolder, local_endpoint, read_settings, require_site_name
from fmtl.network.errors import NetworkSetupError
from fmtl.network.flower_programs import answers
from fmtl.network.site_keys import fingerprint_of_line, require_public_key
from fmtl_strategies.contract.files import write_json

FIRST_PAUSE, LONGEST_PAUSE = 4.0, 60.0
"""Seconds until what failed is tried again: the first time, and at the longest; the pause doubles in between."""


class RegisteredSite(TypedDict):
    """A site that the SuperLink knows, and the text of its key."""

    name: str
    key: str


_Names = dict[str, RegisteredSite]
"""Registered sites by node number."""


class FolderKeys(NamedTuple):
    """The keys in a coordinator's folder: text by site, None where it is no key; and what is wrong with files."""

    texts: Mapping[str, str | None]
    problems: tuple[str, ...]


class SiteRegister:
    """Keeps the SuperLink's list of sites as the keys in the coordinator's folder say.

    Args:
        folder: the coordinator's folder.
        show: prints one line.
    """

    def __init__(self, folder: CoordinatorFolder, show: Callable[[str], None]) -> None:
        self._folder = folder
        self._control = Control(folder)
        self._show = show
        self._names: _Names = {}
        self._done: FolderKeys | None = None
        self._failed: FolderKeys | None = None
        self._error = ""
        self._pause = FIRST_PAUSE
        self._due = 0.0

    def start(self) -> None:
        """Bring the SuperLink's list up to date for the first time."""
        self._names = read_names(self._folder.node_names)
        keys = read_folder_keys(self._folder)
        self._bring_up_to_date(keys)
        self._done = keys

    def look(self) -> None:
        """Bring the SuperLink's list up to date after a change; what failed is tried again. Called periodically."""
        try:
            self._look()
        except (NetworkSetupError, OSError) as error:
            self._due = time.monotonic() + self._pause
            self._pause = min(2 * self._pause, LONGEST_PAUSE)
            if str(error) != self._error:
                self._show(f"Error: the list of sites is not up to date, this is tried again: {error}")
            self._error = str(error)

    def _look(self) -> None:
        keys = read_folder_keys(self._folder)
        if keys == self._done and not self._error:
            return
        if keys != self._failed:
            self._failed, self._pause, self._due = keys, FIRST_PAUSE, 0.0
        authority = self._folder.certificates.ca
        if time.monotonic() < self._due or not answers(local_endpoint(read_settings(self._folder)), authority):
            return
        self._bring_up_to_date(keys)
        for problem in keys.problems:
            if self._done is None or problem not in self._done.problems:
                self._show(f"Error: {problem}")
        if self._error:
            self._show("The list of sites is up to date again.")
        self._done, self._failed, self._error = keys, None, ""

    def _bring_up_to_date(self, keys: FolderKeys) -> None:
        """Let exactly the sites take part whose keys lie in the folder; one that fails does not hold up the others."""
        current = set(self._control.nodes())
        if read_names(self._folder.node_names) != self._names:
            # The last time that could not be written.
            self._save(self._names)
        failures = []
        for node, site in list(self._names.items()):
            try:
                self._revoke_where_gone(node, site, keys, current)
            except (NetworkSetupError, OSError) as error:
                failures.append(f"site {site['name']} is still to be revoked: {error}")
        known = {site["name"] for site in self._names.values()}
        for name in sorted(set(keys.texts) - known):
            try:
                self._let_in(name, keys.texts[name])
            except (NetworkSetupError, OSError) as error:
                failures.append(f"site {name} is still to be registered: {error}")
        if failures:
            raise NetworkSetupError("\n".join(failures))

    def _revoke_where_gone(self, node: str, site: RegisteredSite, keys: FolderKeys, current: set[str]) -> None:
        if node in current:
            # A key that is there and cannot be read shuts nobody out: that could not be taken back.
            if site["name"] in keys.texts and keys.texts[site["name"]] in (None, site["key"]):
                return
            self._control.unregister(node)
            current.remove(node)
            self._show(f"Site {site['name']} may no longer take part.")
        self._save({known: value for known, value in self._names.items() if known != node})

    def _let_in(self, name: str, text: str | None) -> None:
        if text is None:
            return
        # Written before as well: a full disk has to show before there is a node number that cannot be kept.
        self._save(self._names)
        node = self._control.register(self._folder.sites / f"{name}.pub")
        self._names[node] = {"name": name, "key": text}
        self._show(f"Site {name} may take part.")
        self._save(self._names)

    def _save(self, names: _Names) -> None:
        write_json(self._folder.node_names, names)
        self._names = names


def read_folder_keys(folder: CoordinatorFolder) -> FolderKeys:
    """Read the sites' keys; a file that cannot be used is named and hides no other."""
    texts: dict[str, str | None] = {}
    problems = []
    for path in folder.key_files():
        try:
            require_site_name(path)
            text = path.read_bytes().decode("utf-8", errors="replace")
            texts[path.stem] = None
            require_public_key(path)
            texts[path.stem] = text
        except FileNotFoundError:
            # Removed since the folder was listed.
            continue
        except OSError as error:
            texts[path.stem] = None
            problems.append(f"the public key {path} cannot be read: {error.strerror}.")
        except NetworkSetupError as error:
            problems.append(str(error))
    return FolderKeys(texts, tuple(problems))


def read_names(path: Path) -> _Names:
    """Read which node number is which site."""
    if not path.is_file():
        return {}
    try:
        return TypeAdapter(_Names).validate_json(path.read_bytes())
    except ValidationError as error:
        raise NetworkSetupError(f"{path} is damaged; put it back from a backup, together with link.db.") from error


class SiteState(NamedTuple):
    """A site as the coordinator sees it.

    Attributes:
        state: ``online``, ``offline`` or ``registered`` (never seen); ``not yet registered``; ``revoking``: its
            key is no longer in the folder, and the SuperLink still knows it; ``key cannot be read``.
        since: time of the last change, or empty.
        fingerprint: of its key; empty where that cannot be read.
    """

    name: str
    state: str
    since: str
    fingerprint: str


def site_states(path: Path) -> list[SiteState]:
    """Return the sites of a running coordinator, by name."""
    folder = CoordinatorFolder(path.expanduser().absolute())
    if not answers(local_endpoint(read_settings(folder)), folder.certificates.ca):
        raise NetworkSetupError(f"the coordinator of {folder.path} does not run; start it: `fmtl server start`.")
    nodes = Control(folder).nodes()
    waiting = dict(read_folder_keys(folder).texts)
    states = []
    for number, site in read_names(folder.node_names).items():
        name, key = site["name"], site["key"]
        if number not in nodes:
            continue
        if name in waiting and waiting[name] in (None, key):
            del waiting[name]
            state = nodes[number].status
        else:
            state = "revoking"
        states.append(SiteState(name, state, nodes[number].since, fingerprint_of_line(key)))
    for name, text in waiting.items():
        state = "key cannot be read" if text is None else "not yet registered"
        states.append(SiteState(name, state, "", "" if text is None else fingerprint_of_line(text)))
    return sorted(states, key=lambda site: (site.name, site.state))
