"""Every `fmtl` command in deploy and on the pages for sites and coordinators can be given as it stands."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import click
import pytest
import typer
import yaml

from fmtl.cli import build_app

ROOT = Path(__file__).parents[2]
PAGES = (ROOT / "docs/for-sites.md", ROOT / "docs/for-coordinators.md")
DEPLOY = tuple(path for path in sorted((ROOT / "deploy").rglob("*")) if path.is_file())


def written_commands(line: str) -> list[list[str]]:
    """The command of a line, without what is in front of `fmtl` and what comes after the command."""
    found = re.search(r"(?:^|(?<!-n)\s|/)fmtl ([a-z]+(?: [^#|;&>\\]*)?)", line.replace('"', ""))
    return [] if found is None else [shlex.split(found[1])]


def lines_of(path: Path) -> list[str]:
    """Lines of code of a page; for other files, every line that gives a command or tells of one."""
    text = path.read_text()
    if path.suffix != ".md":
        # Commands stand indented in comments, and some have a word on them in brackets.
        told = [re.sub(r"\(.*", "", line) for line in re.findall(r"^#  +(.*)", text, re.MULTILINE)]
        return told + [line for line in text.splitlines() if line.startswith(("ExecStart=", '"$checkout'))]
    blocks = re.findall(r"^```bash\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    inline = re.findall(r"`([^`\n]+)`", re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL))
    return [line for block in blocks for line in block.splitlines()] + inline


def commands_of(path: Path) -> list[list[str]]:
    commands = [words for line in lines_of(path) for words in written_commands(line)]
    if path.suffix in (".yaml", ".yml"):
        for document in yaml.safe_load_all(path.read_text()):
            commands += [list(map(str, words)) for words in _arguments(document)]
    return commands


def _arguments(node: object) -> list[list[str]]:
    """Values of `args` and `command` whose program is the image's entry point."""
    if isinstance(node, list):
        return [words for item in node for words in _arguments(item)]
    if not isinstance(node, dict):
        return []
    own = [node[key] for key in ("args", "command") if isinstance(node.get(key), list)]
    return [words for words in own if words[0] in ("server", "site")] + [
        words for value in node.values() for words in _arguments(value)
    ]


def refusal(words: list[str]) -> str | None:
    """Why the command line would refuse a command, without running it; None where it would not."""
    command = typer.main.get_command(build_app(words))
    context = click.Context(command, info_name="fmtl")
    rest = list(words)
    while hasattr(command, "commands"):
        if not rest:
            return None
        name = rest.pop(0)
        if name not in command.commands:
            return f"no command {name!r} in {' '.join(words)!r}"
        command = command.commands[name]
        context = type(context)(command, parent=context, info_name=name)
    if not rest:
        # Only named in a sentence.
        return None
    try:
        command.make_context(words[-1], rest, parent=context.parent)
    except Exception as error:
        return f"{' '.join(words)}: {type(error).__name__}: {getattr(error, 'message', error)}"
    return None


@pytest.mark.parametrize("path", [*PAGES, *DEPLOY], ids=lambda path: str(path.relative_to(ROOT)))
def test_every_command_that_is_written_down_exists_with_its_options(path: Path) -> None:
    refused = [reason for words in commands_of(path) if (reason := refusal(words)) is not None]
    assert not refused, "\n".join(refused)


def test_commands_are_found_at_all() -> None:
    counts = {path.name: len(commands_of(path)) for path in (*PAGES, *DEPLOY)}
    assert counts["for-sites.md"] > 10
    assert counts["for-coordinators.md"] > 15
    assert counts["coordinator.yaml"] == 2
    for name in ("fmtl-coordinator.service", "fmtl-site@.service", "coordinator.compose.yaml", "site.compose.yaml"):
        assert counts[name] >= 1, name


@pytest.mark.parametrize(
    "words",
    [
        ["server", "start"],
        ["server", "run", "F", "--stratgy", "local"],
        ["server", "run", "F", "--num-server-rounds", "0"],
        ["site", "begin", "site.yaml"],
        ["keys", "coordinator", "F"],
    ],
    ids=" ".join,
)
def test_a_command_that_does_not_exist_would_be_noticed(words: list[str]) -> None:
    known_to_pass_alone = words == ["server", "start"]
    assert (refusal(words) is None) == known_to_pass_alone
