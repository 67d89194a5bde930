"""How the run config of `fmtl run` is put together."""

from __future__ import annotations

import sys
import tomllib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fmtl.errors import SettingError
from fmtl.settings import (
    as_toml,
    merge,
    merge_all,
    parse_setting,
    read_config_file,
)
from fmtl_strategies.parameters import parse_parameter_text

DEFAULTS = {"strategy": "local", "num-server-rounds": 5, "resume": False, "fedhca2.c": 0.4, "fedhca2.mode": "stable"}


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("fedhca2.c=0.5", 0.5),
        ("resume=true", True),
        ("num-server-rounds= 7", 7),
        ("strategy=fedper", "fedper"),
        ("strategy='fed per'", "fed per"),
        ("scenario=a=b", "a=b"),
        ("out-dir=/x y/z", "/x y/z"),
    ],
)
def test_setting_is_read_as_toml_and_else_as_text(text: str, value: object) -> None:
    assert parse_setting(text) == (text.partition("=")[0], value)


@pytest.mark.parametrize("text", ["strategy", "=3", "seed=[1, 2]"])
def test_setting_without_key_or_with_a_list_is_refused(text: str) -> None:
    with pytest.raises(SettingError, match="--set"):
        parse_setting(text)


@pytest.mark.parametrize(("key", "match"), [("num-server-round", "num-server-rounds"), ("fedhca.c", "fedhca2.c")])
def test_unknown_key_lists_close_matches(key: str, match: str) -> None:
    with pytest.raises(SettingError, match=f"no key '{key}'; did you mean .*{match}"):
        merge(DEFAULTS, {key: 1}, "--set")


def test_key_with_another_strategys_name_is_suggested_by_its_last_part() -> None:
    with pytest.raises(SettingError, match=r"fedhca2\.c"):
        merge(DEFAULTS, {"something-quite-different.c": 1}, "--set")


@pytest.mark.parametrize(
    ("key", "value", "expected"),
    [("fedhca2.c", 1, 1.0), ("strategy", 3, "3"), ("num-server-rounds", 2, 2), ("resume", True, True)],
)
def test_value_takes_the_type_of_the_default(key: str, value: bool | int, expected: object) -> None:
    merged = merge(DEFAULTS, {key: value}, "--set")
    assert merged[key] == expected
    assert type(merged[key]) is type(expected)


@pytest.mark.parametrize(
    ("key", "value"),
    [("num-server-rounds", "many"), ("num-server-rounds", 2.5), ("resume", 1), ("fedhca2.c", True), ("strategy", True)],
)
def test_value_of_another_type_names_key_value_and_what_is_expected(key: str, value: bool | float | str) -> None:
    with pytest.raises(SettingError, match=rf"--set: {key} = {value!r} is not .+ which this key needs \(default"):
        merge(DEFAULTS, {key: value}, "--set")


def test_tables_of_a_file_become_dotted_keys(tmp_path: Path) -> None:
    file = tmp_path / "run.toml"
    file.write_text('strategy = "fedhca2"\n[fedhca2]\nc = 0.7\nmode = "paper"\n')
    assert read_config_file(file) == {"strategy": "fedhca2", "fedhca2.c": 0.7, "fedhca2.mode": "paper"}


@pytest.mark.parametrize(("content", "match"), [("a = ", "not valid TOML"), ("tasks = [1]", "tasks = .* is a list")])
def test_file_that_cannot_be_used_is_named(tmp_path: Path, content: str, match: str) -> None:
    file = tmp_path / "run.toml"
    file.write_text(content)
    with pytest.raises(SettingError, match=match) as caught:
        read_config_file(file)
    assert str(file) in str(caught.value)


def test_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(SettingError, match="there is no such file"):
        read_config_file(tmp_path / "none.toml")


texts = st.text(st.characters(exclude_categories=("Cs",)), max_size=20)


@given(st.dictionaries(texts, st.booleans() | st.integers(-(2**62), 2**62) | st.floats(allow_nan=False) | texts))
def test_written_toml_reads_back_the_same(values: dict[str, bool | int | float | str]) -> None:
    read = tomllib.loads(as_toml(values))
    assert read == values
    assert [type(read[key]) for key in values] == [type(value) for value in values.values()]


OUTSIDE = {"strategy": "fedavg", "strategy-parameters": "", "seed": 0}


@pytest.fixture
def outside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A strategy outside the project, in the folder of strategies."""
    tmp_path.joinpath("outside_merged.py").write_text(
        "from fmtl_strategies.round.base import PersonalizedStrategy\n"
        "class Mine(PersonalizedStrategy):\n"
        "    name, summary_line = 'mine', 'one'\n"
        "    def aggregate_pool(self, pool, server_round): return {}\n"
    )
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setenv("FMTL_STRATEGY_PATH", str(tmp_path))
    monkeypatch.delitem(sys.modules, "outside_merged", raising=False)
    return "outside_merged:Mine"


def test_parameters_of_a_strategy_outside_the_project_become_one_text(outside: str) -> None:
    sources = [
        ({"mine.strength": 0.5, "strategy-parameters": "form = 'cosine'"}, "--config run.toml"),
        ({"mine.strength": 0.25, "seed": 3}, "--set"),
        ({"strategy": outside}, "flag"),
    ]
    merged = merge_all(OUTSIDE, sources)
    assert parse_parameter_text(str(merged["strategy-parameters"])) == {"form": "cosine", "strength": 0.25}
    assert (merged["strategy"], merged["seed"]) == (outside, 3)
    assert merged.keys() == OUTSIDE.keys()


def test_key_of_another_name_stays_unknown(outside: str) -> None:
    with pytest.raises(SettingError, match=r"--set: the run config has no key 'yours\.strength'"):
        merge_all(OUTSIDE, [({"strategy": outside, "yours.strength": 1}, "--set")])
    with pytest.raises(SettingError, match=r"--set: the run config has no key 'mine\.strength'"):
        merge_all(OUTSIDE, [({"mine.strength": 1}, "--set")])


def test_text_of_parameters_that_cannot_be_read_is_a_wrong_setting(outside: str) -> None:
    with pytest.raises(SettingError, match="strategy-parameters = 'strength' cannot be read"):
        merge_all(OUTSIDE, [({"strategy": outside, "strategy-parameters": "strength"}, "--set")])
