"""The code of a strategy outside this project: recorded with a run, which goes on only with the same."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fmtl_strategies.registry import strategy_source

KEY = "strategy_source"
"""Of config.json; absent for a strategy of this project, whose version is among the versions of libraries."""


def source_record(strategy: str) -> dict[str, Any]:
    """Return what config.json records of a strategy's code; empty for a strategy of this project."""
    source = strategy_source(strategy)
    return {} if source is None else {KEY: source}


def changed_source(strategy: str, saved: Mapping[str, Any]) -> str | None:
    """Return what has become of a strategy's code since a run was started; None where it is the same.

    Args:
        strategy: its name in the run config.
        saved: content of the run's config.json.
    """
    now, before = strategy_source(strategy), saved.get(KEY)
    if now is None or now == before:
        return None
    if not isinstance(before, dict):
        return f"it was not recorded which code of {strategy} the run was started with"
    return (
        f"the code of {strategy} is not what the run was started with: {before.get('file')} had sha256 "
        f"{_short(before.get('sha256'))}, {now['file']} now has {_short(now['sha256'])}"
    )


def _short(digest: object) -> str:
    return f"{str(digest)[:12]}..."
