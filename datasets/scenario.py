"""Scenarios: which clients take part, with which data, tasks, encoder and local settings.

A scenario is a YAML file with ``name``, ``description``, optional ``defaults`` (merged under every client) and a list
``clients``. In a simulation entry *i* is the client of partition *i*; a site that takes part over the network uses a
file of its own with one client. Keys are written in kebab-case in the file and are snake_case attributes here.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Field, ValidationError, field_validator, model_validator

from datasets.conventions import DATASET_TASKS, TASKS, TRAINED_TASKS
from datasets.scenario_file import ScenarioError, ScenarioText, check_keys, read_scenario_text
from datasets.share import Count, Share, StrictModel, Whole, kebab

__all__ = ["ClientEntry", "Scenario", "ScenarioError", "Share", "list_scenarios", "load_scenario"]

DATA_ROOT_VARIABLE = "FMTL_DATA_ROOT"
SCENARIO_FOLDER = Path(__file__).parent / "scenarios"

EDGE_DISTANCES: Mapping[str, float] = {"procedural": 0.0075, "nyud": 0.011}
"""Default matching distance of odsF as a fraction of the image diagonal (methods: 0.011 for NYUD, else BSDS's)."""

PATTERN_WORDS: Mapping[str, str] = {
    "name": "1 to 64 letters, digits, '-' or '_'",
    "device": "auto, cpu, cuda or cuda:N",
}
"""What the patterned keys allow, in words for error messages."""

Side = Annotated[int, Field(ge=32, le=4096, strict=True)]


class ClientEntry(StrictModel):
    """One participant of a scenario.

    Attributes:
        name: unique among the clients.
        dataset: ``procedural`` or ``nyud``.
        tasks: what it trains; the data set must offer them.
        image_size: height and width, in pixels, of what the network sees.
        data_root: folder of the data set; relative paths lie under ``FMTL_DATA_ROOT``. Not for procedural.
        domain: ``indoor`` or ``outdoor``; procedural only (indoor where left out).
        data_seed: seed of the procedural scenes, or of the shuffle that shares are cut from.
        fit: ``resize`` scales every image to ``image-size`` once, when it is read; ``pad`` keeps the native scale and
            crops or pads to ``image-size`` (the published recipe).
        normalisation: ``imagenet`` (mean and standard deviation) or ``half`` (RGB / 128 - 1).
        share: the part of the training images that is this client's; where no client of a data set gives one, the
            scenario divides the images equally, in the order of the file.
        train_images: at most this many images of the share; required for procedural, whose supply is endless.
        validation_images: at most this many validation images; required for procedural.
        validation_list: ``val`` or ``val_mini``; nyud only.
        augment: ``none``, ``flip``, or ``reference`` (the full published training chain).
        encoder: a timm name or the name of a preset.
        encoder_weights: ``none``, ``hub``, or a safetensors file; relative paths lie under ``FMTL_DATA_ROOT``.
        allow_unmatched_weights: load what fits of the weights file instead of refusing a file that does not fit whole.
        decoder_width: channels of each decoder, a multiple of 4.
        batch_norm: ``train`` or ``eval``: mode of the encoder's batch norm during training.
        local_epochs: passes over the client's images in each round.
        batch_size: images in a training step.
        device: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.
        edge_distance: largest matching distance of odsF, as a fraction of the image diagonal.
    """

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{1,64}$")]
    dataset: Literal["procedural", "nyud"]
    tasks: Annotated[tuple[str, ...], Field(min_length=1)]
    image_size: tuple[Side, Side]
    data_root: Annotated[str, Field(min_length=1)] | None = None
    domain: Literal["indoor", "outdoor"] | None = None
    data_seed: Whole = 0
    fit: Literal["resize", "pad"] = "resize"
    normalisation: Literal["imagenet", "half"] = "imagenet"
    share: Share | None = None
    train_images: Count | None = None
    validation_images: Count | None = None
    validation_list: Literal["val", "val_mini"] | None = None
    augment: Literal["none", "flip", "reference"] = "flip"
    encoder: Annotated[str, Field(min_length=1)]
    encoder_weights: Annotated[str, Field(min_length=1)] = "none"
    allow_unmatched_weights: Literal["true", "false"] = "false"
    decoder_width: Annotated[int, Field(ge=4, le=1024, multiple_of=4, strict=True)] = 96
    batch_norm: Literal["train", "eval"] = "train"
    local_epochs: Count = 1
    batch_size: Count = 8
    device: Annotated[str, Field(pattern=r"^(auto|cpu|cuda|cuda:\d{1,3})$")] = "auto"
    edge_distance: Annotated[float, Field(gt=0, le=0.5)] = EDGE_DISTANCES["procedural"]

    @model_validator(mode="before")
    @classmethod
    def _defaults_of_the_data_set(cls, data: Any) -> Any:
        if not isinstance(data, dict):
            return data
        filled = {kebab(str(key)): value for key, value in data.items()}
        dataset = str(filled.get("dataset"))
        filled.setdefault("edge-distance", EDGE_DISTANCES.get(dataset, 0.0075))
        if dataset == "procedural":
            filled.setdefault("domain", "indoor")
        if dataset == "nyud":
            filled.setdefault("validation-list", "val")
        return filled

    @field_validator("tasks")
    @classmethod
    def _known_tasks(cls, tasks: tuple[str, ...]) -> tuple[str, ...]:
        unknown = [task for task in tasks if task not in TASKS]
        if unknown:
            raise ValueError(f"unknown task {', '.join(map(repr, unknown))}; known tasks: {', '.join(TASKS)}")
        untrained = [task for task in tasks if task not in TRAINED_TASKS]
        if untrained:
            raise ValueError(
                f"{', '.join(untrained)} cannot be trained yet: there are labels and no decoder; "
                f"tasks that can: {', '.join(TRAINED_TASKS)}"
            )
        if len(set(tasks)) != len(tasks):
            raise ValueError("a task is listed twice")
        return tasks

    @model_validator(mode="after")
    def _possible(self) -> Self:
        offered = DATASET_TASKS[self.dataset]
        missing = [task for task in self.tasks if task not in offered]
        if missing:
            raise ValueError(f"dataset {self.dataset} has no {', '.join(missing)}; it offers {', '.join(offered)}")
        if self.dataset == "procedural":
            self._possible_procedural()
        else:
            if self.data_root is None:
                raise ValueError(f"dataset {self.dataset} needs 'data-root', the folder that holds it")
            if self.domain is not None:
                raise ValueError("'domain' is for dataset procedural only; remove it here")
        if self.train_images is not None and self.batch_size > self.train_images:
            raise ValueError(f"batch-size {self.batch_size} is larger than train-images {self.train_images}")
        return self

    def _possible_procedural(self) -> None:
        if self.data_root is not None:
            raise ValueError("'data-root' is not for dataset procedural, which reads no files; remove it here")
        if self.validation_list is not None:
            raise ValueError("'validation-list' is for dataset nyud only; remove it here")
        if self.train_images is None or self.validation_images is None:
            raise ValueError("dataset procedural needs 'train-images' and 'validation-images': its supply is endless")
        if self.share is not None and self.share.part is None:
            raise ValueError("a share of dataset procedural is {part: P, of: N}: no fraction of an endless supply")

    @property
    def pool(self) -> tuple[str, str | None, int | None]:
        """What shares are cut from: clients of one pool divide the same images between them.

        For procedural another seed is another supply of scenes; for files on disk it only shuffles the same list.
        """
        if self.data_root is None:
            return (self.dataset, None, self.data_seed)
        return (self.dataset, str(Path(self.data_root)), None)

    def data_path(self) -> Path:
        """The data set's folder, relative paths resolved.

        Raises:
            ScenarioError: the data set reads no files, or ``FMTL_DATA_ROOT`` is needed and not set.
        """
        if self.data_root is None:
            raise ScenarioError(f"client {self.name}: dataset {self.dataset} has no data-root.")
        return self._resolve("data-root", self.data_root)

    def weights_path(self) -> Path | None:
        """The encoder's weights file, relative paths resolved; None for ``none`` and ``hub``.

        Raises:
            ScenarioError: ``FMTL_DATA_ROOT`` is needed and not set.
        """
        if self.encoder_weights in ("none", "hub"):
            return None
        return self._resolve("encoder-weights", self.encoder_weights)

    def _resolve(self, key: str, value: str) -> Path:
        path = Path(value).expanduser()
        if path.is_absolute():
            return path
        root = os.environ.get(DATA_ROOT_VARIABLE)
        if not root:
            raise ScenarioError(
                f"client {self.name}: {key} = {value!r} is a relative path, which is looked up under the environment "
                f"variable {DATA_ROOT_VARIABLE}; that is not set. Set it to the folder that holds {value!r}, or give "
                f"an absolute path."
            )
        return Path(root).expanduser().absolute() / path


class Scenario(StrictModel):
    """The clients of a run, in the order of their partitions.

    Attributes:
        name: short name.
        description: what the scenario is for.
        clients: the participants; every one has a ``share``.
    """

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{1,64}$")]
    description: str
    clients: Annotated[tuple[ClientEntry, ...], Field(min_length=1)]

    @field_validator("clients")
    @classmethod
    def _names_and_shares(cls, clients: tuple[ClientEntry, ...]) -> tuple[ClientEntry, ...]:
        names = [client.name for client in clients]
        repeated = sorted({name for name in names if names.count(name) > 1})
        if repeated:
            raise ValueError(f"client names must be unique; given more than once: {', '.join(repeated)}")
        shared = {client.name: client for client in clients}
        for pool in dict.fromkeys(client.pool for client in clients):
            for client in _with_disjoint_shares([client for client in clients if client.pool == pool]):
                shared[client.name] = client
        return tuple(shared[name] for name in names)

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


def _with_disjoint_shares(clients: list[ClientEntry]) -> list[ClientEntry]:
    """Check the shares of one pool, or give equal ones where no client has any."""
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
    for index, client in enumerate(clients):
        for other in clients[index + 1 :]:
            if client.share is not None and other.share is not None and client.share.overlaps(other.share):
                raise ValueError(
                    f"the shares of {client.name} and {other.name} are not disjoint; cut both into the same number "
                    f"of parts ('of') and give each its own 'part'"
                )
    return clients


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
        return _validate(read_scenario_text(Path(given).expanduser()))
    if given not in list_scenarios():
        raise ScenarioError(
            f"scenario = {given!r} is not known. Known scenarios: {', '.join(list_scenarios())}; "
            f"or give the path of a .yaml file."
        )
    return _validate(read_scenario_text(SCENARIO_FOLDER / f"{given}.yaml"))


def _validate(text: ScenarioText) -> Scenario:
    """Check keys, then each client for itself (so that errors can name it), then the clients together."""
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
