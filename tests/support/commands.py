"""Commands as tests call them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import typer
from typer.testing import CliRunner


def invoke(command: Callable[..., None], *arguments: str | Path) -> Any:
    """Run the function of a command; an error other than an exit is raised."""
    application = typer.Typer(pretty_exceptions_enable=False)
    application.command()(command)
    result = CliRunner().invoke(application, [str(argument) for argument in arguments])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result
