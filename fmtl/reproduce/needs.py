"""What a reproduction needs on disk: its data sets whole, and its encoder weights; or what is missing."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from fmtl_datasets.registry import open_source, require_fitting
from fmtl_datasets.scenarios.scenario import ClientEntry, ScenarioError
from fmtl_datasets.shared.source import DataFileError, DataLayoutError, Source, SourceSettings

from fmtl.errors import SettingError
from fmtl.precheck import require_data, require_weights
from fmtl.reproduce.plan import Reproduction
from fmtl.reproduce.published_table import Table


def open_data(entry: ClientEntry) -> Source:
    """A client's data set on disk.

    Raises:
        ScenarioError, DataLayoutError, DataFileError: it is not there, or not whole.
    """
    return open_source(entry.dataset, SourceSettings(entry.data_path(), None, entry.parts_flags, entry.stuff_labels))


def find_needs(work: Reproduction) -> tuple[list[str], list[str]]:
    """Look for everything that the clients of a reproduction read from disk; decodes no image.

    Every path of every image of the lists that are used is looked for, and the sizes of those that are padded are read.

    Returns:
        What is there, and sentences on what is missing or not whole that say what to do.
    """
    clients = [client for sweep in work.sweeps.values() for client in sweep.scenario.clients]
    sharing: dict[tuple[str, str | None], list[ClientEntry]] = {}
    for client in clients:
        if client.dataset != "procedural":
            sharing.setdefault((client.dataset, client.data_root), []).append(client)
    looks: list[Callable[[], str]] = [partial(_data, work.table, members) for members in sharing.values()]
    weights = {client.encoder_weights: client for client in clients if client.encoder_weights != "none"}
    looks += [partial(_weights, client) for client in weights.values()]
    found: list[str] = []
    problems: list[str] = []
    for look in looks:
        try:
            found.append(look())
        except (SettingError, ScenarioError, DataLayoutError, DataFileError) as error:
            problems.append(str(error))
    return found, problems


def _data(table: Table, clients: Sequence[ClientEntry]) -> str:
    """What is there of the data set that some clients share."""
    require_data(clients)
    name = clients[0].dataset
    advice = f"`fmtl data help {name}` says what to fetch and where to put it."
    try:
        source = open_data(clients[0])
        counts = {}
        missing: list[Path] = []
        for listed, tasks in _lists(source, clients).items():
            counts[listed] = len(source.ids(listed))
            missing += [file.path for file in source.files(listed, tasks) if not file.path.is_file()]
    except (DataLayoutError, DataFileError) as error:
        raise SettingError(f"{str(error).rstrip('.')}. {advice}") from error
    if missing:
        others = f" and {len(missing) - 1} more files" if len(missing) > 1 else ""
        raise SettingError(f"{name}: {missing[0]}{others} are not there. {advice}")
    for client in clients:
        require_fitting(client, source)
    text = ", ".join(f"{count} images in list {listed}" for listed, count in counts.items())
    facts = table.data.get(name)
    if facts is not None and [*counts.values()][:2] != [facts.train, facts.validation]:
        text += f"; the paper has {facts.train} for training and {facts.validation} for validation"
    return f"{name}: {source.summary}: {text}"


def _lists(source: Source, clients: Sequence[ClientEntry]) -> dict[str, list[str]]:
    """The lists that clients read, those of training first, with the tasks read from each."""
    trained = [(client.train_list or source.lists[0], client.tasks) for client in clients]
    scored = [
        (client.validation_list or source.lists[1], client.tasks)
        for client in clients
        if client.validation_list or (client.own_validation is None and len(source.lists) > 1)
    ]
    lists: dict[str, dict[str, None]] = {}
    for name, tasks in (*trained, *scored):
        lists.setdefault(name, {}).update(dict.fromkeys(tasks))
    return {name: list(tasks) for name, tasks in lists.items()}


def _weights(entry: ClientEntry) -> str:
    require_weights(entry)
    return f"encoder weights: {entry.weights_path() or f'{entry.encoder} from the hub, downloaded at first use'}"
