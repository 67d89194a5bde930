"""The one file of a site: where the coordinator is, the site's key, and its client's data, tasks and encoder.

    coordinator: fl.example.org:8000
    authority: ca.crt              # the coordinator's certificate
    key: hospital-a.key            # never leaves this machine
    state: state                   # what the client keeps between rounds
    client:
      name: hospital-a
      dataset: folder
      data-root: /data/scans
      tasks: [semseg]
      image-size: [256, 256]
      encoder: resnet18

Relative paths lie under the folder of the file. Nothing of the file leaves the machine but what the client's profile
says (`fmtl_strategies.contract.profile`).
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fmtl_datasets.scenarios.scenario import ClientEntry, ScenarioError, scenario_of
from fmtl_datasets.scenarios.scenario_file import ScenarioText, check_keys, read_scenario_text

_PATHS = ("authority", "key", "state")
_KEYS = ("coordinator", *_PATHS, "client")
_CLIENT_PATHS = ("data-root", "encoder-weights")


@dataclass(frozen=True)
class SiteFile:
    """What a site's file says, paths absolute.

    Attributes:
        coordinator: `host:port`.
        authority: the certificate by which the coordinator is known.
        key: the private key by which the coordinator knows this site.
        state: folder of what the client keeps between rounds.
        entry: the client.
    """

    coordinator: str
    authority: Path
    key: Path
    state: Path
    entry: ClientEntry


def read_site_file(path: Path) -> SiteFile:
    """Read a site's file.

    Args:
        path: the YAML file.

    Raises:
        ScenarioError: no such file, an unknown or missing key, or an impossible value; all problems with their lines.
    """
    place = path.expanduser().absolute()
    if not place.exists():
        raise ScenarioError(f"{place}: there is no such file. Make a site's file: `fmtl site init --name NAME > FILE`.")
    text = read_scenario_text(place, "site's file", f"{', '.join(_KEYS[:-1])} and {_KEYS[-1]}")
    problems = check_keys(text, (), text.content, _KEYS)
    problems += [f"{text.where()}: the key '{key}' is missing." for key in _KEYS if key not in text.content]
    values = {key: text.content.get(key) for key in ("coordinator", *_PATHS)}
    problems += [
        f"{text.where(key)}: {key} = {value!r}: expected a text."
        for key, value in values.items()
        if key in text.content and (not isinstance(value, str) or not value.strip())
    ]
    client = text.content.get("client")
    if "client" in text.content and not isinstance(client, dict):
        problems.append(f"{text.where('client')}: 'client' is a mapping of client keys.")
    if problems:
        raise ScenarioError("\n".join(problems))
    entry = scenario_of(_as_scenario(text, place)).clients[0]
    paths = {key: place.parent / Path(str(values[key])).expanduser() for key in _PATHS}
    return SiteFile(coordinator=str(values["coordinator"]), entry=entry, **paths)


def _as_scenario(text: ScenarioText, place: Path) -> ScenarioText:
    """Return the file as a scenario of one client, with the lines on which its keys stand."""
    client: dict[str, Any] = dict(text.content["client"])
    for key in _CLIENT_PATHS:
        value = client.get(key)
        if isinstance(value, str) and value not in ("none", "hub"):
            client[key] = str(place.parent / Path(value).expanduser())
    lines = {("clients", 0, *keys[1:]): line for keys, line in text.lines.items() if keys[:1] == ("client",)}
    content = {"name": str(client.get("name", "site")), "description": "a site", "clients": [client]}
    return ScenarioText(text.path, content, {**text.lines, **lines})
