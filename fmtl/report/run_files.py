"""The files of a run folder as the report reads them, with every departure from the format named.

Unknown keys are let through, so that a later version may write more. A NaN or an infinite number anywhere is treated
as damage: the server writes neither, and a value that could not be computed is null with its reason.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

__all__ = [
    "ClientResult",
    "ConfigFile",
    "HistoryLine",
    "ResultFile",
    "RunFolderError",
    "Score",
    "TaskResult",
    "read_config",
    "read_history",
    "read_result",
]

CONFIG, HISTORY, RESULT = "config.json", "history.jsonl", "result.json"

Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{1,64}$")]
"""Client and task names end up in file names and tables, so nothing else is let in."""

Count = Annotated[int, Field(ge=0)]


Value = Annotated[float, Field(ge=-1e100, le=1e100)]
"""Wider than any metric, and narrow enough that sums and squares of values stay finite."""


class RunFolderError(ValueError):
    """A folder that cannot be read as a run; the message names the file, the place in it and what was expected."""


class _Read(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True, strict=True)


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
    """The final score of one task of one client.

    Attributes:
        metric: its name, for example ``mIoU``.
        higher_is_better: its direction.
    """

    metric: Annotated[str, Field(min_length=1)]
    higher_is_better: bool


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
    strategy: Annotated[str, Field(min_length=1)]
    strategy_parameters: dict[str, Any]
    scenario: Annotated[str, Field(min_length=1)]
    seed: int
    rounds: Count
    versions: dict[str, Any]
    seconds: Annotated[float, Field(ge=0)]
    bytes_up: Count
    bytes_down: Count
    clients: dict[Name, ClientResult]


class HistoryLine(_Read):
    """One line of ``history.jsonl``.

    Attributes:
        round: the round that ended.
        final: whether this line only adds the scores of the last round's model.
        evaluated_round: the round whose model the scores belong to; None where nothing was scored.
        scores: by client and task.
        participants: clients whose replies were used; None where the line does not say.
        skipped: whether nobody's were, because they were too few.
    """

    round: Count
    final: bool = False
    participants: list[Name] | None = None
    skipped: bool = False
    evaluated_round: Count | None = None
    scores: dict[Name, dict[Name, Score]] = Field(default_factory=dict)


class ConfigFile(_Read):
    """``config.json``: the effective settings, one flat mapping."""

    run_config: dict[str, str | int | float | bool]
    versions: dict[str, Any] = Field(default_factory=dict)


Model = TypeVar("Model", bound=_Read)


def read_config(folder: Path) -> ConfigFile:
    """Read ``config.json`` of a run folder.

    Raises:
        RunFolderError: missing, unreadable, or not in the format.
    """
    path = folder / CONFIG
    return _parse(ConfigFile, _text(path), str(path))


def read_result(folder: Path) -> ResultFile | None:
    """Read ``result.json`` of a run folder; None where the run has not written it, which means: unfinished.

    Raises:
        RunFolderError: unreadable, or not in the format.
    """
    path = folder / RESULT
    return _parse(ResultFile, _text(path), str(path)) if path.exists() else None


def read_history(folder: Path, *, finished: bool) -> tuple[HistoryLine, ...]:
    """Read ``history.jsonl`` of a run folder.

    A run that was killed may leave its last line half written; only in an unfinished run, and only where the line
    does not end in a newline, such a line is left out. A resumed run repeats rounds: a line replaces all earlier ones
    of the same or a later round.

    Args:
        folder: the run folder.
        finished: whether the run has written its result.

    Returns:
        The lines in the order of their rounds; empty where the file does not exist yet.

    Raises:
        RunFolderError: unreadable, or a line is not in the format; the message names the line.
    """
    path = folder / HISTORY
    if not path.exists() and not finished:
        return ()
    lines = _text(path).split("\n")
    half_written = lines.pop()
    if half_written and finished:
        lines.append(half_written)
    kept: list[HistoryLine] = []
    for number, text in enumerate(lines, start=1):
        line = _parse(HistoryLine, text, f"{path}, line {number}")
        if not line.final:
            kept = [earlier for earlier in kept if earlier.round < line.round]
        kept.append(line)
    return tuple(kept)


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise RunFolderError(f"{path.parent} has no {path.name}, which every run folder holds.") from error
    except OSError as error:
        raise RunFolderError(f"{path} cannot be read: {error.strerror}.") from error
    except UnicodeDecodeError as error:
        raise RunFolderError(f"{path} is damaged: it is not UTF-8 text ({error.reason}).") from error


def _parse(model: type[Model], text: str, where: str) -> Model:
    """Parse one JSON document; ``where`` begins every complaint about it."""
    try:
        content = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise RunFolderError(f"{where} is damaged: it is not valid JSON ({error}).") from error
    place = _non_finite(content)
    if place is not None:
        raise RunFolderError(f"{where} is damaged: {place} is NaN or infinite, which a run never writes.")
    try:
        return model.model_validate(content)
    except ValidationError as error:
        first = error.errors()[0]
        keys = ".".join(str(key) for key in first["loc"]) or "the top level"
        message = str(first["msg"]).removeprefix("Value error, ")
        raise RunFolderError(f"{where} is damaged: {keys}: {message[:1].lower()}{message[1:]}.") from error


def _non_finite(content: object, place: str = "") -> str | None:
    """The place of the first NaN or infinite number in a parsed document."""
    if isinstance(content, float) and not math.isfinite(content):
        return place or "the top level"
    children: Mapping[object, object] = {}
    if isinstance(content, dict):
        children = content
    elif isinstance(content, list):
        children = dict(enumerate(content))
    for key, value in children.items():
        found = _non_finite(value, f"{place}.{key}" if place else str(key))
        if found is not None:
            return found
    return None
