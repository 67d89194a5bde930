"""What a reproduction needs on disk: its data sets whole, and its encoder weights; or what is missing."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from fmtl_datasets.registry import open_source, require_fitting
from fmtl_datasets.scenarios.scenario import DATA_ROOT_VARIABLE, ClientEntry, ScenarioError
from fmtl_datasets.shared.source import DataFileError, DataLayoutError, Source, SourceSettings

from fmtl.reproduce.plan import Reproduction

__all__ = ["Need", "find_needs", "opened_source"]


@dataclass(frozen=True)
class Need:
    """One data set or weights file.

    Attributes:
        name: of the data set, or ``encoder weights``.
        found: what is there, as a phrase; None where it is not there or not whole.
        problem: a sentence that says what is missing and what to do; None where all is there.
    """

    name: str
    found: str | None = None
    problem: str | None = None


def opened_source(entry: ClientEntry) -> Source | str:
    """A client's data set on disk, or a sentence that says why it cannot be opened."""
    try:
        settings = SourceSettings(entry.data_path(), None, entry.parts_flags, entry.stuff_labels)
        return open_source(entry.dataset, settings)
    except (ScenarioError, DataLayoutError, DataFileError) as error:
        return str(error)


def find_needs(work: Reproduction) -> tuple[Need, ...]:
    """Look for everything that the clients of a reproduction read from disk; decodes no image.

    Every path of every image of the lists that are used is looked for, and the sizes of those that are padded are read.
    """
    clients = [client for sweep in work.sweeps.values() for client in sweep.scenario.clients]
    needs: list[Need] = []
    on_disk = [client for client in clients if client.dataset != "procedural"]
    for key in dict.fromkeys((client.dataset, client.data_root) for client in on_disk):
        needs.append(_data(work, [client for client in on_disk if (client.dataset, client.data_root) == key]))
    weights = dict.fromkeys(client.encoder_weights for client in clients if client.encoder_weights != "none")
    needs += [_weights(next(client for client in clients if client.encoder_weights == name)) for name in weights]
    return tuple(needs)


def _data(work: Reproduction, clients: list[ClientEntry]) -> Need:
    first = clients[0]
    advice = f"`fmtl data help {first.dataset}` says what to fetch and where to put it."
    absent = _absent(first)
    if absent is not None:
        return Need(first.dataset, problem=f"{absent} {advice}")
    source = opened_source(first)
    if isinstance(source, str):
        return Need(first.dataset, problem=f"{source.rstrip('.')}. {advice}")
    try:
        counts = {}
        missing: list[Path] = []
        for name, tasks in _lists(source, clients).items():
            counts[name] = len(source.ids(name))
            missing += [file.path for file in source.files(name, tasks) if not file.path.is_file()]
    except (DataLayoutError, DataFileError) as error:
        return Need(first.dataset, problem=f"{str(error).rstrip('.')}. {advice}")
    if missing:
        others = f" and {len(missing) - 1} more files" if len(missing) > 1 else ""
        return Need(first.dataset, problem=f"{first.dataset}: {missing[0]}{others} are not there. {advice}")
    try:
        for client in clients:
            require_fitting(client, source)
    except (ScenarioError, DataFileError) as error:
        return Need(first.dataset, problem=str(error))
    listed = ", ".join(f"{count} images in list {name}" for name, count in counts.items())
    return Need(first.dataset, found=f"{source.summary}: {listed}{_as_published(work, first.dataset, counts)}")


def _absent(entry: ClientEntry) -> str | None:
    """A sentence where there is no folder at all, which needs no description of what belongs into it."""
    if not (Path(entry.data_root or "").expanduser().is_absolute() or os.environ.get(DATA_ROOT_VARIABLE)):
        return (
            f"{entry.dataset}: it is not said where the data is; give --data with the folder that holds "
            f"{entry.data_root}, or set {DATA_ROOT_VARIABLE} to it."
        )
    path = entry.data_path()
    if path.is_dir():
        return None
    return f"{entry.dataset}: the folder {path} is not there; put the data set there, or point --data at what holds it."


def _as_published(work: Reproduction, dataset: str, counts: dict[str, int]) -> str:
    facts = work.table.data.get(dataset)
    if facts is None:
        return ""
    return (
        ""
        if [*counts.values()][:2] == [facts.train, facts.validation]
        else (f"; the paper has {facts.train} for training and {facts.validation} for validation")
    )


def _lists(source: Source, clients: Iterable[ClientEntry]) -> dict[str, list[str]]:
    """The lists that clients read, the training list first, with the tasks read from each."""
    lists: dict[str, dict[str, None]] = {}
    for name, task in _read(source, clients):
        lists.setdefault(name, {})[task] = None
    return {name: list(tasks) for name, tasks in lists.items()}


def _read(source: Source, clients: Iterable[ClientEntry]) -> Iterator[tuple[str, str]]:
    entries = list(clients)
    for entry in entries:
        yield from ((entry.train_list or source.lists[0], task) for task in entry.tasks)
    for entry in entries:
        if entry.validation_list or (entry.own_validation is None and len(source.lists) > 1):
            yield from ((entry.validation_list or source.lists[1], task) for task in entry.tasks)


def _weights(entry: ClientEntry) -> Need:
    if entry.encoder_weights == "hub":
        return Need(
            "encoder weights", found=f"{entry.encoder} from the hub: downloaded at first use, or from its cache"
        )
    try:
        path = entry.weights_path()
    except ScenarioError as error:
        return Need("encoder weights", problem=str(error))
    if path is None or path.is_file():
        return Need("encoder weights", found=str(path))
    return Need(
        "encoder weights",
        problem=f"encoder weights: {path} is not there. Put the file there, or change `encoder-weights` in a copy "
        f"of the scenario.",
    )
