"""`fmtl run` and `fmtl resume`: what they run, given flags, files and run folders, and how they end."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from fmtl.commands import resume, run
from fmtl.engine import Engine, federated_run
from fmtl.errors import RunError, RunInterruptedError, SettingError
from fmtl_strategies.parameters import StrategyParameterError
from tests.support.commands import invoke


@dataclass(frozen=True)
class Asked:
    """A run that a command has asked for."""

    values: Mapping[str, Any]
    folder: Path
    engine: Engine
    clients: int | None


@pytest.fixture
def runs(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[Asked]:
    """What would have been run; the current folder is `tmp_path`."""
    taken: list[Asked] = []

    def take(values: Mapping[str, Any], folder: Path, engine: Engine, *, clients: int | None, show: object) -> None:
        taken.append(Asked(values, folder, engine, clients))

    monkeypatch.setattr(federated_run, "run", take)
    monkeypatch.chdir(tmp_path)
    return taken


def test_flags_win_over_settings_over_file_over_defaults(runs: list[Asked], tmp_path: Path) -> None:
    file = tmp_path / "run.toml"
    file.write_text('seed = 1\nstrategy = "fedavg"\nnum-server-rounds = 7\n')
    result = invoke(run.command, "--config", file, "--set", "seed=2", "--set", "strategy=fedper", "--seed", "3")
    assert result.exit_code == 0
    assert [runs[0].values[key] for key in ("num-server-rounds", "strategy", "seed")] == [7, "fedper", 3]
    assert runs[0].values["schedule"] == "cosine"


def test_clients_are_at_work_in_parallel_unless_a_flag_says_otherwise(runs: list[Asked]) -> None:
    invoke(run.command)
    invoke(run.command, "--engine", "inline", "--clients", "2")
    invoke(run.command, "--workers", "3", "--cpus-per-client", "2", "--gpus-per-client", "0.5", "--ray-address", "auto")
    assert [asked.engine for asked in runs] == [Engine("ray"), Engine("inline"), Engine("ray", 3, 2, 0.5, "auto")]
    assert [asked.clients for asked in runs] == [None, 2, None]


def test_run_folder_has_a_telling_name_and_a_number_where_it_is_taken(runs: list[Asked], tmp_path: Path) -> None:
    invoke(run.command, "--strategy", "fedavg")
    (tmp_path / "runs/fedavg-default-s0").mkdir(parents=True)
    invoke(run.command, "--strategy", "fedavg")
    assert [asked.folder.name for asked in runs] == ["fedavg-default-s0", "fedavg-default-s0-2"]


def test_given_run_folder_that_exists_is_refused(runs: list[Asked]) -> None:
    folder = Path.cwd() / "mine"
    folder.mkdir()
    folder.joinpath("config.json").write_text("{}")
    with pytest.raises(SettingError, match="out-dir"):
        invoke(run.command, "--out-dir", "mine")
    assert runs == []


@pytest.mark.parametrize("how", ["--set", "--config"])
def test_parameter_of_a_strategy_that_is_not_chosen_starts_nothing(runs: list[Asked], how: str) -> None:
    Path("run.toml").write_text("[fedprox]\nmu = 0.01\n")
    given = "fedprox.mu=0.01" if how == "--set" else "run.toml"
    with pytest.raises((SettingError, StrategyParameterError), match=r"fedprox\.mu"):
        invoke(run.command, "--strategy", "fedavg", how, given)
    assert runs == []


@pytest.mark.parametrize(
    ("error", "status"), [(RunError("no client answered"), 1), (RunInterruptedError(15), 143), (OSError("disk"), None)]
)
def test_exit_status_says_how_the_run_ended(
    runs: list[Asked], monkeypatch: pytest.MonkeyPatch, error: Exception, status: int | None
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(federated_run, "run", fail)
    if status is None:
        with pytest.raises(OSError, match="disk"):
            invoke(run.command)
        return
    result = invoke(run.command)
    assert result.exit_code == status
    assert isinstance(error, RunInterruptedError) or str(error) in result.output


def write_run(folder: Path, config: Mapping[str, object], launch: Mapping[str, object] | None) -> Path:
    """A run folder as an interrupted run leaves it."""
    folder.mkdir()
    folder.joinpath("config.json").write_text(json.dumps({"run_config": config}))
    if launch is not None:
        folder.joinpath("launch.json").write_text(json.dumps(launch))
    return folder


SAVED = {"strategy": "fedhca2", "scenario": "default", "seed": 4, "fedhca2.c": 0.9}


def test_resume_goes_on_with_the_saved_settings_on_the_engine_of_before(runs: list[Asked]) -> None:
    launch = {"name": "ray", "workers": 3, "cpus_per_client": 2, "gpus_per_client": 0.5, "clients": 2}
    folder = write_run(Path.cwd() / "run", SAVED, launch)
    invoke(resume.command, "run", "--gpus-per-client", "0.25")
    assert runs == [Asked({**SAVED, "resume": True}, folder, Engine("ray", 3, 2, 0.25), 2)]


def test_run_of_an_earlier_version_is_resumed_with_the_resources_it_had(runs: list[Asked]) -> None:
    write_run(Path.cwd() / "run", SAVED, {"app_dir": "/gone", "clients": 2, "cpus_per_client": 2})
    invoke(resume.command, "run")
    assert (runs[0].engine, runs[0].clients) == (Engine("ray", cpus_per_client=2), 2)


def test_completed_run_is_not_run_again(runs: list[Asked]) -> None:
    folder = write_run(Path.cwd() / "run", SAVED, None)
    folder.joinpath("result.json").write_text('{"status": "completed"}')
    assert invoke(resume.command, "run").exit_code == 0
    assert runs == []


def test_folder_without_a_run_and_damaged_folder_are_named(runs: list[Asked]) -> None:
    with pytest.raises(SettingError, match=r"config\.json"):
        invoke(resume.command, "none")
    folder = write_run(Path.cwd() / "run", SAVED, None)
    folder.joinpath("config.json").write_text("{")
    with pytest.raises(SettingError, match=r"config\.json"):
        invoke(resume.command, "run")


MINE = """
from fmtl_strategies.round.base import PersonalizedStrategy
class Mine(PersonalizedStrategy):
    name, summary_line = "mine", "one"
    def aggregate_pool(self, pool, server_round):
        return {}
"""


def test_strategy_in_the_current_folder_is_run_under_its_class_name(
    runs: list[Asked], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.delitem(sys.modules, "outside_run", raising=False)
    Path("outside_run.py").write_text(MINE)
    invoke(run.command, "--strategy", "outside_run:Mine", "--set", "mine.strength=0.5")
    values = runs[0].values
    assert (values["strategy"], values["strategy-parameters"]) == ("outside_run:Mine", '"strength" = 0.5')
    assert runs[0].folder.name == "Mine-default-s0"


def test_resume_looks_for_the_strategy_where_the_run_found_it(
    runs: list[Asked], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("FMTL_STRATEGY_PATH", "")
    monkeypatch.delenv("FMTL_STRATEGY_PATH")
    write_run(Path.cwd() / "run", SAVED, {"strategy_path": str(tmp_path / "there")})
    invoke(resume.command, "run")
    assert os.environ["FMTL_STRATEGY_PATH"] == str(tmp_path / "there")
    monkeypatch.setenv("FMTL_STRATEGY_PATH", "/given")
    invoke(resume.command, "run")
    assert os.environ["FMTL_STRATEGY_PATH"] == "/given"
