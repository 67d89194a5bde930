"""The sweep file: read, checked and expanded into runs before anything starts."""

from __future__ import annotations

import itertools
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fmtl_datasets.scenarios.scenario import Scenario, load_scenario

from fmtl.precheck import check_settings
from fmtl.settings import RunConfig, SettingError, default_settings, merge, merge_all, read_toml
from fmtl_strategies.in_force import in_force
from fmtl_strategies.parameters import StrategyParameterError
from fmtl_strategies.registry import UnknownStrategyError, strategy_class

__all__ = ["Sweep", "SweepError", "SweepRun", "check_runs", "read_sweep", "sweep_of"]

_FILE_KEYS = ("scenario", "rounds", "seeds", "out", "settings", "runs")
_ENTRY_KEYS = ("strategy", "label", "settings", "parameters")
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


class SweepError(ValueError):
    """A sweep that cannot be run as asked; the text names the place, what is wrong, and what to do."""


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
        SweepError: a mistake in the file, a setting that no run can have, or data that is not there.
    """
    if not path.is_file():
        raise SweepError(f"{path}: there is no such file; give a TOML file, such as docs/sweep-example.toml.")
    try:
        content = read_toml(path)
    except SettingError as error:
        raise SweepError(str(error)) from error
    sweep = sweep_of(path, content, out)
    check_runs(sweep)
    return sweep


def sweep_of(path: Path, content: Mapping[str, Any], out: Path | None = None) -> Sweep:
    """Expand the content of a sweep file into its runs; whether they can be run is left to `check_runs`.

    Args:
        path: where the content comes from, for messages; relative paths in it are relative to this file.
        content: what the file says.
        out: folder of the sweep, over the one that the content names.

    Raises:
        SweepError: an unknown key, a value of another type, a label that is taken.
    """
    _known_keys(str(path), content, _FILE_KEYS)
    name = _text(str(path), content, "scenario")
    if "/" in name or name.endswith((".yaml", ".yml")):
        name = str((path.absolute().parent / Path(name).expanduser()).resolve())
    try:
        scenario = load_scenario(name)
    except (ValueError, OSError) as error:
        raise SweepError(f"{path}: scenario = {content['scenario']!r}: {error}") from error
    rounds = _rounds(path, content)
    common: RunConfig = {"scenario": name, "num-server-rounds": rounds, "min-clients": len(scenario.clients)}
    common_source = f"{path}: [settings]"
    shared = _flat(common_source, _settings(common_source, content))
    try:
        base = merge(merge(default_settings(), common, str(path)), shared, common_source)
    except SettingError as error:
        raise SweepError(str(error)) from error
    runs = _runs(path, content, base)
    _require_used(common_source, shared, runs)
    return Sweep(path.absolute(), scenario, rounds, _seeds(path, content), _out(path, content, out), runs)


def check_runs(sweep: Sweep) -> None:
    """Check what servers and clients will: settings, parameters, encoders, and that data and weights are there.

    Raises:
        SweepError: a run that cannot be done; names it.
    """
    for run in sweep.runs:
        _check(sweep.path, run, sweep.scenario, sweep.seeds[0])


def _runs(path: Path, content: Mapping[str, Any], base: RunConfig) -> tuple[SweepRun, ...]:
    entries = content.get("runs")
    if not isinstance(entries, list) or not entries or not all(isinstance(entry, dict) for entry in entries):
        raise SweepError(f"{path}: runs = {entries!r}; expected at least one [[runs]] entry with a strategy.")
    runs: list[SweepRun] = []
    for number, entry in enumerate(entries, start=1):
        for run in _expand(f"{path}: [[runs]] entry {number}", entry, base):
            for other in runs:
                if other.label == run.label:
                    raise _wrong(
                        f"{path}: [[runs]] entry {number}",
                        f"label = {run.label!r} is taken by an earlier entry; give each entry a label of its own",
                    )
                if other.values == run.values:
                    raise _wrong(
                        f"{path}: [[runs]] entry {number}",
                        f"{run.label} is the same run as {other.label}: all settings are equal; remove one of them",
                    )
            runs.append(run)
    return tuple(runs)


def _expand(place: str, entry: Mapping[str, Any], base: RunConfig) -> list[SweepRun]:
    """All runs of one entry: one for each combination of the values given as lists."""
    _known_keys(place, entry, _ENTRY_KEYS)
    strategy = _text(place, entry, "strategy")
    label = _label(place, entry, strategy)
    place = f"{place} ({label})"
    parameters = _table(place, entry, "parameters")
    settings = _settings(place, entry)
    own = _own_name(place, strategy)
    given = {**_nested(settings), **{f"{own}.{key}": value for key, value in _nested(parameters).items()}}
    varied = {key: value for key, value in given.items() if isinstance(value, list)}
    for key, several in varied.items():
        if not several or any(isinstance(value, list | dict) for value in several):
            raise _wrong(place, f"{key} = {several!r}; expected a value, or a list of values for one run each")
    runs = []
    for chosen in itertools.product(*varied.values()):
        combination = dict(zip(varied, chosen, strict=True))
        flat = _flat(place, {**given, **combination})
        name = "-".join([label, *(_named(place, own, key, value) for key, value in combination.items())])
        try:
            values = merge_all({**base, "strategy": strategy}, [(flat, place)])
        except SettingError as error:
            raise SweepError(str(error)) from error
        runs.append(SweepRun(name, strategy, flat, _read_values(place, strategy, values, flat)))
    return runs


def _own_name(place: str, strategy: str) -> str:
    """The name that the parameters of a strategy stand under; of one outside the project that of its class."""
    try:
        return strategy_class(strategy).name
    except UnknownStrategyError as error:
        raise _wrong(place, f"strategy = {strategy!r}: {error}") from error


def _read_values(place: str, strategy: str, values: RunConfig, given: RunConfig) -> RunConfig:
    """A run config without the parameters that its strategy does not read; none of these may have been given."""
    try:
        read = in_force(strategy, values)
        read.refuse(given)
    except StrategyParameterError as error:
        raise _wrong(place, str(error)) from error
    return {key: value for key, value in values.items() if "." not in key or read.reads(key)}


def _require_used(place: str, shared: RunConfig, runs: Sequence[SweepRun]) -> None:
    """Refuse parameters given for all entries of which no strategy reads any."""
    for key, value in shared.items():
        if "." in key and not any(key in run.values for run in runs):
            known = dict.fromkeys(name.partition(".")[0] for run in runs for name in run.values if "." in name)
            sections = ", ".join(f"{section}.<parameter>" for section in known) or "no strategy's parameters"
            raise _wrong(
                place,
                f"{key} = {value!r} has no effect: no entry's strategy reads it, they read {sections}; leave it out, "
                f"or correct its name",
            )


def _check(path: Path, run: SweepRun, scenario: Scenario, seed: int) -> None:
    try:
        check_settings({**run.values, "seed": seed}, scenario.clients)
    except (ValueError, OSError) as error:
        raise SweepError(f"{path}: run {run.label}: {error}") from error
    needed = run.values["min-clients"]
    if isinstance(needed, int) and needed > len(scenario.clients):
        raise _wrong(
            f"{path}: run {run.label}",
            f"min-clients = {needed}, but scenario {scenario.name} has {len(scenario.clients)} clients; lower it",
        )


def _label(place: str, entry: Mapping[str, Any], strategy: str) -> str:
    label = entry.get("label", strategy)
    if isinstance(label, str) and _LABEL.fullmatch(label) and not label.endswith(_TAKEN) and len(label) <= 100:
        return label
    expected = "a text of letters, digits, '-', '_' and '.', no ending like .md or .json: it becomes a folder's name"
    if "label" not in entry:
        raise _wrong(place, f"strategy = {strategy!r} cannot be a label; add a label, {expected}")
    raise _wrong(place, f"label = {label!r}; expected {expected}")


def _named(place: str, own: str, key: str, value: object) -> str:
    """`mu=0.1`, as part of a label; `rho=1_n` for `1/n`, as the label becomes a folder's name."""
    text = (str(value).lower() if isinstance(value, bool) else str(value)).replace("/", "_")
    if not _VALUE.fullmatch(text):
        raise _wrong(
            place,
            f"{key} has the value {value!r}, which cannot be part of a folder's name; "
            f"write an entry of its own with a label",
        )
    return f"{key.removeprefix(f'{own}.')}={text}"


