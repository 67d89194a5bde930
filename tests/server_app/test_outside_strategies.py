"""Parameters of a strategy outside the project: from the run config to config.json and result.json, and on resume."""

from __future__ import annotations

import hashlib
import importlib
import json
import sys
from pathlib import Path
from typing import Any

import pytest

from fmtl.engine import run
from fmtl.errors import SettingError
from fmtl.sweeps.file import read_sweep
from fmtl.sweeps.plan import jobs_of, state_of, states_of
from fmtl_strategies.registry import strategy_source
from server_app.config import RunConfigError, effective_config, parse_run_config
from server_app.run_folder import RunFolderError

SCENARIO = Path(__file__).parents[1] / "support/tiny.yaml"
MODULE = """
from fmtl_strategies.round.base import PersonalizedStrategy
from fmtl_strategies.parameters import StrategyParameters, parameter

class Parameters(StrategyParameters):
    strength: float = parameter(0.5, "share of the update that is kept", "ours", ge=0, le=1)
    form: str = parameter("plain", "a word", "ours")

class Shrink(PersonalizedStrategy):
    name = "shrink"
    summary_line = "own update, made smaller"
    parameters_model = Parameters
    shared_kinds = ("encoder",)
    def aggregate_pool(self, pool, server_round):
        pool.parameters_nd += self.parameters.strength * pool.updates_nd
        return {"strength": self.parameters.strength}
"""
NAME = "outside_shrink:Shrink"


@pytest.fixture(autouse=True)
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tmp_path.joinpath("outside_shrink.py").write_text(MODULE)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setenv("FMTL_STRATEGY_PATH", str(tmp_path))
    monkeypatch.delitem(sys.modules, "outside_shrink", raising=False)


def values(**changes: Any) -> dict[str, Any]:
    return {"strategy": NAME, "scenario": str(SCENARIO), "num-server-rounds": 1, "warmup-epochs": 0, **changes}


def test_parameters_may_be_given_as_one_text_or_one_by_one() -> None:
    for given in ({"strategy-parameters": "strength = 0.25"}, {"shrink.strength": 0.25}):
        config, parameters = parse_run_config(values(**given))
        assert parameters == {"strength": 0.25}
        effective = effective_config(config, parameters)
        assert effective["strategy-parameters"] == '"strength" = 0.25, "form" = "plain"'
        assert effective_config(*parse_run_config(effective)) == effective


def test_text_of_parameters_is_refused_for_a_strategy_of_the_project() -> None:
    with pytest.raises(RunConfigError, match=r"'strategy-parameters' = 'strength = 1' is for .* fedavg\.<parameter>"):
        parse_run_config({"strategy": "fedavg", "strategy-parameters": "strength = 1"})


def test_name_of_another_strategy_outside_the_project_is_unknown() -> None:
    with pytest.raises(RunConfigError, match=r"'grow\.strength': no strategy 'grow'"):
        parse_run_config(values(**{"grow.strength": 1}))


def edit(module: Path) -> None:
    """Change the strategy's file, and let the next run import it as a new process would."""
    module.write_text(module.read_text().replace("+= self", "-= self"))
    del sys.modules["outside_shrink"]
    importlib.invalidate_caches()


def test_run_of_an_edited_strategy_is_not_resumed(tmp_path: Path) -> None:
    folder, module = tmp_path / "run", tmp_path / "outside_shrink.py"
    before = module.read_bytes()
    result = run(values(), folder)
    source = json.loads((folder / "config.json").read_text())["strategy_source"]
    assert source == {"file": "outside_shrink.py", "sha256": hashlib.sha256(before).hexdigest()}
    (folder / "result.json").unlink()
    edit(module)
    with pytest.raises(RunFolderError, match=r"code of outside_shrink:Shrink is not .* outside_shrink\.py had sha256"):
        run(values(resume=True), folder)
    module.write_bytes(before)
    del sys.modules["outside_shrink"]
    assert run(values(resume=True), folder)["clients"] == result["clients"]


def test_finished_run_of_an_edited_strategy_is_not_taken_for_the_new_code(tmp_path: Path) -> None:
    file = tmp_path / "mine.toml"
    line = f'[[runs]]\nstrategy = "{NAME}"\nlabel = "mine"\n'
    file.write_text(f'scenario = "{SCENARIO}"\nrounds = 1\nseeds = [0]\n{line}')
    (job,) = jobs_of(read_sweep(file, tmp_path / "out"))
    run(job.values, job.folder)
    assert state_of(job) == "done"
    edit(tmp_path / "outside_shrink.py")
    with pytest.raises(SettingError, match=r"holds a run of other code: .* with --out, or .* --again mine"):
        state_of(job)
    assert states_of([job], anew=[job]) == {job: "to do"}


def test_file_edited_while_its_code_is_loaded_is_recorded_as_it_was_loaded(tmp_path: Path) -> None:
    module = tmp_path / "outside_shrink.py"
    before = strategy_source(NAME)
    module.write_text(module.read_text() + "\n# edited\n")
    assert strategy_source(NAME) == before


def test_run_records_effective_parameters_and_resumes_only_with_the_same(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    text = "strength = 0.25"
    result = run(values(**{"strategy-parameters": text}), folder)
    assert (result["status"], result["strategy"]) == ("completed", NAME)
    assert result["strategy_parameters"] == {"strength": 0.25, "form": "plain"}
    recorded = json.loads((folder / "config.json").read_text())["run_config"]
    assert recorded["strategy-parameters"] == '"strength" = 0.25, "form" = "plain"'
    (folder / "result.json").unlink()
    with pytest.raises(RunFolderError, match=r"strategy-parameters = '\"strength\" = 0.5.*started with .* = 0\.25"):
        run(values(resume=True), folder)
    resumed = run({**recorded, "resume": True}, folder)
    assert resumed["clients"] == result["clients"]
