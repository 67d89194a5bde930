"""The sweep file: read, checked and expanded into runs before anything starts."""

from __future__ import annotations

import itertools
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Self

from fmtl_datasets.scenarios.scenario import Scenario, load_scenario
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator

from fmtl.errors import SettingError, first_fault
from fmtl.precheck import check_encoders, check_settings
from fmtl.settings import RunConfig, default_settings, dotted, merge, merge_all, plain_values, read_toml
from fmtl_strategies.parameters import StrategyParameterError
from fmtl_strategies.registry import UnknownStrategyError, in_force, strategy_class

_ELSEWHERE = {
    "strategy": "write it as `strategy` of a [[runs]] entry",
    "scenario": "write it as `scenario` at the top",
    "num-server-rounds": "write it as `rounds` at the top",
    "seed": "write it as `seeds` at the top",
    "out-dir": "write it as `out` at the top, or use --out",
    "resume": "leave it out: a sweep goes on by itself",
}
_LABEL = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_VALUE = re.compile(r"[A-Za-z0-9._+-]+")
_TAKEN = (".md", ".json", ".png", ".txt")


def _without_what_belongs_elsewhere(settings: dict[str, Any]) -> dict[str, Any]:
    for key, remedy in _ELSEWHERE.items():
        if key in settings:
            raise ValueError(f"{key} = {settings[key]!r} does not belong among the settings; {remedy}")
    return settings


_Text = Annotated[str, Field(min_length=1)]
_Settings = Annotated[dict[str, Any], AfterValidator(_without_what_belongs_elsewhere)]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class _Entry(_Strict):
    strategy: _Text
    label: str | None = None
    settings: _Settings = Field(default_factory=dict)
    parameters: dict[str, Any] = Field(default_factory=dict)

    @property
    def name(self) -> str:
        return self.strategy if self.label is None else self.label

    @model_validator(mode="after")
    def _good_name(self) -> Self:
        if not _LABEL.fullmatch(self.name) or self.name.endswith(_TAKEN) or len(self.name) > 100:
            raise ValueError(
                f"label = {self.name!r}; expected letters, digits, '-', '_' and '.', and no ending like .md or .json: "
                f"it becomes a folder's name (where there is no label, the strategy is taken)"
            )
        return self


class _File(_Strict):
    scenario: _Text
    rounds: Annotated[int, Field(ge=1)]
    seeds: Annotated[list[Annotated[int, Field(ge=0, lt=2**31)]], Field(min_length=1)]
    out: _Text | None = None
    settings: _Settings = Field(default_factory=dict)
    runs: Annotated[list[_Entry], Field(min_length=1)]

    @model_validator(mode="after")
    def _every_seed_once(self) -> Self:
        if len(set(self.seeds)) < len(self.seeds):
            raise ValueError(f"seeds = {self.seeds!r}; expected every seed once")
        return self


@dataclass(frozen=True)
class SweepRun:
    """One line of the sweep: what is run with every seed.

    Attributes:
        label: its name in tables and of its folder.
        strategy: name of the strategy.
        given: what its entry sets, by run-config key.
        values: complete run config but for seed, out-dir, and parameters that its strategy does not read.
    """

    label: str
    strategy: str
    given: RunConfig
    values: RunConfig


@dataclass(frozen=True)
class Sweep:
    """A checked sweep file.

    Attributes:
        path: of the file.
        scenario: loaded.
        rounds: of every run.
        seeds: every run is done with each of them.
        out: absolute path of the sweep's folder.
        runs: in the order of the file.
    """

    path: Path
    scenario: Scenario
    rounds: int
    seeds: tuple[int, ...]
    out: Path
    runs: tuple[SweepRun, ...]


def read_sweep(path: Path, out: Path | None = None) -> Sweep:
    """Read a sweep file and check everything that can be wrong with its runs.

    Args:
        path: the file.
        out: folder of the sweep, over the one that the file names.

    Raises:
        SettingError: a mistake in the file, a setting that no run can have, or data that is not there.
    """
    if not path.is_file():
        raise SettingError(f"{path}: there is no such file; give a TOML file, such as docs/sweep-example.toml.")
    sweep = sweep_of(path, read_toml(path), out)
    check_runs(sweep)
    return sweep


def sweep_of(path: Path, content: Mapping[str, Any], out: Path | None = None) -> Sweep:
    """Expand the content of a sweep file into its runs; whether they can be run is left to `check_runs`.

    Args:
        path: where the content comes from, for messages; relative paths in it are relative to this file.
        content: what the file says.
        out: folder of the sweep, over the one that the content names.

    Raises:
        SettingError: an unknown key, a value of another type, a label that is taken.
    """
    try:
        file = _File.model_validate(content)
    except ValidationError as error:
        raise SettingError(f"{path}: {first_fault(error)}.") from error
    name = file.scenario
    if "/" in name or name.endswith((".yaml", ".yml")):
        name = _beside(path, name)
    try:
        scenario = load_scenario(name)
    except (ValueError, OSError) as error:
        raise SettingError(f"{path}: scenario = {file.scenario!r}: {error}") from error
    common: RunConfig = {"scenario": name, "num-server-rounds": file.rounds, "min-clients": len(scenario.clients)}
    place = f"{path}: [settings]"
    shared = plain_values(dotted(file.settings), place)
    runs = _runs(path, file.runs, merge(merge(default_settings(), common, str(path)), shared, place))
    _require_used(place, shared, runs)
    if out is not None:
        folder = out.expanduser().absolute()
    else:
        folder = Path.cwd() / "runs" / path.stem if file.out is None else Path(_beside(path, file.out))
    return Sweep(path.absolute(), scenario, file.rounds, tuple(file.seeds), folder, runs)


