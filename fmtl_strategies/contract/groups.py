"""Names of groups: `encoder`, `decoders.<task>`, `heads.<task>`, and `buffers.` before any of them (design.md 2).

A `buffers.` group holds the floating-point buffers of the group it names (batch-norm statistics).
"""

from __future__ import annotations

import re
from typing import Literal

GroupKind = Literal["encoder", "decoders", "heads", "buffers"]
GROUP_PATTERN = r"^(buffers\.)?(encoder|(decoders|heads)\.[A-Za-z0-9_-]{1,64})$"
BUFFERS_PREFIX = "buffers."

_GROUP = re.compile(GROUP_PATTERN)


class GroupNameError(ValueError):
    """An array or group name that belongs to no group."""


def group_of(array_name: str) -> str:
    """Return the group an array belongs to.

    Args:
        array_name: full name such as `decoders.semseg.linears.0.weight`.

    Returns:
        `encoder`, `decoders.<task>` or `heads.<task>`.

    Raises:
        GroupNameError: the name starts with none of the three kinds.
    """
    kind, _, rest = array_name.partition(".")
    if kind == "encoder" and rest:
        return "encoder"
    task, _, relative = rest.partition(".")
    if kind in ("decoders", "heads") and task and relative:
        return f"{kind}.{task}"
    raise GroupNameError(
        f"array name {array_name!r} belongs to no group; "
        "expected encoder.<...>, decoders.<task>.<...> or heads.<task>.<...>"
    )


def relative_name(array_name: str) -> str:
    """Return the part of an array name after its group, e.g. `linears.0.weight`."""
    return array_name[len(group_of(array_name)) + 1 :]


def kind_of(group: str) -> GroupKind:
    """Return the kind of a group; raises GroupNameError for anything that is not a group name."""
    if not _GROUP.fullmatch(group):
        raise GroupNameError(
            f"{group!r} is not a group; expected encoder, decoders.<task> or heads.<task>, "
            f"or one of these after {BUFFERS_PREFIX!r}"
        )
    if group.startswith(BUFFERS_PREFIX):
        return "buffers"
    kind = group.partition(".")[0]
    return "encoder" if kind == "encoder" else "decoders" if kind == "decoders" else "heads"


def task_of(group: str) -> str | None:
    """Return the task of a group; None for the encoder and its buffers."""
    kind_of(group)
    return group.removeprefix(BUFFERS_PREFIX).partition(".")[2] or None
