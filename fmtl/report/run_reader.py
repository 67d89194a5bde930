"""A run folder as one value: completed, failed with its reason, or unfinished with its last evaluated round."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from fmtl.report.run_files import (
    CONFIG,
    HISTORY,
    RESULT,
    ClientResult,
    ConfigFile,
    HistoryLine,
    ResultFile,
    RunFolderError,
    Score,
    read_config,
    read_history,
    read_result,
)

__all__ = ["Cost", "Measure", "Pair", "Run", "RunFolderError", "Score", "read_run"]

Pair = tuple[str, str]
"""Client name and task name: one column of published tables, one row of ours."""

Curve = tuple[tuple[int, float | None], ...]
"""Evaluated rounds with the value of the model after that round; None where it is missing."""


@dataclass(frozen=True)
class Measure:
    """What a task is scored by.

    Attributes:
        metric: its name.
        higher_is_better: its direction.
    """

    metric: str
    higher_is_better: bool


@dataclass(frozen=True)
class Cost:
    """What a run took.

    Attributes:
        seconds: wall-clock time.
        bytes_up: sent by all clients together.
        bytes_down: sent to all clients together.
    """

    seconds: float
    bytes_up: int
    bytes_down: int


@dataclass(frozen=True)
class Run:
    """One run, as far as it got.

    Attributes:
        folder: where it lies.
        status: how it ended.
        reason: why it failed; None otherwise.
        strategy: its name.
        parameters: of the strategy; of an unfinished run only those that were given, without the defaults.
        scenario: its name; a scenario file's name without its folder and ending.
        seed: of the run.
        rounds: that were asked for; of an unfinished run those that have ended.
        evaluated_round: last round whose model was scored; None where none was.
        run_config: the effective settings.
        versions: of the libraries.
        clients: what the result says about each; empty for an unfinished run.
        measures: metric and direction by client and task; empty for an unfinished run.
        scores: the final ones, of an unfinished run the last ones.
        curves: scores by round.
        cost: None for an unfinished run.
        given_name: what to call it in a comparison; empty for the folder's name.
        missed: by client, rounds that were aggregated without it or skipped; only clients that missed any.
    """

    folder: Path
    status: Literal["completed", "failed", "unfinished"]
    reason: str | None
    strategy: str
    parameters: Mapping[str, Any]
    scenario: str
    seed: int
    rounds: int
    evaluated_round: int | None
    run_config: Mapping[str, str | int | float | bool]
    versions: Mapping[str, Any]
    clients: Mapping[str, ClientResult]
    measures: Mapping[Pair, Measure]
    scores: Mapping[Pair, Score]
    curves: Mapping[Pair, Curve]
    cost: Cost | None
    given_name: str = ""
    missed: Mapping[str, int] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """What users know the run by: the name it was given, or its folder's."""
        return self.given_name or self.folder.resolve().name

    @property
    def state(self) -> str:
        """How far the run got, as a phrase."""
        reached = "no round evaluated" if self.evaluated_round is None else f"evaluated to round {self.evaluated_round}"
        if self.status == "completed":
            return "completed"
        return f"{self.status}, {reached}"


def read_run(folder: Path) -> Run:
    """Read a run folder.

    Args:
        folder: holds ``config.json``, ``history.jsonl`` and, once the run has ended, ``result.json``.

    Returns:
        The run; where ``result.json`` is absent its status is ``unfinished``.

    Raises:
        RunFolderError: not a run folder, or a file in it is damaged.
    """
    _check_is_run_folder(folder)
    config = read_config(folder)
    result = read_result(folder)
    history = read_history(folder, finished=result is not None)
    if result is None:
        return _unfinished(folder, config, history)
    return _ended(folder, config, history, result)


def _check_is_run_folder(folder: Path) -> None:
    if not folder.exists():
        raise RunFolderError(f"{folder} does not exist; give the folder of a run.")
    if not folder.is_dir():
        raise RunFolderError(f"{folder} is a file; give the folder of a run.")
    if any((folder / name).exists() for name in (CONFIG, HISTORY, RESULT)):
        return
    inside = sorted(path.name for path in folder.iterdir() if (path / CONFIG).exists())
    hint = f" It holds run folders: {', '.join(inside)}." if inside else ""
    raise RunFolderError(f"{folder} is not a run folder: it has no {CONFIG}, {HISTORY} or {RESULT}.{hint}")


