"""Reading a scenario's YAML text without losing track of the line on which each value stands.

PyYAML's own loader forgets line numbers and lets a repeated key silently win. Here the document is composed into
nodes first, so that errors can name a line, and a repeated key is an error.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

KeyPath = tuple[str | int, ...]


class _Loader(yaml.SafeLoader):
    """A safe loader that reads words such as ``off``, ``no`` and ``on`` as text, for they may be names; where
    a key asks for true or false, it takes these two words."""

    yaml_implicit_resolvers = {
        first: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:bool"]
        for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }


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
    try:
        text = path.read_text(encoding="utf-8")
        loader = _Loader(text)
        try:
            root = loader.get_single_node()
            lines: dict[KeyPath, int] = {}
            _collect_lines(root, (), lines, path)
            content = loader.construct_document(root) if root is not None else None
        finally:
            loader.dispose()
    except OSError as error:
        raise ScenarioError(f"{path}: cannot read this {kind}: {error.strerror}.") from error
    except UnicodeDecodeError as error:
        raise ScenarioError(f"{path}: a {kind} is UTF-8 text, this one is not ({error.reason}).") from error
    except RecursionError as error:
        raise ScenarioError(
            f"{path}: a value of this file contains itself (an alias inside its own anchor)."
        ) from error
    except yaml.YAMLError as error:
        raise ScenarioError(f"{path}: this is not valid YAML: {error}") from error
    if not isinstance(content, dict):
        raise ScenarioError(
            f"{path}: a {kind} is a mapping with the keys {keys}; its top level is {type(content).__name__}."
        )
    return ScenarioText(path, content, lines)


def _collect_lines(node: yaml.Node | None, keys: KeyPath, lines: dict[KeyPath, int], path: Path) -> None:
    """Record the line of every key and list item below ``node``; refuse repeated keys."""
    if node is None:
        return
    lines.setdefault(keys, node.start_mark.line + 1)
    if isinstance(node, yaml.SequenceNode):
        for index, item in enumerate(node.value):
            _collect_lines(item, (*keys, index), lines, path)
    elif isinstance(node, yaml.MappingNode):
        for key_node, value_node in node.value:
            key = str(key_node.value)
            child = (*keys, key)
            line = key_node.start_mark.line + 1
            if child in lines:
                raise ScenarioError(f"{path}:{line}: the key '{key}' is given twice (first on line {lines[child]}).")
            lines[child] = line
            _collect_lines(value_node, child, lines, path)


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
