"""The command line: lazy loading, errors as one sentence, and the commands compare, strategies and scenarios."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import pytest

from fmtl import __version__, cli
from fmtl.commands.settings import flower_table, rows_of
from fmtl_strategies.contract.settings import Settings, parameter
from fmtl_strategies.registry import strategy_class, strategy_names
from fmtl_strategies.settings import RunConfig
from tests.support.run_folders import RunFolder, table_1

Call = Callable[..., tuple[int, str, str]]


def in_new_process(code: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd="/", env=environment)


def loaded_by(*arguments: str) -> tuple[str, set[str]]:
    """What `fmtl` prints, and the modules that it has loaded."""
    code = (
        f"import sys; sys.argv = {['fmtl', *arguments]}\n"
        "from fmtl.cli import main\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        "print('loaded:', *sys.modules)"
    )
    output, _, modules = in_new_process(code).stdout.rpartition("loaded:")
    return output, set(modules.split())


def test_help_lists_every_command_without_loading_any_of_them() -> None:
    output, modules = loaded_by("--help")
    assert all(f" {name} " in output for name in cli.COMMANDS)
    assert not [name for name in modules if name.startswith("fmtl.commands.")]
    assert not {"torch", "flwr", "numpy"} & modules


@pytest.mark.parametrize("command", ["strategies", "settings", "scenarios"])
def test_lists_are_shown_without_torch_and_flower(command: str) -> None:
    output, modules = loaded_by(command)
    assert len(output.splitlines()) > 20
    assert not {"torch", "flwr"} & modules


def test_every_command_has_a_module_with_typer_annotations(fmtl: Call) -> None:
    for name in cli.COMMANDS:
        code, output, errors = fmtl(name, "--help")
        assert (code, errors) == (0, "")
        assert f"fmtl {name}" in output


def test_version_is_that_of_the_package(fmtl: Call) -> None:
    assert fmtl("--version") == (0, f"fmtl {__version__}\n", "")


def test_user_error_is_one_sentence_with_exit_code_2_and_no_traceback(fmtl: Call, tmp_path: Path) -> None:
    code, output, errors = fmtl("compare", tmp_path / "absent")
    assert (code, output) == (2, "")
    assert errors == f"Error: {tmp_path / 'absent'} does not exist; give the folder of a run.\n"


def test_variable_shows_the_traceback_instead(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("FMTL_TRACEBACK", "1")
    monkeypatch.setattr(sys, "argv", ["fmtl", "compare", str(tmp_path / "absent")])
    with pytest.raises(ValueError, match="does not exist"):
        cli.main()


def test_value_error_from_inside_a_library_is_a_defect_and_not_the_user_s() -> None:
    with pytest.raises(ValueError, match="Expecting") as caught:
        __import__("json").loads("{")
    assert not cli.caused_by_user(caught.value)
    assert cli.caused_by_user(FileNotFoundError(2, "No such file or directory", "x"))
    assert cli.error_sentence(FileNotFoundError(2, "No such file or directory", "x")) == "x: No such file or directory."


def test_wrong_option_and_unknown_command_exit_with_2(fmtl: Call) -> None:
    assert fmtl("compare", "--nonsense", "x")[0] == 2
    assert fmtl("nonsense")[0] == 2


def test_compare_prints_published_delta_m_and_writes_report_and_curves(fmtl: Call, tmp_path: Path) -> None:
    runs = [RunFolder(table_1(name), strategy=name).write(tmp_path / name) for name in ("local", "fedhca2")]
    code, output, errors = fmtl("compare", *runs)
    assert (code, errors) == (0, "")
    assert "+2.18" in output
    folder = tmp_path / "comparison"
    assert str(folder / "comparison.md") in output
    assert len(list(folder.glob("curve_*.png"))) == 6
    assert "**+2.18**" in (folder / "comparison.md").read_text(encoding="utf-8")


def test_compare_of_chosen_columns_keeps_delta_m_over_all(fmtl: Call, tmp_path: Path) -> None:
    local = RunFolder({"a": {"semseg": 40.0}, "b": {"edge": 70.0}}).write(tmp_path / "local")
    run = RunFolder({"a": {"semseg": 44.0}, "b": {"edge": 70.0}}, strategy="fedper", seed=7).write(tmp_path / "fedper")
    code, output, _ = fmtl("compare", run, "--local", local, "--columns", "semseg", "--output", tmp_path / "out")
    assert code == 0
    assert "+5.00" in output
    assert "edge" not in output
    assert "taken over all 2 pairs, of which 1 are shown" in " ".join(output.split())
    assert (tmp_path / "out" / "comparison.md").exists()


def test_strategies_lists_names(fmtl: Call) -> None:
    code, output, _ = fmtl("strategies")
    assert code == 0
    assert all(f"{name} " in output and strategy_class(name).summary_line in output for name in strategy_names())


def test_settings_lists_general_keys_those_of_a_strategy_or_one(fmtl: Call) -> None:
    code, output, _ = fmtl("settings")
    assert code == 0
    assert all(f"{key} " in output for key in RunConfig().flat())
    code, output, _ = fmtl("settings", "fedavg")
    assert code == 0
    assert "fedavg.decoder-scope " in output
    assert "same-task" in output
    assert "no parameters" in fmtl("settings", "local")[1]
    for key in ("fedavg.weighting", "round-timeout"):
        output = fmtl("settings", key)[1]
        assert f"{key} " in output
        assert "decoder-scope" not in output


@pytest.mark.parametrize(
    ("name", "meant"), [("fedhca", "fedhca2"), ("round-time-out", "round-timeout"), ("fedhca2.mod", "fedhca2.mode")]
)
def test_settings_names_the_one_likely_correction(fmtl: Call, name: str, meant: str) -> None:
    code, _, errors = fmtl("settings", name)
    assert code == 2
    assert f"did you mean {meant}?" in errors


def test_rows_say_key_meaning_range_default_and_origin() -> None:
    class Inner(Settings):
        rounds: int = parameter(1, "rounds", "ours", alias="number", ge=1)

    class Outer(Settings):
        step_size: float = parameter(0.4, "step", "paper, eq. 6", gt=0, le=1)
        mode: Literal["stable", "paper"] = parameter("stable", "mode", "ours")
        share: str = parameter("0.3", "share", "ours", allowed="0 < x ≤ 1, or 1/n")
        inner: Inner = Inner()

    assert rows_of(Outer, "own.") == [
        ("own.step-size", "step", "0 < x ≤ 1", "0.4", "paper, eq. 6"),
        ("own.mode", "mode", "stable\npaper", "stable", "ours"),
        ("own.share", "share", "0 < x ≤ 1, or 1/n", "0.3", "ours"),
        ("own.number", "rounds", "integer, 1 ≤ x", "1", "ours"),
    ]


def test_table_of_pyproject_is_the_one_that_settings_prints() -> None:
    text = (Path(__file__).parents[2] / "pyproject.toml").read_text(encoding="utf-8")
    shipped = tomllib.loads(text)["tool"]["flwr"]["app"]["config"]
    printed = tomllib.loads(flower_table())["tool"]["flwr"]["app"]["config"]
    assert shipped == printed, "paste what `fmtl settings --toml` prints into pyproject.toml"
