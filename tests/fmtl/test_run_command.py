"""`fmtl run` and `fmtl resume`: what they start, given flags, files and run folders."""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from fmtl import simulation
from fmtl.commands import resume, run
from fmtl.simulation import Launch, RunInterruptedError, SettingError, SimulationError

PYPROJECT = """
[tool.flwr.app]
publisher = "fmtl"
[tool.flwr.app.config]
strategy = "fedhca2"
scenario = "pair"
num-server-rounds = 5
seed = 0
out-dir = ""
resume = false
min-clients = 0
[tool.flwr.app.config.fedhca2]
c = 0.4
mode = "stable"
"""
CLIENT = "{dataset: procedural, tasks: [depth], image-size: [64, 64], encoder: e, train-images: 8, validation-images: 8"
SCENARIO = f"name: pair\ndescription: two\nclients:\n  - {CLIENT}, name: a}}\n  - {CLIENT}, name: b}}\n"


@pytest.fixture
def app(tmp_path: Path) -> Path:
    """A checkout with one scenario of two clients."""
    folder = tmp_path / "checkout"
    folder.joinpath("datasets", "scenarios").mkdir(parents=True)
    folder.joinpath("pyproject.toml").write_text(PYPROJECT)
    folder.joinpath("datasets", "scenarios", "pair.yaml").write_text(SCENARIO)
    return folder


