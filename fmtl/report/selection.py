"""Choosing rows of a comparison by client, task or both."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from fnmatch import fnmatchcase

from fmtl.report.run_reader import Pair

__all__ = ["select_pairs"]


def select_pairs(pairs: Iterable[Pair], patterns: Sequence[str]) -> tuple[Pair, ...]:
    """The client-task pairs that a user wants to see.

    Args:
        pairs: all there are.
        patterns: each a client (``site-a``), a task (``semseg``) or ``client/task``; ``*`` stands for any text. No
            pattern at all chooses everything.

    Returns:
        The chosen pairs, in the order of ``pairs``.

    Raises:
        ValueError: a pattern fits nothing.
    """
    known = tuple(pairs)
    for pattern in patterns:
        if not any(_fits(pair, pattern) for pair in known):
            listed = ", ".join(f"{client}/{task}" for client, task in known)
            raise ValueError(f"--columns {pattern!r} fits no client and no task. There are: {listed}.")
    return tuple(pair for pair in known if not patterns or any(_fits(pair, pattern) for pattern in patterns))


def _fits(pair: Pair, pattern: str) -> bool:
    client, task = pair
    if "/" in pattern:
        return fnmatchcase(f"{client}/{task}", pattern)
    return fnmatchcase(client, pattern) or fnmatchcase(task, pattern)
