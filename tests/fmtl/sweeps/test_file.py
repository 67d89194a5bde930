"""The sweep file: expanded into runs, and every mistake named with its place before anything starts."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from fmtl.errors import SettingError
from fmtl.settings import default_settings
from fmtl.sweeps.file import Sweep, read_sweep
from fmtl.sweeps.plan import jobs_of
from server_app.config import effective_config, parse_run_config
from tests.support.sweeps import HEAD, LINES, TINY, write_sweep

ROOT = Path(__file__).parents[3]


@pytest.fixture(autouse=True)
def _in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def sweep_of(runs: str) -> Sweep:
    return read_sweep(write_sweep(HEAD + runs))


def test_lists_are_expanded_into_one_run_for_each_combination() -> None:
    sweep = sweep_of(
        '[[runs]]\nstrategy = "fedhca2"\nlabel = "ours"\nsettings = { warmup-epochs = [0, 2] }\n'
        'parameters = { c = [0.2, 0.4], momentum = 0.5 }\n[settings]\nschedule = "constant"\n'
    )
    expected = [f"ours-warmup-epochs={epochs}-c={c}" for epochs in (0, 2) for c in (0.2, 0.4)]
    assert [run.label for run in sweep.runs] == expected
    last = sweep.runs[-1].values
    assert [last[key] for key in ("warmup-epochs", "fedhca2.c", "fedhca2.momentum")] == [2, 0.4, 0.5]
    assert [last[key] for key in ("schedule", "num-server-rounds", "min-clients")] == ["constant", 2, 3]
    assert sweep.out == Path.cwd() / "runs/mine"


def test_list_may_mix_numbers_and_texts_and_a_slash_is_no_folder() -> None:
    runs = sweep_of('[[runs]]\nstrategy = "feddea"\nparameters = { rho = [0.3, "1/n"] }\n').runs
    assert [run.label for run in runs] == ["feddea-rho=0.3", "feddea-rho=1_n"]
    assert [run.values["feddea.rho"] for run in runs] == ["0.3", "1/n"]


def test_values_not_given_are_those_of_fmtl_run() -> None:
    values = sweep_of(LINES).runs[0].values
    own = {"scenario", "num-server-rounds", "min-clients", "strategy"}
    defaults = {key: value for key, value in default_settings().items() if "." not in key or key.startswith("fedavg.")}
    assert {key: value for key, value in values.items() if key not in own} == {
        key: value for key, value in defaults.items() if key not in own
    }


def test_paths_are_relative_to_the_file(tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    (tmp_path / "my.yaml").write_text(TINY.read_text())
    text = (HEAD + LINES).replace(str(TINY), "../my.yaml")
    sweep = read_sweep(write_sweep(f'out = "there"\n{text}', "deep/mine.toml"))
    assert sweep.runs[0].values["scenario"] == str(tmp_path / "my.yaml")
    assert sweep.out == tmp_path / "deep/there"
    assert read_sweep(sweep.path, Path("flag")).out == tmp_path / "flag"


def test_shipped_example_is_good() -> None:
    sweep = read_sweep(ROOT / "docs/sweep-example.toml")
    assert len(jobs_of(sweep)) == 12
    assert sweep.scenario.name == "default"


def test_parameters_of_a_wrapped_strategy_reach_its_run() -> None:
    sweep = sweep_of(
        '[[runs]]\nstrategy = "feddea"\nparameters = { base = "fedprox" }\nsettings = { fedprox = { mu = [0.5, 2] } }\n'
    )
    recorded = [effective_config(*parse_run_config(run.values))["fedprox.mu"] for run in sweep.runs]
    assert recorded == [0.5, 2.0]


def test_parameter_for_all_entries_reaches_those_whose_strategy_reads_it() -> None:
    entries = "".join(f'[[runs]]\nstrategy = "{name}"\n' for name in ("fedavg", "fedprox", "feddea"))
    runs = {run.label: run.values for run in sweep_of(f"[settings]\nfedprox.mu = 0.5\n{entries}").runs}
    assert runs["fedprox"]["fedprox.mu"] == 0.5
    assert not any(key.startswith("fedprox.") for key in (*runs["fedavg"], *runs["feddea"]))


@pytest.mark.parametrize(
    ("old", "new", "named"),
    [
        ("rounds = 2", "rounds = 0", ["rounds = 0"]),
        ("rounds = 2", "", ["rounds"]),
        ("[0, 1]", "[0, 0]", ["seeds = [0, 0]"]),
        ("[0, 1]", "[true]", ["seeds entry 1 = True"]),
        ("tiny.yaml", "none.yaml", ["scenario = ", "none.yaml"]),
        ("rounds = 2", "rounds = 2\nround = 3", ["round = 3"]),
        ("rounds = 2", "rounds = ", ["line 2"]),
        (LINES, "", ["runs"]),
        (LINES, f"[settings]\nfedprox.mu = 0.1\n{LINES}", ["[settings]", "fedprox.mu = 0.1", "fedavg.<parameter>"]),
        ('"fedavg"', '"fedavgg"', ["entry 1", "strategy = 'fedavgg'", "fedavg"]),
        ('"fedavg"', '"fedavg"\nmu = 1', ["runs entry 1.mu = 1"]),
        ('"fedavg"', '"fedavg"\nparameters = {mu = 1}', ["entry 1 (fedavg)", "'fedavg.mu'"]),
        ('"fedavg"', '"fedavg"\nparameters = {weighting = "none"}', ["run fedavg", "fedavg.weighting = 'none'"]),
        ('"fedavg"', '"fedavg"\nparameters = {weighting = []}', ["entry 1 (fedavg)", "fedavg.weighting = []"]),
        ('"fedavg"', '"fedavg"\nsettings = {seed = 3}', ["runs entry 1.settings", "seed = 3", "`seeds`"]),
        ('"fedavg"', '"fedavg"\nsettings = {quorum = 2.0}', ["run fedavg", "quorum", "2.0"]),
        ('"fedavg"', '"fedavg"\nsettings = {quorum = "x"}', ["entry 1 (fedavg)", "quorum = 'x'"]),
        ('"fedavg"', '"fedavg"\nsettings = {min-clients = 4}', ["min-clients = 4", "3 clients"]),
        ('"fedavg"', '"fedavg"\nsettings = {fedprox.mu = -5.0}', ["entry 1 (fedavg)", "fedprox.mu = -5.0"]),
        (
            '"fedavg"',
            '"feddea"\nlabel = "x"\nsettings = {fedprox.mu = [0.1, 1.0]}',
            ["entry 1 (x)", "fedprox.mu", "feddea.<parameter> and fedavg.<parameter>"],
        ),
        ('"fedavg"', '"feddea"\nsettings = {fedavg.decoder-scope = "all"}', ["decoder-scope", "'same-task'"]),
        ('"fedavg"', '"fedavg"\nlabel = "a/b"', ["entry 1", "label = 'a/b'"]),
        ('"fedavg"', '"fedavg"\nlabel = "x.json"', ["label = 'x.json'"]),
        ('"fedavg"', '"fedavg"\nlabel = "local"', ["entry 2", "label = 'local'"]),
        ('"fedavg"', '"local"\nlabel = "alone"', ["entry 2", "local", "alone"]),
    ],
)
def test_mistake_is_named_with_its_place_before_anything_starts(old: str, new: str, named: Sequence[str]) -> None:
    assert old in HEAD + LINES
    with pytest.raises(SettingError) as caught:
        read_sweep(write_sweep((HEAD + LINES).replace(old, new, 1)))
    for part in ("mine.toml", *named):
        assert part in str(caught.value)
    assert not Path("runs").exists()


def test_missing_data_is_named_before_anything_starts() -> None:
    weights = "tasks: [saliency]\n    encoder-weights: /no/gone.safetensors"
    Path("sites.yaml").write_text(TINY.read_text().replace("tasks: [saliency]", weights))
    with pytest.raises(SettingError, match=r"run fedavg: client three: encoder-weights .*gone\.safetensors"):
        read_sweep(write_sweep((HEAD + LINES).replace(str(TINY), "sites.yaml")))
