"""Which client of which scenario this process is, and where it keeps its state."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from fmtl_datasets.scenarios.overlap import require_apart
from fmtl_datasets.scenarios.scenario import ClientEntry, load_scenario

from client_app.site.site_file import read_site_file
from fmtl_strategies.contract.paths import clients_folder, run_folder

LABEL_CACHE = "label-cache"


class IdentityError(ValueError):
    """The node or run config does not say which client this is."""


@dataclass(frozen=True)
class Identity:
    """This process's client.

    Attributes:
        entry: its scenario entry.
        state_root: folder under which clients on this machine keep what survives a round.
        label_cache: folder for labels derived from the data set's files, beside the run.
        is_site: a machine of its own (it was started with a client file), not one of many in a simulation.
    """

    entry: ClientEntry
    state_root: Path
    label_cache: Path
    is_site: bool


def identify(node_config: Mapping[str, object], run_config: Mapping[str, object], run_id: int) -> Identity:
    """Find this process's client.

    A site names its own file in the node config (`site-file`), or a scenario file (`client-file`, and `client` where
    the file lists several) and a folder for its state (`state-dir`). A simulated client has only a `partition-id`:
    the place of its entry in the run's scenario.

    Args:
        node_config: Flower's node config.
        run_config: Flower's run config.
        run_id: Flower's number of the run.

    Raises:
        IdentityError: a key is missing or has an impossible value.
        ScenarioError: the scenario cannot be used, or clients have images in common.
        RunFolderError: `out-dir` is a relative path.
    """
    site_file = _text(node_config, "site-file")
    if site_file:
        site = read_site_file(_absolute(site_file, "site-file"))
        return Identity(site.entry, site.state, site.state / LABEL_CACHE, is_site=True)
    client_file = _text(node_config, "client-file")
    if client_file:
        state = _site_state(node_config)
        entry = _site_entry(client_file, _text(node_config, "client"))
        return Identity(entry, state, state / LABEL_CACHE, is_site=True)
    scenario = _text(run_config, "scenario")
    if not scenario:
        raise IdentityError(
            "the run config has no 'scenario'. Give the name of a scenario or the absolute path of a .yaml file, "
            "for example --run-config \"scenario='demo'\"; a site gives client-file in its node config instead."
        )
    loaded = load_scenario(scenario)
    entry = loaded.client(_partition(node_config))
    # All clients of a simulation read from this machine, so their images can be compared.
    require_apart(loaded)
    state_dir = _text(node_config, "state-dir")
    if state_dir:
        root = _absolute(state_dir, "state-dir")
        return Identity(entry, root, root / LABEL_CACHE, is_site=False)
    folder = run_folder(_text(run_config, "out-dir"), run_id)
    return Identity(entry, clients_folder(folder), folder.parent / LABEL_CACHE, is_site=False)


def _site_entry(client_file: str, client: str) -> ClientEntry:
    path = _absolute(client_file, "client-file")
    entries = {entry.name: entry for entry in load_scenario(path).clients}
    if client:
        if client not in entries:
            raise IdentityError(f"client = {client!r} is not in {path}; it lists {', '.join(entries)}")
        return entries[client]
    if len(entries) > 1:
        raise IdentityError(
            f"{path} lists {len(entries)} clients; say which one this site is with client = one of "
            f"{', '.join(entries)} in the node config"
        )
    return next(iter(entries.values()))


def _site_state(node_config: Mapping[str, object]) -> Path:
    state_dir = _text(node_config, "state-dir")
    if not state_dir:
        raise IdentityError(
            "the node config has a client-file but no 'state-dir', the absolute path of the folder where this site "
            "keeps its heads and optimiser state between rounds; without one they would be lost at every restart"
        )
    return _absolute(state_dir, "state-dir")


def _absolute(value: str, key: str) -> Path:
    path = Path(value).expanduser()
    if not path.is_absolute():
        raise IdentityError(
            f"{key} = {value!r} is a relative path; Flower starts clients in folders of its own choice, so give an "
            f"absolute one"
        )
    return path


def _partition(node_config: Mapping[str, object]) -> int:
    value = node_config.get("partition-id")
    if isinstance(value, bool) or not isinstance(value, int):
        raise IdentityError(
            f"the node config has partition-id = {value!r}; expected the place of this client in the scenario, from 0 "
            f"(a simulation sets it), or a client-file"
        )
    return value


def _text(config: Mapping[str, object], key: str) -> str:
    value = config.get(key, "")
    if not isinstance(value, str):
        raise IdentityError(f"{key} = {value!r} is not a text; put it in quotes")
    return value.strip()
