"""Failures that a user can act on; the message is a full sentence."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pydantic import ValidationError


class SettingError(ValueError):
    """A flag, file or folder given by the user that cannot be used; nothing has been started."""


class RunError(RuntimeError):
    """A run could not be started, failed, or left no result."""


class RunInterruptedError(RunError):
    """A signal asked for the end of the command.

    Attributes:
        signal_number: the signal; a shell expects exit status 128 + this number.
    """

    def __init__(self, signal_number: int) -> None:
        super().__init__("Interrupted; all processes stopped.")
        self.signal_number = signal_number


def first_fault(error: ValidationError) -> str:
    """The first thing that a model has found wrong, with its place, as in ``runs entry 2.label: ...``."""
    first = error.errors(include_url=False)[0]
    place = ""
    for part in first["loc"]:
        place += f" entry {part + 1}" if isinstance(part, int) else f"{'.' if place else ''}{part}"
    message = str(first["msg"]).removeprefix("Value error, ")
    plain = first["type"] == "value_error" or not isinstance(first["input"], bool | int | float | str)
    given = "" if plain else f" = {first['input']!r}"
    return f"{place}{given}: {message[:1].lower()}{message[1:]}" if place else message
