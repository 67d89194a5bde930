"""Choosing what a user names with patterns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from typing import TypeVar

from fmtl.errors import SettingError

Item = TypeVar("Item")


def select(names: Mapping[Item, Sequence[str]], patterns: Sequence[str], flag: str) -> tuple[Item, ...]:
    """The items of which some pattern fits a name.

    Args:
        names: by item, in order; the last name of each is its full one.
        patterns: ``*`` stands for any text.
        flag: where the patterns come from, for messages.

    Raises:
        SettingError: a pattern fits nothing.
    """
    for pattern in patterns:
        if not any(fnmatchcase(name, pattern) for known in names.values() for name in known):
            listed = ", ".join(known[-1] for known in names.values())
            raise SettingError(f"{flag} {pattern!r} fits nothing. There are: {listed}.")
    return tuple(
        item
        for item, known in names.items()
        if any(fnmatchcase(name, pattern) for name in known for pattern in patterns)
    )
