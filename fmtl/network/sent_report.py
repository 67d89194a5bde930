"""What has left a site, from the record that the site itself keeps (`client_app.site.sent`), in a form for people."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import BaseModel, Json, ValidationError

from client_app.call import Kind
from fmtl.network.errors import NetworkSetupError
from fmtl.tables import format_bytes

KINDS: Mapping[str, str] = {
    "describe": "profile, once for each run",
    "initial": "starting parameters, at most once for each run",
    "train": "report and updates, once for each round",
    "evaluate": "final scores, once for each run",
}
"""Every kind of answer, and how often it is sent."""

NUMBER_FORMATS = {"uint16": "bfloat16"}
"""What number formats are called that travel as another: bfloat16, which NumPy does not have, as uint16."""

LONGEST = 72
"""Longer values are cut in a list for people; `--json` has them whole."""


class DamagedLine(NamedTuple):
    """A line of the record that holds no answer that can be read: its number, from 1, why, and what stands there."""

    number: int
    problem: str
    text: str


RecordLine = dict[str, Any] | DamagedLine


class _ErrorLine(BaseModel):
    run: str
    error: str


class _ArrayLine(BaseModel):
    record: str
    group: str
    dtype: str
    shape: list[int]
    bytes: int


class _AnswerLine(BaseModel):
    run: str
    kind: Kind
    texts: dict[str, dict[str, Json[Any]]]
    arrays: list[_ArrayLine]


def read_sent(path: Path) -> list[RecordLine]:
    """Read a site's record; a line that is damaged hides no other."""
    if not path.is_file():
        raise NetworkSetupError(f"{path} does not exist: this site has sent no answer yet.")
    text = path.read_text(encoding="utf-8", errors="replace")
    lines = text.removesuffix("\n").split("\n") if text else []
    return [_read_line(number, line) for number, line in enumerate(lines, start=1)]


def _read_line(number: int, text: str) -> RecordLine:
    try:
        line = json.loads(text)
        form = _ErrorLine if isinstance(line, dict) and "error" in line else _AnswerLine
        form.model_validate(line)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        return DamagedLine(number, f"{'.'.join(map(str, first['loc'])) or 'line'}: {first['msg']}", text)
    except ValueError as error:
        return DamagedLine(number, str(error), text)
    return dict(line)


def json_lines(lines: Iterable[RecordLine]) -> Iterator[str]:
    """Yield the record as JSON, a line for each of its lines; damaged ones as `{"damaged": ...}`."""
    for line in lines:
        yield json.dumps({"damaged": line._asdict()} if isinstance(line, DamagedLine) else line)


def sent_lines(record: Sequence[RecordLine]) -> Iterator[str]:
    """Yield the lines of a list for people: everything that was sent, with a recent value or the size of each."""
    damaged = [line for line in record if isinstance(line, DamagedLine)]
    whole = [line for line in record if not isinstance(line, DamagedLine)]
    errors = Counter(line["error"] for line in whole if "error" in line)
    runs = {line["run"] for line in whole}
    yield f"Runs: {len(runs)}. Everything that this site's client has sent, by kind of answer:"
    for kind, often in KINDS.items():
        answers = [line for line in whole if line.get("kind") == kind and "error" not in line]
        if answers:
            yield from ("", *_kind_lines(f"{kind}: {often}; {len(answers)} sent", answers))
    yield from ("", f"errors: {errors.total()} sent" + (", with these texts:" if errors else ""))
    yield from (f"  {count} times: {text}" for text, count in errors.items())
    if damaged:
        yield ""
        yield (
            f"damaged lines of the record (a disk that was full, a machine that went off): {len(damaged)}; the "
            f"answers that they stood for may have been sent"
        )
    for number, problem, text in damaged:
        yield f"  line {number}, {len(text)} characters: {json.dumps(_shortened(text))} ({problem})"


def _kind_lines(head: str, answers: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """Yield what the answers of one kind hold: every field and array that occurs, with a recent value or its size."""
    values = [value for line in answers for record in line["texts"].values() for value in record.values()]
    arrays = [array for line in answers for array in line["arrays"]]
    sizes = (sum(len(str(value).encode()) for value in values), sum(array["bytes"] for array in arrays))
    yield f"{head}, {format_bytes(sizes[0])} of text and {format_bytes(sizes[1])} of arrays"
    texts = {key: item for value in values for key, item in _fields(json.loads(value))}
    for key, item in texts.items():
        # Losses, scores and such, which some answers have and others do not.
        if not any(other.startswith(f"{key}.") for other in texts):
            yield f"  {key} = {_shortened(item)}"
    for array in {(array["record"], array["group"]): array for array in arrays}.values():
        numbers = f"{math.prod(array['shape'])} numbers as {NUMBER_FORMATS.get(array['dtype'], array['dtype'])}"
        yield f"  {array['record']} of {array['group']}: {numbers}, {format_bytes(array['bytes'])}"


def _shortened(text: str) -> str:
    return text if len(text) <= LONGEST else text[: LONGEST - 3] + "..."


def _fields(value: Any, place: str = "") -> Iterator[tuple[str, str]]:
    """Yield every field of a JSON value: lists and layouts of arrays in one piece, the rest by dotted path."""
    if isinstance(value, dict) and value and place.count(".") < 2 and not place.startswith("groups."):
        for key, item in value.items():
            yield from _fields(item, f"{place}.{key}" if place else str(key))
    else:
        yield place, value if isinstance(value, str) else json.dumps(value)
