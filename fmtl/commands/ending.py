"""How commands that take long end: with what to do next, and an exit status."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import typer

from fmtl.errors import RunError, RunInterruptedError


@contextmanager
def exit_status(advice: str) -> Iterator[None]:
    """Inside, a signal ends the command with 128 + its number, and a failed run with 1.

    Args:
        advice: printed where a signal asked for the end.

    Raises:
        typer.Exit: as described.
    """
    from fmtl_strategies.contract.files import InUseError

    try:
        yield
    except RunInterruptedError as interruption:
        typer.echo(advice, err=True)
        raise typer.Exit(128 + interruption.signal_number) from interruption
    except (RunError, InUseError) as error:
        typer.echo(f"Error: {error}", err=True)
        raise typer.Exit(1) from error
