"""Strategies outside the project: found, refused with what to change, and given their parameters."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from fmtl_strategies.parameters import StrategyParameterError, parameter_text, parse_parameter_text
from fmtl_strategies.registry import UnknownStrategyError, check_parameters, strategy_class

HEADER = """
from fmtl_strategies.round.base import PersonalizedStrategy
from fmtl_strategies.methods.fedavg import FedAvg
from fmtl_strategies.parameters import StrategyParameters, parameter
"""
WHOLE = """
class Parameters(StrategyParameters):
    strength: float = parameter(0.5, "how much", "ours", ge=0, le=1)

class Mine(PersonalizedStrategy):
    name = "mine"
    summary_line = "one of my own"
    parameters_model = Parameters
    def aggregate_pool(self, pool, server_round):
        return {}
"""
Write = Callable[..., str]


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Write]:
    """Write a module into an empty current folder; modules and import path are put back afterwards."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("FMTL_STRATEGY_PATH", raising=False)
    monkeypatch.setattr(sys, "path", list(sys.path))
    before = set(sys.modules)

    def write_module(body: str, name: str = "outside_example", folder: Path = tmp_path) -> str:
        folder.joinpath(f"{name}.py").write_text(HEADER + body)
        importlib.invalidate_caches()
        return name

    yield write_module
    for name in set(sys.modules) - before:
        if str(getattr(sys.modules[name], "__file__", "")).startswith(str(tmp_path)):
            del sys.modules[name]


def test_module_in_the_current_folder_is_found(write: Write) -> None:
    cls = strategy_class(f"{write(WHOLE)}:Mine")
    assert (cls.name, cls.__module__) == ("mine", "outside_example")


def test_module_in_the_folder_of_the_environment_variable_is_found(
    write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.setenv("FMTL_STRATEGY_PATH", str(elsewhere))
    assert strategy_class(f"{write(WHOLE, 'moved_example', elsewhere)}:Mine").name == "mine"


def test_nothing_in_the_users_folder_takes_the_place_of_the_projects_packages(write: Write, tmp_path: Path) -> None:
    for package in ("datasets", "server_app", "numpy"):
        tmp_path.joinpath(package).mkdir()
        tmp_path.joinpath(package, "__init__.py").write_text("raise AssertionError('the wrong package')\n")
    strategy_class(f"{write(WHOLE)}:Mine")
    assert sys.path[-1] == str(tmp_path)
    for package in ("datasets", "server_app", "numpy"):
        spec = importlib.util.find_spec(package)
        assert spec is not None
        assert not str(spec.origin).startswith(str(tmp_path))


def refused(strategy: str) -> str:
    with pytest.raises(UnknownStrategyError) as caught:
        strategy_class(strategy)
    text = str(caught.value)
    assert text.startswith(f"strategy = {strategy!r}: ")
    return text


def test_missing_module_says_where_it_was_looked_for(write: Write, tmp_path: Path) -> None:
    text = refused("not_there:Mine")
    assert f"no module not_there, neither installed nor in {tmp_path}" in text
    assert "Start the command in the folder that holds it" in text
    assert "FMTL_STRATEGY_PATH" in text


def test_missing_import_of_the_module_is_not_taken_for_a_missing_module(write: Write) -> None:
    name = write("import a_library_that_is_not_there\n")
    assert f"{name} imports a_library_that_is_not_there, which is not installed" in refused(f"{name}:Mine")


def test_module_hidden_by_another_of_its_name_is_named(write: Write, tmp_path: Path) -> None:
    write(WHOLE, "json")
    text = refused("json:Mine")
    assert f"{tmp_path / 'json.py'} is hidden by another module" in text
    assert "Rename yours" in text


@pytest.mark.parametrize("name", ["outside_example:", ":Mine", "my module:Mine", "outside_example:Mine:Other", "a/b:C"])
def test_name_of_another_form_is_refused(name: str) -> None:
    assert "expected module:Class, as in my_module:MyStrategy" in refused(name)


@pytest.mark.parametrize(
    ("body", "attribute", "expected"),
    [
        (WHOLE, "Mime", "has no Mime; it has FedAvg, Mine. Correct the name"),
        ("Mine = 3\n", "Mine", "is not a class derived from fmtl_strategies.round.base.PersonalizedStrategy"),
        ("class Mine: pass\n", "Mine", "is not a class derived from"),
        ("", "PersonalizedStrategy", "is not a class derived from"),
        ("class Mine(PersonalizedStrategy):\n    name = 'mine'\n", "Mine", "does not define aggregate_pool"),
        (WHOLE.replace('name = "mine"', ""), "Mine", 'has no name. Add a line such as name = "'),
        (WHOLE.replace("summary_line", "summary"), "Mine", "has no summary_line. Add a line such as"),
        (WHOLE.replace('"mine"', '"My.Name"'), "Mine", "'My.Name' must consist of small letters, digits and hyphens"),
        (WHOLE.replace('"mine"', '"fedavg"'), "Mine", "'fedavg' is that of a strategy of this project. Choose another"),
        ("class Mine(FedAvg): pass\n", "Mine", "'fedavg' is that of a strategy of this project"),
        (WHOLE.replace("= Parameters", "= dict"), "Mine", "not a class derived from fmtl_strategies.parameters."),
    ],
)
def test_unusable_class_is_refused_with_what_to_change(write: Write, body: str, attribute: str, expected: str) -> None:
    assert expected in refused(f"{write(body)}:{attribute}")


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({"strength": "much"}, r"mine\.strength = 'much': Input should be a valid number"),
        ({"strength": 2}, r"mine\.strength = 2: Input should be less than or equal to 1"),
        ({"strenght": 0.5}, r"mine\.strenght; did you mean mine\.strength\?"),
    ],
)
def test_wrong_parameter_names_setting_value_expectation_and_where_to_look(
    write: Write, values: dict[str, object], expected: str
) -> None:
    name = f"{write(WHOLE)}:Mine"
    with pytest.raises(StrategyParameterError, match=f"{expected}.*; `fmtl settings {name}` prints"):
        check_parameters(name, values)


def test_text_of_parameters_reads_back_the_same() -> None:
    values = {"strength": 0.1, "count": 3, "exact": True, "form": 'it\'s "so", or = not\n', "far": float("inf")}
    read = parse_parameter_text(parameter_text(values))
    assert read == values
    assert [type(value) for value in read.values()] == [float, int, bool, str, float]
    assert parse_parameter_text("") == {}
    assert parse_parameter_text(" strength = 0.5, form = 'cosine' ") == {"strength": 0.5, "form": "cosine"}


@pytest.mark.parametrize("text", ["strength", "strength: 0.5", "a = 1, a = 2", "a = 1}\nb = {", "a = [1]", "a.b = 1"])
def test_text_that_holds_no_pairs_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(StrategyParameterError, match=r"strategy-parameters.*(strength = 0\.5, form|true, false)"):
        parse_parameter_text(text)
