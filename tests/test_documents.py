"""README and docs name only what exists: files, commands, settings, scenarios."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
DOCUMENTS = sorted([ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "SECURITY.md", *(ROOT / "docs").rglob("*.md")])


def _name(path: Path) -> str:
    return str(path.relative_to(ROOT))


@pytest.mark.parametrize("document", DOCUMENTS, ids=_name)
def test_links_lead_to_files(document: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)\)", document.read_text()):
        if not target.startswith("http"):
            assert (document.parent / target).exists(), f"{_name(document)} links to {target}"


@pytest.mark.parametrize("document", DOCUMENTS, ids=_name)
def test_commands_exist(document: Path) -> None:
    commands = set(re.findall(r"(?:\.venv/bin/|`)fmtl ([a-z]+)", document.read_text()))
    have = {path.stem for path in (ROOT / "fmtl/commands").glob("*.py")}
    assert commands <= have, f"{_name(document)} names {commands - have}"


@pytest.mark.parametrize("document", DOCUMENTS, ids=_name)
def test_benchmarks_and_files_in_backticks_exist(document: Path) -> None:
    text = document.read_text()
    for path in re.findall(
        r"`(?:python )?((?:benchmarks|fmtl_strategies|client_app|server_app|tests|datasets)/[\w/.-]+)", text
    ):
        place = path.rstrip(":.").removesuffix("/")
        assert (ROOT / place).exists(), f"{_name(document)} names {path}"


@pytest.mark.parametrize("document", DOCUMENTS, ids=_name)
def test_settings_on_command_lines_exist(document: Path) -> None:
    table = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["flwr"]["app"]["config"]
    known = {key for key, value in table.items() if not isinstance(value, dict)}
    known |= {f"{owner}.{key}" for owner, value in table.items() if isinstance(value, dict) for key in value}
    text = document.read_text()
    named = set(re.findall(r"--set[ =]([\w.-]+)=", text))
    # A strategy that a page writes down brings its own.
    for own in re.findall(r'^    name = "([\w-]+)"$', text, re.MULTILINE):
        known |= {f"{own}.{key}" for key in re.findall(r"^    (\w+): \w+ = parameter\(", text, re.MULTILINE)}
    assert named <= known, f"{_name(document)} sets {named - known}"


def test_documents_of_strategies_name_registered_ones_only() -> None:
    from fmtl_strategies.registry import strategy_names

    described = re.findall(r"^## ([a-z0-9-]+)$", (ROOT / "docs/strategies.md").read_text(), re.MULTILINE)
    assert described
    assert set(described) <= set(strategy_names())
