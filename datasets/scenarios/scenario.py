"""Scenarios: which clients take part, with which data, tasks, encoder and local settings.

A scenario is a YAML file with ``name``, ``description``, optional ``defaults`` (merged under every client) and a list
``clients``. In a simulation entry *i* is the client of partition *i*; a site that takes part over the network uses a
file of its own with one client. Keys are written in kebab-case in the file and are snake_case attributes here.
"""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any, Literal

from fmtl_datasets.scenarios.client_entry import DATA_ROOT_VARIABLE, PATTERN_WORDS, ClientEntry
from fmtl_datasets.scenarios.scenario_file import ScenarioError, ScenarioText, check_keys, read_scenario_text
from fmtl_datasets.scenarios.share import Share, StrictModel
from pydantic import Field, ValidationError, ValidationInfo, field_validator

__all__ = ["DATA_ROOT_VARIABLE", "ClientEntry", "Scenario", "ScenarioError", "Share", "list_scenarios", "load_scenario"]

SCENARIO_FOLDER = Path(__file__).parent


class Scenario(StrictModel):
    """The clients of a run, in the order of their partitions.

    Attributes:
        name: short name.
        description: what the scenario is for; the first sentence is its summary in lists.
        paper: where it was published, empty for a scenario of the project's or a user's own.
        shares: ``disjoint``: clients of one pool that would share training images are refused; ``may-overlap``: they
            are not, for published scenarios in which they do.
        clients: the participants; every one has a ``share``.
    """

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{1,64}$")]
    description: str
    paper: str = ""
    shares: Literal["disjoint", "may-overlap"] = "disjoint"
    clients: Annotated[tuple[ClientEntry, ...], Field(min_length=1)]

    @field_validator("clients")
    @classmethod
    def _names_and_shares(cls, clients: tuple[ClientEntry, ...], info: ValidationInfo) -> tuple[ClientEntry, ...]:
        names = [client.name for client in clients]
        repeated = sorted({name for name in names if names.count(name) > 1})
        if repeated:
            raise ValueError(f"client names must be unique; given more than once: {', '.join(repeated)}")
        shared = {client.name: client for client in clients}
        for pool in dict.fromkeys(client.pool for client in clients):
            members = _with_shares([client for client in clients if client.pool == pool])
            if info.data.get("shares") != "may-overlap":
                _require_disjoint(members)
            shared |= {client.name: client for client in members}
        return tuple(shared[name] for name in names)

    @property
    def summary(self) -> str:
        """The first sentence of the description."""
        first, _, _ = self.description.partition(". ")
        return f"{first.strip().removesuffix('.')}."

    @property
    def data_needs(self) -> tuple[str, ...]:
        """The folders of data that its clients read, in their order and each once, as the file names them."""
        return tuple(dict.fromkeys(client.data_root for client in self.clients if client.data_root is not None))

    def client(self, partition_id: int) -> ClientEntry:
        """The entry of a partition.

        Raises:
            ScenarioError: there is no such partition.
        """
        if not 0 <= partition_id < len(self.clients):
            raise ScenarioError(
                f"scenario {self.name} has {len(self.clients)} clients, so partition-id goes from 0 to "
                f"{len(self.clients) - 1}; {partition_id} was asked for. Start as many clients as the scenario lists."
            )
        return self.clients[partition_id]


def _with_shares(clients: list[ClientEntry]) -> list[ClientEntry]:
    """Give the clients of one pool equal shares where none of them has any."""
    seeds = sorted({client.data_seed for client in clients})
    if len(seeds) > 1:
        raise ValueError(
            f"clients that use the same images must shuffle them with the same 'data-seed'; given: "
            f"{', '.join(map(str, seeds))}"
        )
    without = [client.name for client in clients if client.share is None]
    if len(without) == len(clients):
        shares = [Share(part=part, of=len(clients)) for part in range(len(clients))]
        return [client.model_copy(update={"share": share}) for client, share in zip(clients, shares, strict=True)]
    if without:
        raise ValueError(
            f"these clients use the same images but only some give a share: {', '.join(without)} "
            f"must give one too, or none may"
        )
    return clients


def _require_disjoint(clients: list[ClientEntry]) -> None:
    for index, client in enumerate(clients):
        for other in clients[index + 1 :]:
            if client.share is not None and other.share is not None and client.share.overlaps(other.share):
                raise ValueError(
                    f"the shares of {client.name} and {other.name} are not disjoint; cut both from the same shuffle "
                    f"('after') into the same number of parts ('of') and give each its own 'part'"
                )


def list_scenarios() -> tuple[str, ...]:
    """Names of the scenarios that come with the project."""
    return tuple(sorted(path.stem for path in SCENARIO_FOLDER.glob("*.yaml")))


