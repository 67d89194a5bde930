"""Reading the entries of a large JSON file one after the other, with the place of each in the file.

``json.load`` of the official instance annotations takes three times the memory and twice the time, because all its
objects live at once. The place of an entry in the file lets it be read again without the rest.
"""

from __future__ import annotations

import json
import mmap
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from fmtl_datasets.shared.source import DataFileError

BLANK = re.compile(r"[ \t\r\n]*")
BLANKS = frozenset(" \t\r\n")


class Entry(NamedTuple):
    """One element of a list that stands at the top of a JSON file.

    Attributes:
        list_name: key of the list.
        value: the element.
        start: position of its first byte in the file.
        end: position after its last byte.
    """

    list_name: str
    value: Any
    start: int
    end: int


def read_entries(path: Path, lists: frozenset[str]) -> Iterator[Entry]:
    """Read the elements of some of the lists in the object that a JSON file holds.

    Args:
        path: a JSON file, its text in UTF-8.
        lists: keys whose lists to read; all other keys are passed over.

    Returns:
        The elements, in the order of the file.

    Raises:
        DataFileError: the file is no JSON object, or one of the keys is missing or has no list.
    """
    reader = _Reader(_text(path))
    found: set[str] = set()
    try:
        reader.expect("{")
        while not reader.passed("}"):
            key = reader.key()
            reader.expect(":")
            if key in lists:
                found.add(key)
                yield from reader.elements(key)
            else:
                reader.value()
            if not reader.passed(",") and not reader.comes("}"):
                raise reader.unexpected("',' or '}'")
    except json.JSONDecodeError as error:
        raise DataFileError(
            f"{path}: this is not the JSON of COCO: {error.msg} at byte {error.pos} of {len(reader.text)}. The file is "
            f"damaged or not complete; unpack it from its archive again."
        ) from error
    if found != lists:
        raise DataFileError(
            f"{path} has no list {', '.join(sorted(lists - found))}, so it is no annotation file of COCO; unpack it "
            f"from its archive again."
        )


def read_spans(path: Path, spans: Iterable[tuple[int, int]]) -> list[Any]:
    """Read entries again by their places.

    Args:
        path: the file.
        spans: position of the first byte and number of bytes of each.

    Raises:
        DataFileError: something else stands there now.
    """
    values = []
    with path.open("rb") as file:
        for start, length in spans:
            file.seek(start)
            try:
                values.append(json.loads(file.read(length)))
            except ValueError as error:
                raise DataFileError(f"{path} has changed since it was opened; start again to read it anew.") from error
    return values


def _text(path: Path) -> str:
    """Return a file with one character for each byte, so that positions in the text are positions in the file."""
    with path.open("rb") as file:
        if path.stat().st_size == 0:
            raise DataFileError(f"{path} is empty; unpack it from its archive again.")
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
            return str(content, "latin-1")


class _Reader:
    """A position in a text, moved on by what is read there."""

    def __init__(self, text: str) -> None:
        self.text = text
        self._position = 0
        self._decode = json.JSONDecoder().raw_decode

    def key(self) -> str:
        """Read a key of an object."""
        if not self.comes('"'):
            raise self.unexpected("a key")
        return str(self.value())

    def value(self) -> Any:
        """Read any JSON value."""
        self._skip_blanks()
        value, self._position = self._decode(self.text, self._position)
        return value

    def elements(self, list_name: str) -> Iterator[Entry]:
        """Read the elements of a list."""
        self.expect("[")
        if self.passed("]"):
            return
        text, decode = self.text, self._decode
        self._skip_blanks()
        start = self._position
        while True:
            value, end = decode(text, start)
            yield Entry(list_name, value, start, end)
            self._position = end
            if not self.passed(","):
                self.expect("]")
                return
            self._skip_blanks()
            start = self._position

    def comes(self, character: str) -> bool:
        """Whether a character is next, blanks aside."""
        self._skip_blanks()
        return self.text.startswith(character, self._position)

    def passed(self, character: str) -> bool:
        """Move past a character if it is next; say whether it was."""
        found = self.comes(character)
        self._position += int(found)
        return found

    def expect(self, character: str) -> None:
        """Move past a character that has to be next."""
        if not self.passed(character):
            raise self.unexpected(f"'{character}'")

    def unexpected(self, wanted: str) -> json.JSONDecodeError:
        """Return the error that something else was expected here."""
        return json.JSONDecodeError(f"expected {wanted}", self.text, self._position)

    def _skip_blanks(self) -> None:
        # Most entries follow each other without blanks, and there are nearly a million of them.
        if self.text[self._position : self._position + 1] not in BLANKS:
            return
        found = BLANK.match(self.text, self._position)
        self._position = found.end() if found else self._position
