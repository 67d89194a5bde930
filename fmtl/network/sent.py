"""What has left a site, from the record that the site itself keeps (`client_app.site.sent`), in a form for people."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

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


@dataclass(frozen=True)
class DamagedLine:
    """A line of the record that holds no answer that can be read.

    Attributes:
        number: of the line, from 1.
        problem: why it cannot be read.
        text: what stands there.
    """

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


@dataclass
class KindSent:
    """All answers of one kind.

    Attributes:
        count: how many were sent.
        text_bytes: size of their texts, all together.
        array_bytes: size of their arrays, all together.
        texts: by field (dotted path), a recent value.
        arrays: by record and group: type, values and bytes of a recent one.
    """

    count: int = 0
    text_bytes: int = 0
    array_bytes: int = 0
    texts: dict[str, str] = field(default_factory=dict)
    arrays: dict[tuple[str, str], tuple[str, int, int]] = field(default_factory=dict)


@dataclass
class Sent:
    """Everything a site's client has sent.

    Attributes:
        kinds: answers by kind.
        errors: texts of errors that were sent, and how often each.
        runs: Flower's numbers of the runs.
        damaged: lines of the record that cannot be read.
    """

    kinds: dict[str, KindSent] = field(default_factory=dict)
    errors: Counter[str] = field(default_factory=Counter)
    runs: set[str] = field(default_factory=set)
    damaged: list[DamagedLine] = field(default_factory=list)


def read_sent(path: Path) -> list[RecordLine]:
    """Read a site's record; a line that is damaged hides no other.

    Raises:
        NetworkSetupError: there is none yet.
    """
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


def sum_up(lines: Iterable[RecordLine]) -> Sent:
    """Sum a record up: by kind of answer, with every field and array that occurs."""
    sent = Sent()
    for line in lines:
        if isinstance(line, DamagedLine):
            sent.damaged.append(line)
            continue
        sent.runs.add(line["run"])
        if "error" in line:
            sent.errors[line["error"]] += 1
            continue
        kind = sent.kinds.setdefault(line["kind"], KindSent())
        kind.count += 1
        for record in line["texts"].values():
            for value in record.values():
                kind.text_bytes += len(str(value).encode())
                found = dict(_fields(json.loads(value)))
                # Losses, scores and such, which some answers have and others do not.
                empty = {key for key in kind.texts | found if any(k.startswith(f"{key}.") for k in kind.texts | found)}
                kind.texts = {key: item for key, item in (kind.texts | found).items() if key not in empty}
        for array in line["arrays"]:
            values = 1
            for side in array["shape"]:
                values *= side
            kind.arrays[array["record"], array["group"]] = (array["dtype"], values, array["bytes"])
            kind.array_bytes += array["bytes"]
    return sent


def sent_lines(sent: Sent) -> Iterator[str]:
    """Yield the lines of a list for people: everything that was sent, with a recent value or the size of each."""
    yield f"Runs: {len(sent.runs)}. Everything that this site's client has sent, by kind of answer:"
    for name, kind in sorted(sent.kinds.items(), key=lambda item: list(KINDS).index(item[0])):
        yield ""
        yield (
            f"{name}: {KINDS[name]}; {kind.count} sent, {format_bytes(kind.text_bytes)} of text "
            f"and {format_bytes(kind.array_bytes)} of arrays"
        )
        for key, value in kind.texts.items():
            yield f"  {key} = {_shortened(value)}"
        for (record, group), (dtype, values, size) in kind.arrays.items():
            yield f"  {record} of {group}: {values} numbers as {NUMBER_FORMATS.get(dtype, dtype)}, {format_bytes(size)}"
    yield ""
    yield f"errors: {sum(sent.errors.values())} sent" + (", with these texts:" if sent.errors else "")
    for text, count in sent.errors.items():
        yield f"  {count} times: {text}"
    if sent.damaged:
        yield ""
        yield (
            f"damaged lines of the record (a disk that was full, a machine that went off): {len(sent.damaged)}; the "
            f"answers that they stood for may have been sent"
        )
    for line in sent.damaged:
        yield f"  line {line.number}, {len(line.text)} characters: {json.dumps(_shortened(line.text))} ({line.problem})"


def json_lines(lines: Iterable[RecordLine]) -> Iterator[str]:
    """Yield the record as JSON, a line for each of its lines; damaged ones as `{"damaged": ...}`."""
    for line in lines:
        yield json.dumps({"damaged": asdict(line)} if isinstance(line, DamagedLine) else line)


def _shortened(text: str) -> str:
    return text if len(text) <= LONGEST else text[: LONGEST - 3] + "..."


def _fields(value: Any, place: str = "") -> Iterator[tuple[str, str]]:
    """Yield every field of a JSON value: lists and layouts of arrays in one piece, the rest by dotted path."""
    if isinstance(value, dict) and value and place.count(".") < 2 and not place.startswith("groups."):
        for key, item in value.items():
            yield from _fields(item, f"{place}.{key}" if place else str(key))
    else:
        yield place, value if isinstance(value, str) else json.dumps(value)
