"""Reading a scenario's YAML text without losing track of the line on which each value stands."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap, CommentedSeq
from ruamel.yaml.constructor import DuplicateKeyError
from ruamel.yaml.error import YAMLError
from ruamel.yaml.scalarbool import ScalarBoolean

KeyPath = tuple[str | int, ...]

MOST_VALUES = 100_000
"""Values that a file may stand for: aliases of aliases make 10^9 of a few lines, and reading those would never end."""


class ScenarioError(ValueError):
    """A scenario that cannot be used; the message names file, line and key, and what is allowed."""


@dataclass(frozen=True)
class ScenarioText:
    """A parsed scenario file.

    Attributes:
        path: the file it came from.
        content: the document as plain Python values.
        lines: for every key path (``("clients", 2, "tasks")``) the line it starts on, counted from 1.
    """

    path: Path
    content: dict[str, Any]
    lines: Mapping[KeyPath, int]

    def where(self, *keys: str | int) -> str:
        """``file:line`` of a key path, or of the nearest enclosing one that has a line."""
        line = self.line(*keys)
        return f"{self.path}:{line}" if line else str(self.path)

    def line(self, *keys: str | int) -> int:
        """The line of a key path, or of the nearest enclosing one that has a line; 0 where none has."""
        for length in range(len(keys), -1, -1):
            line = self.lines.get(tuple(keys[:length]))
            if line is not None:
                return line
        return 0


def read_scenario_text(
    path: Path, kind: str = "scenario file", keys: str = "name, description and clients"
) -> ScenarioText:
    """Parse a YAML file whose top level is a mapping.

    Args:
        path: the file.
        kind: what the file is, for messages.
        keys: its main keys, for messages.

    Returns:
        Its content together with line numbers.

    Raises:
        ScenarioError: unreadable file, invalid YAML, a repeated key, or a top level that is no mapping.
    """
    lines: dict[KeyPath, int] = {(): 1}
    try:
        root = YAML(pure=True).load(path.read_text(encoding="utf-8"))
        content = _plain(root, (), lines, path)
    except OSError as error:
        raise ScenarioError(f"{path}: cannot read this {kind}: {error.strerror}.") from error
    except UnicodeDecodeError as error:
        raise ScenarioError(f"{path}: a {kind} is UTF-8 text, this one is not ({error.reason}).") from error
    except RecursionError as error:
        raise ScenarioError(f"{path}: the values of this file are nested too deeply.") from error
    except DuplicateKeyError as error:
        raise ScenarioError(f"{path}:{error.problem_mark.line + 1}: a key is given twice: {error.problem}.") from error
    except YAMLError as error:
        raise ScenarioError(f"{path}: this is not valid YAML: {error}") from error
    if not isinstance(content, dict):
        raise ScenarioError(
            f"{path}: a {kind} is a mapping with the keys {keys}; its top level is {type(content).__name__}."
        )
    return ScenarioText(path, content, lines)


def _plain(node: Any, keys: KeyPath, lines: dict[KeyPath, int], path: Path) -> Any:
    """Return a value without what its type has beyond Python's own; note the line of every key and list item in it."""
    if len(lines) > MOST_VALUES:
        raise ScenarioError(f"{path}: more than {MOST_VALUES} values; write fewer aliases of lists or mappings.")
    if isinstance(node, CommentedMap):
        for key in node:
            lines[*keys, str(key)] = node.lc.data.get(key, (lines[keys] - 1,))[0] + 1
        return {key: _plain(value, (*keys, str(key)), lines, path) for key, value in node.items()}
    if isinstance(node, CommentedSeq):
        for index in range(len(node)):
            lines[*keys, index] = node.lc.data[index][0] + 1
        return [_plain(value, (*keys, index), lines, path) for index, value in enumerate(node)]
    if isinstance(node, bool | ScalarBoolean):
        return "true" if node else "false"  # words, which may be names; a key that asks for one of the two takes them
    for kind in (int, float, str):
        if isinstance(node, kind):
            return kind(node)
    if node is None or isinstance(node, date):
        return node
    raise ScenarioError(f"{path}:{lines[keys]}: this value is no text, number, list or mapping.")


def check_keys(text: ScenarioText, keys: KeyPath, given: Iterable[Any], allowed: Iterable[str]) -> list[str]:
    """One complaint for each key that is not allowed at this place.

    Args:
        text: the file, for line numbers.
        keys: the place in the document.
        given: the keys found there.
        allowed: the keys known there.

    Returns:
        Complete sentences, each with file and line, the nearest known key, and all allowed keys.
    """
    known = sorted(allowed)
    complaints = []
    for key in given:
        if key in known:
            continue
        close = difflib.get_close_matches(str(key).replace("_", "-").lower(), known, n=1)
        hint = f" Did you mean '{close[0]}'?" if close else ""
        complaints.append(f"{text.where(*keys, key)}: unknown key '{key}'.{hint} Allowed here: {', '.join(known)}.")
    return complaints
