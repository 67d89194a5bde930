"""The command ``fmtl``: loads the module of one command only, and turns a user's errors into one sentence."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from importlib import import_module
from types import TracebackType
from typing import Annotated

import typer

from fmtl import __version__

COMMANDS = {
    "run": "Run a strategy over a scenario and wait for its end.",
    "resume": "Go on with a run that was interrupted.",
    "sweep": "Run strategies x settings x seeds over one scenario, and compare them.",
    "reproduce": "Run a published table again, and print paper and measured values side by side.",
    "compare": "Compare runs: a table by client and task, and curves.",
    "strategies": "List the strategies.",
    "settings": "List settings with meaning, range, default and origin.",
    "scenarios": "List the scenarios, or the clients of one.",
    "data": "Say where data sets come from, and check one on disk.",
    "score": "Score predictions on disk with the metric of a task.",
    "keys": "Make, show and renew the keys of a coordinator and of sites.",
    "server": "Coordinate a federation of real machines.",
    "rehearse": "Rehearse a federation: a coordinator and its sites on this machine.",
    "site": "Take part in a federation from this machine.",
}
"""Every command with its line in ``fmtl --help``; the module ``fmtl.commands.<name>`` has its ``command``, a function
or a group of them."""

OWN_PACKAGES = ("client_app", "fmtl", "fmtl_datasets", "fmtl_strategies", "server_app")
TRACEBACK_VARIABLE = "FMTL_TRACEBACK"
USER_ERROR = 2


def main() -> None:
    """Run the command line and exit: 0 where all went well, 2 for what a user can put right.

    An error that the user caused is printed as one sentence; ``FMTL_TRACEBACK=1`` shows where it was raised instead.
    """
    try:
        build_app(sys.argv[1:])()
    except (ValueError, OSError) as error:
        if os.environ.get(TRACEBACK_VARIABLE) == "1" or not caused_by_user(error):
            raise
        _print_error(error_sentence(error))
        sys.exit(USER_ERROR)


def build_app(arguments: list[str]) -> typer.Typer:
    """Build the command line, with only the module of the command that was asked for.

    The modules of the others stay unloaded, which keeps ``fmtl --help`` fast: some import torch.

    Args:
        arguments: of the command line, without the program's name.

    Returns:
        The application; commands that were not asked for are there with their help line only.
    """
    app = typer.Typer(
        name="fmtl",
        help="Federated multi-task learning between clients that do not match, on Flower.",
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,
    )
    app.callback()(_group)
    wanted = next((argument for argument in arguments if not argument.startswith("-")), None)
    for name, summary in COMMANDS.items():
        if name == wanted:
            _add(app, name, import_module(f"fmtl.commands.{name}").command)
        else:
            app.command(name)(_listed_only(summary))
    return app


def _add(app: typer.Typer, name: str, command: typer.Typer | Callable[..., None]) -> None:
    """Add a command, or a group of them."""
    if isinstance(command, typer.Typer):
        app.add_typer(command, name=name)
    else:
        app.command(name)(command)


def _print_version(*, wanted: bool) -> None:
    if wanted:
        typer.echo(f"fmtl {__version__}")
        raise typer.Exit


def _group(
    *,
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    pass


def _listed_only(summary: str) -> Callable[[], None]:
    def listed() -> None:
        raise RuntimeError("this command's module was not loaded")

    listed.__doc__ = summary
    return listed


def caused_by_user(error: BaseException) -> bool:
    """Whether an error is one that the user can put right, rather than a defect of ours.

    A ValueError counts where our own code raised it with a sentence for the user; one from inside numpy, say, is a
    defect and keeps its traceback. An OSError (no such file, no space, no permission) always counts.
    """
    if isinstance(error, OSError):
        return True
    return isinstance(error, ValueError) and _raised_in(error.__traceback__).split(".")[0] in OWN_PACKAGES


def _raised_in(trace: TracebackType | None) -> str:
    """Name of the module whose code raised."""
    module = ""
    while trace is not None:
        module = str(trace.tb_frame.f_globals.get("__name__", ""))
        trace = trace.tb_next
    return module


def error_sentence(error: BaseException) -> str:
    """What the user is told about an error."""
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename}: {error.strerror}." if error.filename else f"{error.strerror}."
    return str(error) or type(error).__name__


def _print_error(sentence: str) -> None:
    from rich.console import Console
    from rich.text import Text

    Console(stderr=True).print(Text(f"Error: {sentence}", style="red"), soft_wrap=True)


if __name__ == "__main__":
    main()
