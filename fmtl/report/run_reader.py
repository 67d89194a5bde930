"""A run folder as one value: completed, failed with its reason, or unfinished with its last evaluated round.

Unknown keys are let through, so that a later version may write more. A number that is not finite is damage: the server
writes none, and a value that could not be computed is null with its reason.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, Self, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from fmtl.errors import SettingError, first_fault

CONFIG, HISTORY, RESULT = "config.json", "history.jsonl", "result.json"

Pair = tuple[str, str]
"""Client name and task name: one column of published tables, one row of ours."""

Curve = tuple[tuple[int, float | None], ...]
"""Evaluated rounds with the value of the model after that round; None where it is missing."""

Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{1,64}$")]
"""Client and task names end up in file names and tables, so nothing else is let in."""

Text = Annotated[str, Field(min_length=1)]
Count = Annotated[int, Field(ge=0)]
Value = Annotated[float, Field(ge=-1e100, le=1e100)]
"""Wider than any metric, and narrow enough that sums and squares of values stay finite."""


class _Read(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True, strict=True, allow_inf_nan=False)


Model = TypeVar("Model", bound=_Read)


class Score(_Read):
    """A metric's value, or the reason why there is none.

    Attributes:
        value: in the metric's unit; None where missing.
        missing_because: given exactly when there is no value.
    """

    value: Value | None = None
    missing_because: str | None = None

    @model_validator(mode="before")
    @classmethod
    def _reason_of_a_missing_value(cls, data: Any) -> Any:
        if isinstance(data, dict) and data.get("value") is None and not data.get("missing_because"):
            return {**data, "missing_because": "no reason was recorded"}
        return data

    @model_validator(mode="after")
    def _value_or_reason(self) -> Self:
        if self.value is not None and self.missing_because:
            raise ValueError(f"has the value {self.value} and also missing_because = {self.missing_because!r}")
        return self


class TaskResult(Score):
    """The final score of one task of one client, with the name of its metric and its direction."""

    metric: Text
    higher_is_better: bool


AnyScore = TypeVar("AnyScore", bound=Score)


class ClientResult(_Read):
    """What the result says about one client."""

    dataset: str
    encoder: str
    train_examples: Count
    weights: str | None = None
    tasks: dict[Name, TaskResult]


class ResultFile(_Read):
    """``result.json``, the last file a run writes."""

    format: Literal[1]
    status: Literal["completed", "failed"]
    reason: str | None = None
    strategy: Text
    strategy_parameters: dict[str, Any]
    scenario: Text
    seed: int
    rounds: Count
    versions: dict[str, Any]
    seconds: Annotated[float, Field(ge=0)]
    bytes_up: Count
    bytes_down: Count
    clients: dict[Name, ClientResult]


class _HistoryLine(_Read):
    """One line of ``history.jsonl``.

    Attributes:
        round: the round that ended.
        final: whether this line only adds the scores of the last round's model.
        participants: clients whose replies were used; None where the line does not say.
        skipped: whether nobody's were, because they were too few.
        evaluated_round: the round whose model the scores belong to; None where nothing was scored.
        scores: by client and task.
    """

    round: Count
    final: bool = False
    participants: list[Name] | None = None
    skipped: bool = False
    evaluated_round: Count | None = None
    scores: dict[Name, dict[Name, Score]] = Field(default_factory=dict)


class _Settings(_Read):
    model_config = ConfigDict(extra="allow")
    __pydantic_extra__: dict[str, str | int | float | bool]

    strategy: Text
    scenario: Text
    seed: int

    @property
    def strategy_parameters(self) -> dict[str, Any]:
        """Those that were given."""
        prefix = f"{self.strategy}."
        given = self.__pydantic_extra__.items()
        return {key.removeprefix(prefix): value for key, value in given if key.startswith(prefix)}


class _ConfigFile(_Read):
    """``config.json``: the effective settings, one flat mapping."""

    run_config: _Settings
    versions: dict[str, Any] = Field(default_factory=dict)


@dataclass(frozen=True)
class Measure:
    """What a task is scored by: the name of the metric and its direction."""

    metric: str
    higher_is_better: bool


@dataclass(frozen=True)
class Run:
    """One run, as far as it got.

    Attributes:
        folder: where it lies.
        name: what to call it in a comparison; the folder's name unless it was given another.
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
        result: what it has written at its end, with what it took; None for an unfinished run.
        measures: metric and direction by client and task; empty for an unfinished run.
        scores: the final ones, of an unfinished run the last ones.
        curves: scores by round.
        missed: by client, rounds that were aggregated without it or skipped; only clients that missed any.
    """

    folder: Path
    name: str
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
    result: ResultFile | None
    measures: Mapping[Pair, Measure]
    scores: Mapping[Pair, Score]
    curves: Mapping[Pair, Curve]
    missed: Mapping[str, int]

    @property
    def clients(self) -> Mapping[str, ClientResult]:
        """What the result says about each client; empty for an unfinished run."""
        return self.result.clients if self.result else {}

    @property
    def state(self) -> str:
        """How far the run got, as a phrase."""
        reached = "no round evaluated" if self.evaluated_round is None else f"evaluated to round {self.evaluated_round}"
        return "completed" if self.status == "completed" else f"{self.status}, {reached}"


def read_run(folder: Path, name: str | None = None) -> Run:
    """Read a run folder.

    Args:
        folder: holds ``config.json``, ``history.jsonl`` and, once the run has ended, ``result.json``.
        name: what to call the run; the folder's name if None.

    Raises:
        SettingError: no run folder, or a file in it is damaged.
    """
    _check_is_run_folder(folder)
    config = _parse(_ConfigFile, _content(folder / CONFIG), str(folder / CONFIG))
    path = folder / RESULT
    result = _parse(ResultFile, _content(path), str(path)) if path.exists() else None
    history = _history(folder / HISTORY, finished=result is not None)
    evaluated = [line for line in history if line.evaluated_round is not None and line.scores]
    said = result or config.run_config
    status = result.status if result else "unfinished"
    final = _by_pair({client: entry.tasks for client, entry in result.clients.items()}) if result else {}
    return Run(
        folder=folder,
        name=name or folder.resolve().name,
        status=status,
        reason=(result and result.reason or "no reason was recorded") if status == "failed" else None,
        strategy=said.strategy,
        parameters=said.strategy_parameters,
        scenario=_scenario_name(said.scenario),
        seed=said.seed,
        rounds=result.rounds if result else max((line.round for line in history), default=0),
        evaluated_round=evaluated[-1].evaluated_round if evaluated else None,
        run_config=config.run_config.model_dump(),
        versions=(result or config).versions,
        result=result,
        measures={pair: Measure(found.metric, found.higher_is_better) for pair, found in final.items()},
        scores=final if result else _by_pair(evaluated[-1].scores if evaluated else {}),
        curves=_curves(history),
        missed=_missed(history, result.clients) if result else {},
    )


def _check_is_run_folder(folder: Path) -> None:
    if not folder.exists():
        raise SettingError(f"{folder} does not exist; give the folder of a run.")
    if not folder.is_dir():
        raise SettingError(f"{folder} is a file; give the folder of a run.")
    if any((folder / name).exists() for name in (CONFIG, HISTORY, RESULT)):
        return
    inside = sorted(path.name for path in folder.iterdir() if (path / CONFIG).exists())
    hint = f" It holds run folders: {', '.join(inside)}." if inside else ""
    raise SettingError(f"{folder} is not a run folder: it has no {CONFIG}, {HISTORY} or {RESULT}.{hint}")


def _history(path: Path, *, finished: bool) -> tuple[_HistoryLine, ...]:
    """The lines in the order of their rounds; empty where the file does not exist yet.

    A run that was killed may leave its last line half written; only in an unfinished run, and only where the line
    does not end in a newline, such a line is left out. A resumed run repeats rounds: a line replaces all earlier ones
    of the same or a later round.
    """
    if not path.exists() and not finished:
        return ()
    lines = _content(path).split(b"\n")
    half_written = lines.pop()
    if half_written and finished:
        lines.append(half_written)
    kept: list[_HistoryLine] = []
    for number, text in enumerate(lines, start=1):
        line = _parse(_HistoryLine, text, f"{path}, line {number}")
        if not line.final:
            kept = [earlier for earlier in kept if earlier.round < line.round]
        kept.append(line)
    return tuple(kept)


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError as error:
        raise SettingError(f"{path.parent} has no {path.name}, which every run folder holds.") from error


def _parse(model: type[Model], text: bytes, where: str) -> Model:
    try:
        return model.model_validate_json(text)
    except ValidationError as error:
        raise SettingError(f"{where} is damaged: {first_fault(error)}.") from error


def _by_pair(scores: Mapping[str, Mapping[str, AnyScore]]) -> dict[Pair, AnyScore]:
    return {(client, task): score for client, tasks in scores.items() for task, score in tasks.items()}


def _curves(history: Iterable[_HistoryLine]) -> dict[Pair, Curve]:
    points: dict[Pair, dict[int, float | None]] = {}
    for line in history:
        if line.evaluated_round is not None:
            for pair, score in _by_pair(line.scores).items():
                points.setdefault(pair, {})[line.evaluated_round] = score.value
    return {pair: tuple(sorted(by_round.items())) for pair, by_round in points.items()}


def _missed(history: Iterable[_HistoryLine], clients: Iterable[str]) -> dict[str, int]:
    trained = [line for line in history if not line.final and line.participants is not None]
    counts = {
        client: sum(line.skipped or client not in (line.participants or ()) for line in trained) for client in clients
    }
    return {client: count for client, count in counts.items() if count}


def _scenario_name(setting: str) -> str:
    """A scenario given as a file goes by the file's name, as the shipped ones do."""
    return Path(setting).stem if setting.endswith((".yaml", ".yml")) else setting