def load_scenario(name_or_path: str | Path) -> Scenario:
    """Load a scenario by name, or from a YAML file.

    Args:
        name_or_path: one of ``list_scenarios()``, or a path that ends in .yaml or .yml or contains a slash.

    Returns:
        The validated scenario, with every client's share filled in.

    Raises:
        ScenarioError: unknown name, unreadable file, unknown key or impossible value. All problems of a file are
            listed, each with file, line, client and key.
    """
    given = str(name_or_path)
    if re.search(r"[/\\]|\.ya?ml$", given) or isinstance(name_or_path, Path):
        path = Path(given).expanduser()
    elif given in list_scenarios():
        path = SCENARIO_FOLDER / f"{given}.yaml"
    else:
        near = " or ".join(map(repr, difflib.get_close_matches(given, list_scenarios())))
        raise ScenarioError(
            f"scenario = {given!r} is not known.{f' Did you mean {near}?' if near else ''} `fmtl scenarios` lists the "
            f"{len(list_scenarios())} known ones; or give the path of a .yaml file."
        )
    content = path.read_bytes() if path.is_file() else b""
    return _parsed(path, content, os.environ.get(DATA_ROOT_VARIABLE, ""))


@lru_cache(maxsize=8)
def _parsed(path: Path, content: bytes, data_root: str) -> Scenario:
    """Parsed once while the file's content stays: a simulated client loads its scenario at every message.

    Which clients divide a folder between them can depend on the folder that relative paths lie under.
    """
    return scenario_of(read_scenario_text(path))


def scenario_of(text: ScenarioText) -> Scenario:
    """Make a scenario of a parsed file: check keys, then each client for itself, then the clients together.

    Raises:
        ScenarioError: every problem with its line and, where it belongs to one, the client.
    """
    content = text.content
    problems = check_keys(text, (), content, (*Scenario.file_keys(), "defaults"))
    defaults, listed = content.get("defaults"), content.get("clients")
    defaults = {} if defaults is None else defaults
    if not isinstance(defaults, dict):
        raise ScenarioError(f"{text.where('defaults')}: 'defaults' is a mapping of client keys.")
    if not isinstance(listed, list) or not listed or not all(isinstance(item, dict) for item in listed):
        raise ScenarioError(f"{text.where('clients')}: 'clients' is a list with one mapping for each client.")
    problems += check_keys(text, ("defaults",), defaults, ClientEntry.file_keys())
    clients = []
    for index, item in enumerate(listed):
        unknown = check_keys(text, ("clients", index), item, ClientEntry.file_keys())
        problems += unknown
        merged = {key: value for key, value in {**defaults, **item}.items() if key in ClientEntry.file_keys()}
        try:
            clients.append(ClientEntry.model_validate(merged))
        except ValidationError as error:
            problems += _client_problems(text, index, item, error)
    if problems:
        raise ScenarioError("\n".join(problems))
    try:
        rest = {key: value for key, value in content.items() if key not in ("defaults", "clients")}
        return Scenario.model_validate({**rest, "clients": tuple(clients)})
    except ValidationError as error:
        raise ScenarioError("\n".join(_problem(text, item["loc"], item) for item in error.errors())) from error


def _client_problems(text: ScenarioText, index: int, item: dict[str, Any], error: ValidationError) -> list[str]:
    """Pydantic's findings on one client as sentences with file and line; a value from ``defaults`` is placed there."""
    problems = []
    for found in error.errors():
        keys = found["loc"]
        base: tuple[str | int, ...] = ("clients", index)
        if keys and keys[0] not in item and ("defaults", keys[0]) in text.lines:
            base = ("defaults",)
        problems.append(_problem(text, (*base, *keys), found, client=str(item.get("name", f"number {index + 1}"))))
    return problems


def _problem(text: ScenarioText, keys: tuple[str | int, ...], found: Mapping[str, Any], client: str = "") -> str:
    """One finding as a sentence: where, which client and key, the value, and what was expected."""
    names = [str(key) for key in keys if key not in ("clients", "defaults") and not isinstance(key, int)]
    subject = f"client {client}: " if client else ""
    message = str(found["msg"]).removeprefix("Value error, ")
    if found["type"] == "string_pattern_mismatch":
        message = f"expected {PATTERN_WORDS[names[-1]]}"
    if found["type"] == "missing":
        return f"{text.where(*keys[:-1])}: {subject}the key '{names[-1]}' is missing."
    if found["type"] == "extra_forbidden":
        return check_keys(text, keys[:-1], keys[-1:], Share.file_keys())[0]
    value = f" = {found['input']!r}" if names and not isinstance(found["input"], dict | ClientEntry) else ""
    key = f"{'.'.join(names)}{value}: " if names else ""
    return f"{text.where(*keys)}: {subject}{key}{message[:1].lower()}{message[1:]}."
