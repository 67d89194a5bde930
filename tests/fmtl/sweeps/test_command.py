"""`fmtl sweep` from its file to its comparison, with workers that only write results."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from fmtl.commands.sweep import command
from fmtl.engine import Engine
from fmtl.errors import SettingError
from fmtl.sweeps import perform
from fmtl.sweeps.file import read_sweep
from fmtl.sweeps.plan import Job, jobs_of
from fmtl.sweeps.summary import failures, summarise
from fmtl.sweeps.tasks import Outcome
from fmtl_strategies.contract.files import single_instance
from tests.support.commands import invoke
from tests.support.run_folders import Values
from tests.support.sweeps import HEAD, LINES, LOCAL, finish, write_sweep

Finishing = Callable[[Mapping[str, Any]], list[str]]


@pytest.fixture(autouse=True)
def _in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def sweep(*arguments: str | Path) -> Any:
    return invoke(command, *arguments)


def with_semseg(value: float) -> Values:
    return {**LOCAL, "one": {"semseg": value}}


@pytest.fixture
def finishing(monkeypatch: pytest.MonkeyPatch) -> Finishing:
    """Workers that finish runs by writing results, and fail where a reason is given by the name of the run."""
    done: list[str] = []

    def use(reasons: Mapping[str, Any]) -> list[str]:
        def do(jobs: Sequence[Job], engine: Engine, ended: Callable[[Outcome], None]) -> None:
            for job in jobs:
                reason = reasons.get(job.name)
                status = "failed" if reason else "completed"
                finish(job, status=status, reason=reason)
                done.append(job.name)
                ended(Outcome(job, status, reason, 2.0))

        monkeypatch.setattr(perform, "do_all", do)
        return done

    return use


def test_rows_are_sorted_by_mean_change_with_spread_over_seeds(finishing: Finishing) -> None:
    finishing({})
    path = write_sweep(
        HEAD + LINES + '[[runs]]\nstrategy = "fedamp"\nparameters = { strength = 15 }\nsettings = { warmup-epochs = 1 }'
    )
    plan = read_sweep(path)
    # semseg of one client decides: +20 % and +40 % of one of four columns.
    for job, semseg in zip([job for job in jobs_of(plan) if job.label == "fedamp"], (0.6, 0.7), strict=True):
        finish(job, with_semseg(semseg))
    shown = sweep(path)
    assert shown.exit_code == 0
    best, *_ = json.loads((plan.out / "summary.json").read_text())["runs"]
    assert (best["label"], best["given"]) == ("fedamp", {"fedamp.strength": 15, "warmup-epochs": 1})
    expected = {"mean": 7.5, "sd": 2.5 * 2**0.5, "min": 5.0, "max": 10.0, "seeds": 2}
    assert best["delta_m"] == pytest.approx(expected)
    assert best["seeds"][1]["scores"]["one"]["semseg"] == 0.7
    row = "| fedamp | fedamp | 2 | +7.50 | 3.54 | +5.00 | +10.00 | done | warmup-epochs = 1, fedamp.strength = 15 |"
    assert row in (plan.out / "comparison.md").read_text()
    assert "[2/4] fedavg seed 0: 2.0 s, Δm 0.00 % (2 left" in shown.output

    (plan.out / "fedamp/seed-1/result.json").unlink()
    assert "fedamp/seed-1: unfinished: 2 of 2 rounds done" in sweep(path, "--only", "local").output
    labels = [run["label"] for run in json.loads((plan.out / "summary.json").read_text())["runs"]]
    assert labels[-1] == "fedamp", "a mean over fewer seeds stands below those over all"


def test_failed_run_is_shown_with_its_reason_and_does_not_stop_the_sweep(finishing: Finishing) -> None:
    done = finishing({"fedavg/seed-0": "norms were infinite"})
    shown = sweep(write_sweep())
    assert shown.exit_code == 1
    assert done == ["local/seed-0", "fedavg/seed-0", "local/seed-1", "fedavg/seed-1"]
    report = Path("runs/mine/comparison.md").read_text()
    for text in (shown.output, report):
        assert "fedavg/seed-0: failed: norms were infinite" in text.replace("\n", " ")
    assert "| fedavg | fedavg | 1 of 2 | 0.00 | - | 0.00 | 0.00 | 1 failed, 1 done | - |" in report

    again = sweep(write_sweep())
    assert again.exit_code == 1
    assert "--again fedavg/seed-0" in again.output
    finishing({})
    assert sweep(write_sweep(), "--again", "fedavg/seed-0").exit_code == 0
    assert done[4:] == ["fedavg/seed-0"]


def test_only_restricts_what_is_done(finishing: Finishing) -> None:
    done = finishing({})
    listed = sweep(write_sweep(), "--dry-run", "--only", "fedavg").output
    assert listed.splitlines() == ["to do       fedavg/seed-0", "to do       fedavg/seed-1"]
    assert sweep(write_sweep(), "--only", "*/seed-1").exit_code == 0
    assert done == ["local/seed-1", "fedavg/seed-1"]
    assert "1 done" in Path("runs/mine/comparison.md").read_text()
    with pytest.raises(SettingError, match="--only 'fedpre'"):
        sweep(write_sweep(), "--only", "fedpre")


def test_second_sweep_on_the_same_folder_is_refused(finishing: Finishing) -> None:
    done = finishing({})
    with single_instance(Path("runs/mine/.lock"), "held"):
        refused = sweep(write_sweep())
    assert refused.exit_code == 1
    assert "runs/mine" in refused.output
    assert done == []
    assert sweep(write_sweep()).exit_code == 0


def test_folder_that_cannot_be_written_to_is_named_with_its_setting() -> None:
    with pytest.raises(SettingError, match="--out /proc/x"):
        sweep(write_sweep(), "--out", "/proc/x")


def test_sweep_without_local_training_says_that_there_is_no_change(finishing: Finishing) -> None:
    finishing({})
    shown = sweep(write_sweep(HEAD + '[[runs]]\nstrategy = "fedavg"\n'))
    assert shown.exit_code == 0
    assert "no run of strategy local" in shown.output


def test_clients_that_missed_rounds_are_named_beside_the_result() -> None:
    plan = read_sweep(write_sweep(HEAD.replace("[0, 1]", "[0]") + '[[runs]]\nstrategy = "local"\n'))
    history = finish(jobs_of(plan)[0]) / "history.jsonl"
    first, second, *rest = [json.loads(line) for line in history.read_text().splitlines()]
    lines = [{**first, "participants": ["one", "three"]}, {**second, "skipped": True}, *rest]
    history.write_text("".join(json.dumps(line) + "\n" for line in lines))
    named = [line for line in failures(summarise(plan, {})[0]) if "missed" in line]
    assert named == [
        f"local/seed-0: client {client} missed {count} of 2 rounds (see history.jsonl)"
        for client, count in (("one", 1), ("three", 1), ("two", 2))
    ]