def _beside(path: Path, relative: str) -> str:
    return str((path.absolute().parent / Path(relative).expanduser()).resolve())


def check_runs(sweep: Sweep) -> None:
    """Check what servers and clients will: settings, parameters, encoders, and that data and weights are there.

    Raises:
        SettingError: a run that cannot be done; names it.
    """
    for run in sweep.runs:
        place = f"{sweep.path}: run {run.label}"
        try:
            check_settings({**run.values, "seed": sweep.seeds[0]}, sweep.scenario.clients)
            check_encoders(sweep.scenario.clients)
        except (ValueError, OSError) as error:
            raise SettingError(f"{place}: {error}") from error
        needed, there = run.values["min-clients"], len(sweep.scenario.clients)
        if isinstance(needed, int) and needed > there:
            raise SettingError(
                f"{place}: min-clients = {needed}, but scenario {sweep.scenario.name} has {there} clients; lower it."
            )


def _runs(path: Path, entries: Sequence[_Entry], base: RunConfig) -> tuple[SweepRun, ...]:
    runs: list[SweepRun] = []
    for number, entry in enumerate(entries, start=1):
        place = f"{path}: [[runs]] entry {number} ({entry.name})"
        for run in _expand(place, entry, base):
            for other in runs:
                if other.label == run.label:
                    raise SettingError(
                        f"{place}: label = {run.label!r} is taken by an earlier entry; give each a label of its own."
                    )
                if other.values == run.values:
                    raise SettingError(
                        f"{place}: {run.label} is the same run as {other.label}: all settings are equal; remove one."
                    )
            runs.append(run)
    return tuple(runs)


def _expand(place: str, entry: _Entry, base: RunConfig) -> list[SweepRun]:
    """All runs of one entry: one for each combination of the values given as lists."""
    try:
        # Parameters of a strategy outside the project stand under the name of its class.
        own = strategy_class(entry.strategy).name
    except UnknownStrategyError as error:
        raise SettingError(f"{place}: strategy = {entry.strategy!r}: {error}.") from error
    given = {**dotted(entry.settings), **{f"{own}.{key}": value for key, value in dotted(entry.parameters).items()}}
    varied = {key: value for key, value in given.items() if isinstance(value, list)}
    for key, several in varied.items():
        if not several or any(isinstance(value, list | dict) for value in several):
            raise SettingError(f"{place}: {key} = {several!r}; expected a value, or a list of values for one run each.")
    runs = []
    for chosen in itertools.product(*varied.values()):
        combination = dict(zip(varied, chosen, strict=True))
        flat = plain_values({**given, **combination}, place)
        label = "-".join([entry.name, *(_named(place, own, key, value) for key, value in combination.items())])
        values = merge_all({**base, "strategy": entry.strategy}, [(flat, place)])
        runs.append(SweepRun(label, entry.strategy, flat, _read_values(place, entry.strategy, values, flat)))
    return runs


def _read_values(place: str, strategy: str, values: RunConfig, given: RunConfig) -> RunConfig:
    """A run config without the parameters that its strategy does not read; none of these may have been given."""
    try:
        read = in_force(strategy, values)
        read.refuse(given)
    except StrategyParameterError as error:
        raise SettingError(f"{place}: {error}.") from error
    return {key: value for key, value in values.items() if "." not in key or read.reads(key)}


def _require_used(place: str, shared: RunConfig, runs: Sequence[SweepRun]) -> None:
    """Refuse parameters given for all entries of which no strategy reads any."""
    for key, value in shared.items():
        if "." in key and not any(key in run.values for run in runs):
            known = dict.fromkeys(name.partition(".")[0] for run in runs for name in run.values if "." in name)
            sections = ", ".join(f"{section}.<parameter>" for section in known) or "no strategy's parameters"
            raise SettingError(
                f"{place}: {key} = {value!r} has no effect: no entry's strategy reads it, they read {sections}; leave "
                f"it out, or correct its name."
            )


def _named(place: str, own: str, key: str, value: object) -> str:
    """`mu=0.1`, as part of a label; `rho=1_n` for `1/n`, as the label becomes a folder's name."""
    text = (str(value).lower() if isinstance(value, bool) else str(value)).replace("/", "_")
    if not _VALUE.fullmatch(text):
        raise SettingError(
            f"{place}: {key} has the value {value!r}, which cannot be part of a folder's name; write an entry of its "
            f"own with a label."
        )
    return f"{key.removeprefix(f'{own}.')}={text}"