@pytest.fixture
def launches(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[Launch]:
    """What would have been run; the current folder is `tmp_path`."""
    taken: list[Launch] = []
    monkeypatch.setattr(simulation, "simulate", lambda launch, show: taken.append(launch) or {})
    monkeypatch.chdir(tmp_path)
    return taken


def invoke(command: Any, *arguments: str | Path) -> Any:
    """Run a command; an error other than an exit is raised."""
    application = typer.Typer(pretty_exceptions_enable=False)
    application.command()(command)
    result = CliRunner().invoke(application, [str(argument) for argument in arguments])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


def test_flags_win_over_settings_over_file_over_defaults(app: Path, launches: list[Launch], tmp_path: Path) -> None:
    file = tmp_path / "run.toml"
    file.write_text('seed = 1\nstrategy = "fedavg"\nnum-server-rounds = 7\n[fedhca2]\nc = 1\n')
    result = invoke(run.command, app, "--config", file, "--set", "seed=2", "--set", "strategy=fedper", "--seed", "3")
    values = launches[0].run_config
    assert result.exit_code == 0
    assert [values[key] for key in ("num-server-rounds", "strategy", "seed")] == [7, "fedper", 3]
    assert [values["fedhca2.c"], values["fedhca2.mode"], values["resume"]] == [1.0, "stable", False]


def test_number_of_clients_is_the_scenarios_and_the_server_waits_for_all(app: Path, launches: list[Launch]) -> None:
    invoke(run.command, app)
    invoke(run.command, app, "--clients", "3", "--cpus-per-client", "2", "--gpus-per-client", "0.5")
    assert [launch.resources.clients for launch in launches] == [2, 3]
    assert [launch.run_config["min-clients"] for launch in launches] == [2, 3]
    flag = "num-supernodes=3 client-resources-num-cpus=2 client-resources-num-gpus=0.5"
    assert launches[1].resources.as_flag() == flag


def test_run_folder_has_a_telling_name_and_a_number_where_it_is_taken(app: Path, launches: list[Launch]) -> None:
    here = Path.cwd()
    invoke(run.command, app)
    here.joinpath("runs", "fedhca2-pair-s0").mkdir(parents=True)
    invoke(run.command, app)
    assert [launch.out_dir for launch in launches] == [here / "runs/fedhca2-pair-s0", here / "runs/fedhca2-pair-s0-2"]
    assert launches[1].run_config["out-dir"] == str(launches[1].out_dir)


def test_given_run_folder_that_exists_is_refused_with_the_way_to_resume(app: Path, launches: list[Launch]) -> None:
    folder = Path.cwd() / "mine"
    invoke(run.command, app, "--out", "mine")
    folder.mkdir()
    folder.joinpath("config.json").write_text("{}")
    with pytest.raises(SettingError, match=f"fmtl resume {re.escape(str(folder))}"):
        invoke(run.command, app, "--out", "mine")
    assert [launch.out_dir for launch in launches] == [folder]


def test_scenario_file_is_passed_by_its_absolute_path(app: Path, launches: list[Launch]) -> None:
    Path("my.yaml").write_text(SCENARIO.replace("pair", "my"))
    invoke(run.command, app, "--scenario", "my.yaml")
    assert launches[0].run_config["scenario"] == str(Path.cwd() / "my.yaml")
    assert launches[0].out_dir.name == "fedhca2-my-s0"


@pytest.mark.parametrize("how", ["--set", "--config"])
def test_parameter_of_a_strategy_that_is_not_chosen_starts_nothing(launches: list[Launch], how: str) -> None:
    Path("run.toml").write_text("[fedprox]\nmu = 0.01\n")
    given = "fedprox.mu=0.01" if how == "--set" else "run.toml"
    with pytest.raises(SettingError, match=rf"{how}.*: fedprox\.mu = 0\.01 has no effect: strategy fedavg"):
        invoke(run.command, "--strategy", "fedavg", how, given)
    assert launches == []


def test_unknown_setting_and_scenario_start_nothing(app: Path, launches: list[Launch]) -> None:
    with pytest.raises(SettingError, match=r"--set: the run config has no key 'fedhca2\.d'; did you mean fedhca2\.c"):
        invoke(run.command, app, "--set", "fedhca2.d=1")
    with pytest.raises(ValueError, match="scenario = 'none' is not known"):
        invoke(run.command, app, "--scenario", "none")
    assert launches == []


@pytest.mark.parametrize(
    ("error", "status", "printed"),
    [
        (SimulationError("The run failed: no."), 1, "Error: The run failed: no."),
        (RunInterruptedError(15), 143, "interrupted"),
    ],
)
def test_exit_status_says_how_the_run_ended(
    app: Path, launches: list[Launch], monkeypatch: pytest.MonkeyPatch, error: Exception, status: int, printed: str
) -> None:
    def fail(launch: Launch, show: object) -> None:
        raise error

    monkeypatch.setattr(simulation, "simulate", fail)
    result = invoke(run.command, app)
    assert result.exit_code == status
    assert printed in result.output


def write_run(folder: Path, config: Mapping[str, object], launch: Mapping[str, object] | None) -> Path:
    """A run folder as an interrupted run leaves it."""
    folder.mkdir()
    folder.joinpath("config.json").write_text(json.dumps({"run_config": config}))
    if launch is not None:
        folder.joinpath("launch.json").write_text(json.dumps(launch))
    return folder


SAVED = {"strategy": "fedhca2", "scenario": "pair", "seed": 4, "min-clients": 2, "fedhca2.c": 0.9}


def test_resume_submits_the_saved_config_to_the_same_folder_and_checkout(app: Path, launches: list[Launch]) -> None:
    recorded = {"app_dir": str(app), "clients": 2, "cpus_per_client": 2, "gpus_per_client": 0.5}
    folder = write_run(Path.cwd() / "run", SAVED, recorded)
    result = invoke(resume.command, "run", "--gpus-per-client", "0.25")
    launch = launches[0]
    assert result.exit_code == 0
    assert {key: launch.run_config[key] for key in SAVED} == SAVED
    assert (launch.run_config["resume"], launch.run_config["out-dir"]) == (True, str(folder))
    assert (launch.app_dir, launch.out_dir) == (app, folder)
    assert launch.resources == simulation.Resources(2, cpus_per_client=2, gpus_per_client=0.25)


def test_resume_counts_the_scenarios_clients_where_nothing_was_recorded(app: Path, launches: list[Launch]) -> None:
    write_run(Path.cwd() / "run", SAVED, None)
    invoke(resume.command, "run", "--app-dir", app)
    assert launches[0].resources.clients == 2


def test_completed_run_is_not_run_again(app: Path, launches: list[Launch]) -> None:
    folder = write_run(Path.cwd() / "run", SAVED, {"app_dir": str(app)})
    folder.joinpath("result.json").write_text('{"status": "completed"}')
    result = invoke(resume.command, "run")
    assert "has completed already" in result.output
    assert launches == []


def test_folder_without_a_run_and_damaged_folder_are_named(launches: list[Launch]) -> None:
    with pytest.raises(SettingError, match=r"holds no run to resume: it has no config\.json"):
        invoke(resume.command, "none")
    folder = write_run(Path.cwd() / "run", SAVED, None)
    folder.joinpath("config.json").write_text("{")
    with pytest.raises(SettingError, match=r"config\.json is damaged"):
        invoke(resume.command, "run")


MINE = """
from fmtl_strategies.round.base import PersonalizedStrategy
class Mine(PersonalizedStrategy):
    name, summary_line = "mine", "one"
    def aggregate_pool(self, pool, server_round):
        return {}
"""


def test_strategy_in_the_current_folder_is_run_under_its_class_name(
    app: Path, launches: list[Launch], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.delitem(sys.modules, "outside_run", raising=False)
    Path("outside_run.py").write_text(MINE)
    pyproject = app / "pyproject.toml"
    pyproject.write_text(PYPROJECT.replace("seed = 0", 'seed = 0\nstrategy-parameters = ""'))
    invoke(run.command, app, "--strategy", "outside_run:Mine", "--set", "mine.strength=0.5")
    values = launches[0].run_config
    assert (values["strategy"], values["strategy-parameters"]) == ("outside_run:Mine", '"strength" = 0.5')
    assert launches[0].out_dir.name == "Mine-pair-s0"


def test_resume_looks_for_the_strategy_where_the_run_found_it(
    app: Path, launches: list[Launch], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("FMTL_STRATEGY_PATH", "")
    monkeypatch.delenv("FMTL_STRATEGY_PATH")
    write_run(Path.cwd() / "run", SAVED, {"app_dir": str(app), "strategy_path": str(tmp_path / "there")})
    invoke(resume.command, "run")
    assert os.environ["FMTL_STRATEGY_PATH"] == str(tmp_path / "there")
    monkeypatch.setenv("FMTL_STRATEGY_PATH", "/given")
    invoke(resume.command, "run")
    assert os.environ["FMTL_STRATEGY_PATH"] == "/given"