def _curves(history: tuple[HistoryLine, ...]) -> dict[Pair, Curve]:
    points: dict[Pair, dict[int, float | None]] = {}
    for line in history:
        if line.evaluated_round is None:
            continue
        for client, tasks in line.scores.items():
            for task, score in tasks.items():
                points.setdefault((client, task), {})[line.evaluated_round] = score.value
    return {pair: tuple(sorted(by_round.items())) for pair, by_round in points.items()}


def _last_evaluated(history: tuple[HistoryLine, ...]) -> HistoryLine | None:
    evaluated = [line for line in history if line.evaluated_round is not None and line.scores]
    return evaluated[-1] if evaluated else None


def _ended(folder: Path, config: ConfigFile, history: tuple[HistoryLine, ...], result: ResultFile) -> Run:
    last = _last_evaluated(history)
    results = {(client, task): found for client, entry in result.clients.items() for task, found in entry.tasks.items()}
    return Run(
        folder=folder,
        status=result.status,
        reason=(result.reason or "no reason was recorded") if result.status == "failed" else None,
        strategy=result.strategy,
        parameters=result.strategy_parameters,
        scenario=_scenario_name(result.scenario),
        seed=result.seed,
        rounds=result.rounds,
        evaluated_round=None if last is None else last.evaluated_round,
        run_config=config.run_config,
        versions=result.versions,
        clients=result.clients,
        measures={pair: Measure(found.metric, found.higher_is_better) for pair, found in results.items()},
        scores=dict(results),
        curves=_curves(history),
        cost=Cost(result.seconds, result.bytes_up, result.bytes_down),
        missed=_missed(history, result.clients),
    )


def _missed(history: tuple[HistoryLine, ...], clients: Iterable[str]) -> dict[str, int]:
    trained = [line for line in history if not line.final and line.participants is not None]
    counts = {
        client: sum(line.skipped or client not in (line.participants or ()) for line in trained) for client in clients
    }
    return {client: count for client, count in counts.items() if count}


def _unfinished(folder: Path, config: ConfigFile, history: tuple[HistoryLine, ...]) -> Run:
    last = _last_evaluated(history)
    scores = {} if last is None else last.scores
    strategy = _text_setting(folder, config, "strategy")
    return Run(
        folder=folder,
        status="unfinished",
        reason=None,
        strategy=strategy,
        parameters=_given_parameters(config, strategy),
        scenario=_scenario_name(_text_setting(folder, config, "scenario")),
        seed=_seed(folder, config),
        rounds=max((line.round for line in history), default=0),
        evaluated_round=None if last is None else last.evaluated_round,
        run_config=config.run_config,
        versions=config.versions,
        clients={},
        measures={},
        scores={(client, task): score for client, tasks in scores.items() for task, score in tasks.items()},
        curves=_curves(history),
        cost=None,
    )


def _given_parameters(config: ConfigFile, strategy: str) -> dict[str, Any]:
    prefix = f"{strategy}."
    return {key.removeprefix(prefix): value for key, value in config.run_config.items() if key.startswith(prefix)}


def _scenario_name(setting: str) -> str:
    """A scenario given as a file goes by the file's name, as the shipped ones do."""
    return Path(setting).stem if setting.endswith((".yaml", ".yml")) else setting


def _text_setting(folder: Path, config: ConfigFile, key: str) -> str:
    value = config.run_config.get(key)
    if not isinstance(value, str) or not value:
        raise RunFolderError(f"{folder / CONFIG} is damaged: run_config.{key} is a name, but {value!r} was found.")
    return value


def _seed(folder: Path, config: ConfigFile) -> int:
    value = config.run_config.get("seed")
    if not isinstance(value, int) or isinstance(value, bool):
        raise RunFolderError(f"{folder / CONFIG} is damaged: run_config.seed is an integer, but {value!r} was found.")
    return value
