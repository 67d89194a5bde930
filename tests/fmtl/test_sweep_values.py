"""`fmtl sweep`: values of a sweep file that no run would read, whose values a row has, and a folder of no use."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import pytest
from run_folders import RunFolder as WrittenRun

from fmtl.engine import Engine
from fmtl.errors import SettingError
from fmtl.sweeps.file import Sweep, read_sweep
from fmtl.sweeps.perform import perform
from fmtl.sweeps.plan import jobs_of
from fmtl.sweeps.summary import summarise, write_summary
from server_app.config import effective_config, parse_run_config

TINY = Path(__file__).parents[2] / "tests/support/tiny.yaml"


def sweep_of(folder: Path, runs: str, out: Path | None = None) -> Sweep:
    file = folder / "mine.toml"
    file.write_text(f'scenario = "{TINY}"\nrounds = 2\nseeds = [0]\n{runs}', encoding="utf-8")
    return read_sweep(file, out or folder / "out")


@pytest.mark.parametrize(
    ("lines", "named"),
    [
        ('strategy = "fedavg"\nsettings = {fedprox.mu = -5.0}', ["entry 1 (fedavg)", "fedprox.mu = -5.0", "no effect"]),
        ('strategy = "fedavg"\nsettings = {fedprox.mu = 0.01}', ["entry 1 (fedavg)", "reads fedavg.<parameter> only"]),
        (
            'strategy = "feddea"\nlabel = "x"\nsettings = {fedprox.mu = [0.1, 1.0]}',
            ["entry 1 (x)", "fedprox.mu", "no effect", "feddea.<parameter> and fedavg.<parameter>"],
        ),
        ('strategy = "feddea"\nsettings = {fedavg.decoder-scope = "all"}', ["sets it to 'same-task' itself"]),
    ],
)
def test_parameter_that_an_entrys_strategy_does_not_read_is_named(
    tmp_path: Path, lines: str, named: Sequence[str]
) -> None:
    with pytest.raises(SettingError) as caught:
        sweep_of(tmp_path, f"[[runs]]\n{lines}\n")
    for part in ("mine.toml", *named):
        assert part in str(caught.value)


def test_parameter_for_all_entries_that_none_reads_is_named(tmp_path: Path) -> None:
    with pytest.raises(SettingError, match=r"\[settings\]: fedprox\.mu = 0\.1 has no effect: .* fedavg\.<parameter>"):
        sweep_of(tmp_path, '[settings]\nfedprox.mu = 0.1\n[[runs]]\nstrategy = "fedavg"\n')


def test_parameter_for_all_entries_reaches_those_whose_strategy_reads_it(tmp_path: Path) -> None:
    entries = "".join(f'[[runs]]\nstrategy = "{name}"\n' for name in ("fedavg", "fedprox", "feddea"))
    runs = {run.label: run.values for run in sweep_of(tmp_path, f"[settings]\nfedprox.mu = 0.5\n{entries}").runs}
    assert runs["fedprox"]["fedprox.mu"] == 0.5
    assert not any(key.startswith("fedprox.") for key in (*runs["fedavg"], *runs["feddea"]))


def test_list_may_mix_numbers_and_texts_and_a_slash_is_no_folder(tmp_path: Path) -> None:
    runs = sweep_of(tmp_path, '[[runs]]\nstrategy = "feddea"\nparameters = { rho = [0.3, "1/n"] }\n').runs
    assert [run.label for run in runs] == ["feddea-rho=0.3", "feddea-rho=1_n"]
    assert [run.values["feddea.rho"] for run in runs] == ["0.3", "1/n"]


def test_every_row_says_what_was_given_for_it(tmp_path: Path) -> None:
    entry = '[[runs]]\nstrategy = "fedamp"\nparameters = { strength = 15 }\nsettings = { warmup-epochs = 1 }\n'
    sweep = sweep_of(tmp_path, f'{entry}[[runs]]\nstrategy = "local"\n')
    scores = {"one": {"semseg": 0.5}, "two": {"depth": 2.0, "normals": 30.0}, "three": {"saliency": 40.0}}
    for job in jobs_of(sweep):
        config, parameters = parse_run_config(job.values)
        settings = effective_config(config, parameters)
        WrittenRun(scores, config.strategy, 0, 2, str(TINY), parameters, settings).write(job.folder)
    report = write_summary(sweep, *summarise(sweep, {})).read_text()
    given = {run["label"]: run["given"] for run in json.loads((sweep.out / "summary.json").read_text())["runs"]}
    assert given == {"fedamp": {"fedamp.strength": 15, "warmup-epochs": 1}, "local": {}}
    assert "| done | warmup-epochs = 1, fedamp.strength = 15 |" in report


def test_folder_that_cannot_be_written_to_is_named_with_its_setting(tmp_path: Path) -> None:
    sweep = sweep_of(tmp_path, '[[runs]]\nstrategy = "local"\n', Path("/proc/x"))
    with pytest.raises(SettingError, match="--out /proc/x"):
        perform(sweep, Engine("inline"), print)