def _rounds(path: Path, content: Mapping[str, Any]) -> int:
    rounds = content.get("rounds")
    if type(rounds) is not int or rounds < 1:
        raise SweepError(f"{path}: rounds = {rounds!r}; expected a whole number of at least 1, as in rounds = 5.")
    return rounds


def _seeds(path: Path, content: Mapping[str, Any]) -> tuple[int, ...]:
    seeds = content.get("seeds")
    fine = isinstance(seeds, list) and seeds and all(type(seed) is int and 0 <= seed < 2**31 for seed in seeds)
    if not isinstance(seeds, list) or not fine:
        raise SweepError(f"{path}: seeds = {seeds!r}; expected whole numbers from 0 to 2^31 - 1, as in seeds = [0, 1].")
    if len(set(seeds)) < len(seeds):
        raise SweepError(f"{path}: seeds = {seeds!r}; expected every seed once.")
    return tuple(seeds)


def _out(path: Path, content: Mapping[str, Any], out: Path | None) -> Path:
    if out is not None:
        return out.expanduser().absolute()
    if "out" in content:
        return (path.absolute().parent / Path(_text(str(path), content, "out")).expanduser()).resolve()
    return Path.cwd() / "runs" / path.stem


def _settings(place: str, table: Mapping[str, Any]) -> Mapping[str, Any]:
    settings = _table(place, table, "settings")
    for key, remedy in _ELSEWHERE.items():
        if key in settings:
            raise _wrong(place, f"{key} = {settings[key]!r} does not belong among the settings; {remedy}")
    return settings


def _table(place: str, table: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    found = table.get(key, {})
    if not isinstance(found, dict):
        raise _wrong(place, f"{key} = {found!r}; expected a table, as in {key} = {{ name = value }}")
    return found


def _text(place: str, table: Mapping[str, Any], key: str) -> str:
    found = table.get(key)
    if not isinstance(found, str) or not found.strip():
        raise _wrong(place, f"{key} is missing" if found is None else f"{key} = {found!r}; expected a text in quotes")
    return found.strip()


def _nested(table: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Tables inside a table as dotted keys; lists stay."""
    flat: dict[str, Any] = {}
    for key, value in table.items():
        flat.update(_nested(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value})
    return flat


def _flat(place: str, table: Mapping[str, Any]) -> RunConfig:
    flat: RunConfig = {}
    for key, value in _nested(table).items():
        if not isinstance(value, bool | int | float | str):
            raise _wrong(place, f"{key} = {value!r}; expected true, false, a number or a text")
        flat[key] = value
    return flat


def _known_keys(place: str, table: Mapping[str, Any], known: Sequence[str]) -> None:
    for key, value in table.items():
        if key not in known:
            hint = "; a run-config key belongs under settings, a strategy's own one under parameters of its entry"
            raise _wrong(place, f"unknown key {key!r} (= {value!r}); known keys: {', '.join(known)}{hint}")


def _wrong(place: str, problem: str) -> SweepError:
    return SweepError(f"{place}: {problem}.")
