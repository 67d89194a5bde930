"""Failures that a user can act on; the message is a full sentence."""

from __future__ import annotations

__all__ = ["RunError", "RunInterruptedError", "SettingError"]


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
