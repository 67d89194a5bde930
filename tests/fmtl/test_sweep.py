"""`fmtl sweep`: the file, what is left to do, the workers, the summary."""

from __future__ import annotations

import json
import os
import signal
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import typer
from run_folders import RunFolder as WrittenRun
from run_folders import Values
from typer.testing import CliRunner

from fmtl.commands import sweep as sweep_command
from fmtl.engine import Engine
from fmtl.errors import RunInterruptedError, SettingError
from fmtl.interruption import SignalWatch
from fmtl.sweeps import perform, tasks
from fmtl.sweeps.file import read_sweep
from fmtl.sweeps.perform import sweep_engine
from fmtl.sweeps.plan import Job, clear, jobs_of, keep_scenario, state_of
from fmtl.sweeps.tasks import Outcome, do_all
from fmtl_strategies.contract.files import single_instance
from server_app.config import effective_config, parse_run_config
from server_app.rounds import RunFailedError
from tests.support import sweep_tasks

ROOT = Path(__file__).parents[2]
TINY = ROOT / "tests/support/tiny.yaml"
LOCAL: Values = {"one": {"semseg": 0.5}, "two": {"depth": 2.0, "normals": 30.0}, "three": {"saliency": 40.0}}
HEAD = f'scenario = "{TINY}"\nrounds = 2\nseeds = [0, 1]\n'
LINES = '[[runs]]\nstrategy = "fedavg"\n[[runs]]\nstrategy = "local"\n'


@pytest.fixture(autouse=True)
def _in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def write(text: str = HEAD + LINES, name: str = "mine.toml") -> Path:
    path = Path.cwd() / name
    path.write_text(text, encoding="utf-8")
    return path


def finish(job: Job, factor: float = 1.0, reason: str | None = None) -> None:
    """A run folder as a finished run leaves it, with all values of local training times a factor."""
    config, parameters = parse_run_config(job.values)
    values = {
        client: {task: value * factor for task, value in tasks.items() if isinstance(value, float)}
        for client, tasks in LOCAL.items()
    }
    settings = effective_config(config, parameters)
    status = "completed" if reason is None else "failed"
    written = WrittenRun(
        values, config.strategy, config.local.seed, 2, config.scenario, parameters, settings, status, reason
    )
    written.write(job.folder)


class TestFile:
    def test_lists_are_expanded_into_one_run_for_each_combination(self) -> None:
        text = (
            '[[runs]]\nstrategy = "fedhca2"\nlabel = "ours"\nsettings = { warmup-epochs = [0, 2] }\n'
            'parameters = { c = [0.2, 0.4], momentum = 0.5 }\n[settings]\nschedule = "constant"\n'
        )
        sweep = read_sweep(write(HEAD + text))
        assert [run.label for run in sweep.runs] == [
            f"ours-warmup-epochs={epochs}-c={c}" for epochs in (0, 2) for c in (0.2, 0.4)
        ]
        last = sweep.runs[-1].values
        assert [last[key] for key in ("warmup-epochs", "fedhca2.c", "fedhca2.momentum")] == [2, 0.4, 0.5]
        assert [last[key] for key in ("schedule", "num-server-rounds", "min-clients")] == ["constant", 2, 3]
        assert sweep.out == Path.cwd() / "runs/mine"

    def test_values_not_given_are_those_of_fmtl_run(self) -> None:
        from fmtl.settings import default_settings

        values = read_sweep(write()).runs[0].values
        own = {"scenario", "num-server-rounds", "min-clients", "strategy"}
        expected = {
            key: value
            for key, value in default_settings().items()
            if key not in own and ("." not in key or key.startswith("fedavg."))
        }
        assert {key: value for key, value in values.items() if key not in own} == expected

    def test_paths_are_relative_to_the_file(self, tmp_path: Path) -> None:
        (tmp_path / "deep").mkdir()
        (tmp_path / "my.yaml").write_text(TINY.read_text())
        text = (HEAD + LINES).replace(str(TINY), "../my.yaml")
        sweep = read_sweep(write(f'out = "there"\n{text}', "deep/mine.toml"))
        assert sweep.runs[0].values["scenario"] == str(tmp_path / "my.yaml")
        assert sweep.out == tmp_path / "deep/there"
        assert read_sweep(sweep.path, Path("flag")).out == tmp_path / "flag"

    def test_shipped_example_is_good(self) -> None:
        sweep = read_sweep(ROOT / "docs/sweep-example.toml")
        assert len(jobs_of(sweep)) == 12
        assert sweep.scenario.name == "default"

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
            ('"fedavg"', '"fedavgg"', ["entry 1", "strategy = 'fedavgg'", "fedavg"]),
            ('"fedavg"', '"fedavg"\nmu = 1', ["runs entry 1.mu = 1"]),
            ('"fedavg"', '"fedavg"\nparameters = {mu = 1}', ["entry 1 (fedavg)", "'fedavg.mu'"]),
            ('"fedavg"', '"fedavg"\nparameters = {weighting = "none"}', ["run fedavg", "fedavg.weighting = 'none'"]),
            ('"fedavg"', '"fedavg"\nparameters = {weighting = []}', ["entry 1 (fedavg)", "fedavg.weighting = []"]),
            ('"fedavg"', '"fedavg"\nsettings = {seed = 3}', ["runs entry 1.settings", "seed = 3", "`seeds`"]),
            ('"fedavg"', '"fedavg"\nsettings = {quorum = 2.0}', ["run fedavg", "quorum", "2.0"]),
            ('"fedavg"', '"fedavg"\nsettings = {quorum = "x"}', ["entry 1 (fedavg)", "quorum = 'x'", "a number"]),
            ('"fedavg"', '"fedavg"\nsettings = {min-clients = 4}', ["min-clients = 4", "3 clients"]),
            ('"fedavg"', '"fedavg"\nlabel = "a/b"', ["entry 1", "label = 'a/b'"]),
            ('"fedavg"', '"fedavg"\nlabel = "x.json"', ["label = 'x.json'"]),
            ('"fedavg"', '"fedavg"\nlabel = "local"', ["entry 2", "label = 'local'"]),
            ('"fedavg"', '"local"\nlabel = "alone"', ["entry 2", "local", "alone"]),
        ],
    )
    def test_mistake_is_named_with_its_place_before_anything_starts(
        self, old: str, new: str, named: Sequence[str]
    ) -> None:
        text = HEAD + LINES
        assert old in text
        with pytest.raises(SettingError) as caught:
            invoke(write(text.replace(old, new, 1)))
        assert "mine.toml" in str(caught.value)
        for part in named:
            assert part in str(caught.value)
        assert not Path("runs").exists()

    def test_missing_data_is_named_before_anything_starts(self) -> None:
        Path("sites.yaml").write_text(
            TINY.read_text().replace(
                "tasks: [saliency]", "tasks: [saliency]\n    encoder-weights: /no/gone.safetensors"
            )
        )
        with pytest.raises(SettingError, match=r"run fedavg: client three: encoder-weights is .*gone\.safetensors"):
            read_sweep(write((HEAD + LINES).replace(str(TINY), "sites.yaml")))


def invoke(*arguments: str | Path) -> Any:
    """Run the command; an error other than an exit is raised."""
    application = typer.Typer(pretty_exceptions_enable=False)
    application.command()(sweep_command.command)
    result = CliRunner().invoke(application, [str(argument) for argument in arguments])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


class TestPlan:
    def test_local_training_comes_first_within_every_seed(self) -> None:
        names = [job.name for job in jobs_of(read_sweep(write()))]
        assert names == ["local/seed-0", "fedavg/seed-0", "local/seed-1", "fedavg/seed-1"]

    def test_state_is_read_from_the_folder(self) -> None:
        job, other, third, fourth = jobs_of(read_sweep(write()))
        assert state_of(job) == "to do"
        job.folder.mkdir(parents=True)
        (job.folder / "log.txt").touch()
        (job.folder / "checkpoints").mkdir()
        assert state_of(job) == "to do"
        for made, reason in ((other, None), (third, "no client"), (fourth, None)):
            finish(made, reason=reason)
        (fourth.folder / "result.json").unlink()
        assert [state_of(made) for made in (other, third, fourth)] == ["done", "failed", "unfinished"]

    def test_finished_run_with_other_settings_is_never_mixed_in(self) -> None:
        sweep = read_sweep(write())
        for job in jobs_of(sweep):
            finish(job)
        changed = write(HEAD + LINES + "settings = { quorum = 0.9 }\n")
        with pytest.raises(SettingError) as caught:
            invoke(changed, "--dry-run")
        for part in ("local/seed-0", "local/seed-1", "quorum = 0.5", "says 0.9", "--again local"):
            assert part in str(caught.value)
        assert "fedavg/seed-0" not in str(caught.value)
        listed = invoke(changed, "--dry-run", "--again", "local").output
        assert [line.split()[0] for line in listed.splitlines()] == ["to", "done", "to", "done"]

    def test_folder_with_foreign_files_is_neither_used_nor_removed(self) -> None:
        job = jobs_of(read_sweep(write()))[0]
        job.folder.mkdir(parents=True)
        (job.folder / "thesis.tex").touch()
        with pytest.raises(SettingError, match=r"thesis\.tex"):
            state_of(job)
        with pytest.raises(SettingError, match="no run's"):
            clear(job)
        assert (job.folder / "thesis.tex").exists()

    def test_changed_scenario_is_refused_while_runs_of_the_old_one_are_there(self) -> None:
        Path("my.yaml").write_text(TINY.read_text())
        path = write((HEAD + LINES).replace(str(TINY), "my.yaml"))
        before = read_sweep(path)
        keep_scenario(before, [])
        keep_scenario(before, jobs_of(before))
        Path("my.yaml").write_text(TINY.read_text().replace("decoder-width: 8", "decoder-width: 4"))
        after = read_sweep(path)
        with pytest.raises(SettingError, match=r"clients\.one\.decoder_width was 8 and is 4"):
            keep_scenario(after, jobs_of(after))
        keep_scenario(after, [])


def fake_jobs(*labels: str) -> list[Job]:
    return [Job(label, seed, Path.cwd() / label / f"seed-{seed}", {}) for seed, label in enumerate(labels)]


def outcomes_of(*labels: str, workers: int = 1) -> list[Outcome]:
    """How runs end that do what their label says (`tests.support.sweep_tasks`)."""
    outcomes: list[Outcome] = []
    do_all(fake_jobs(*labels), sweep_engine(workers), outcomes.append, sweep_tasks.do)
    return outcomes


@pytest.mark.process
class TestTasks:
    def test_worker_that_dies_costs_its_own_run_only(self) -> None:
        outcomes = outcomes_of("a", "dies", "b", "dies", "c", workers=2)
        assert sorted(outcome.job.label for outcome in outcomes) == ["a", "b", "c", "dies", "dies"]
        assert {outcome.job.label: outcome.status for outcome in outcomes} == {
            **dict.fromkeys("abc", "completed"),
            "dies": "broken",
        }

    def test_cores_are_shared_out_unless_threads_were_chosen(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(7)), raising=False)
        monkeypatch.setenv("OMP_NUM_THREADS", "")
        assert sweep_engine(2).cpus_per_client == 3
        monkeypatch.setenv("OMP_NUM_THREADS", "5")
        assert sweep_engine(2).cpus_per_client == 5

    def test_signal_ends_the_sweep(self) -> None:
        timer = threading.Timer(3.0, os.kill, (os.getpid(), signal.SIGINT))
        timer.start()
        with pytest.raises(RunInterruptedError), SignalWatch() as signals, signals.listening():
            outcomes_of("sleeps", "sleeps", "a")


class TestWorker:
    @pytest.mark.parametrize(
        ("error", "status", "reason"),
        [
            (None, "completed", None),
            (RunFailedError("too few clients"), "failed", "too few clients"),
            (ZeroDivisionError("by nothing"), "broken", "ZeroDivisionError: by nothing"),
        ],
    )
    def test_outcome_is_told_and_what_is_printed_goes_to_the_log(
        self, monkeypatch: pytest.MonkeyPatch, error: Exception | None, status: str, reason: str | None
    ) -> None:
        asked: list[bool] = []

        def run(values: Mapping[str, Any], folder: Path, engine: Engine) -> None:
            asked.append(values["resume"])
            os.write(1, b"from a library\n")
            if error is not None:
                raise error

        monkeypatch.setattr(tasks, "run", run)
        folder = Path.cwd() / "run"
        assert tasks.do_run({}, folder, 1) == (status, reason)
        log = (folder / "log.txt").read_text()
        assert "from a library" in log
        assert ("Traceback" in log) == (status == "broken")
        (folder / "config.json").touch()
        tasks.do_run({}, folder, 1)
        assert asked == [False, True]


@pytest.fixture
def finishing(monkeypatch: pytest.MonkeyPatch) -> Callable[[Mapping[str, Any]], list[str]]:
    """Workers that finish runs by writing results: a factor on the values of local training, or a failure's reason."""
    done: list[str] = []

    def use(results: Mapping[str, Any]) -> list[str]:
        def do(jobs: Sequence[Job], engine: Engine, ended: Callable[[Outcome], None]) -> None:
            for job in jobs:
                result = results.get(job.name, results.get(job.label, 1.0))
                reason = result if isinstance(result, str) else None
                finish(job, 1.0 if reason else result, reason)
                done.append(job.name)
                ended(Outcome(job, "failed" if reason else "completed", reason, 2.0))

        monkeypatch.setattr(perform, "do_all", do)
        return done

    return use


class TestSummary:
    def test_rows_are_sorted_by_mean_change_with_spread_over_seeds(
        self, finishing: Callable[[Mapping[str, Any]], list[str]]
    ) -> None:
        finishing({})
        path = write(HEAD + LINES + '[[runs]]\nstrategy = "fedper"\n')
        sweep = read_sweep(path)
        # semseg of one client decides: +20 % and +40 % of one of four columns.
        for job, semseg in zip([job for job in jobs_of(sweep) if job.label == "fedper"], (0.6, 0.7), strict=True):
            finish(job)
            result = json.loads((job.folder / "result.json").read_text())
            result["clients"]["one"]["tasks"]["semseg"]["value"] = semseg
            (job.folder / "result.json").write_text(json.dumps(result))
        shown = invoke(path)
        assert shown.exit_code == 0
        summary = json.loads((sweep.out / "summary.json").read_text())
        assert summary["runs"][0]["label"] == "fedper"
        expected = {"mean": 7.5, "sd": 2.5 * 2**0.5, "min": 5.0, "max": 10.0, "seeds": 2}
        assert summary["runs"][0]["delta_m"] == pytest.approx(expected)
        assert summary["runs"][0]["seeds"][1]["scores"]["one"]["semseg"] == 0.7
        row = "| fedper | fedper | 2 | +7.50 | 3.54 | +5.00 | +10.00 | done | - |"
        assert row in (sweep.out / "comparison.md").read_text()
        assert "[2/4] fedavg seed 0: 2.0 s, Δm 0.00 % (2 left" in shown.output

        (sweep.out / "fedper/seed-1/result.json").unlink()
        assert "fedper/seed-1: unfinished: 2 of 2 rounds done" in invoke(path, "--only", "local").output
        labels = [run["label"] for run in json.loads((sweep.out / "summary.json").read_text())["runs"]]
        assert labels[-1] == "fedper", "a mean over fewer seeds stands below those over all"

    def test_failed_run_is_shown_with_its_reason_and_does_not_stop_the_sweep(
        self, finishing: Callable[[Mapping[str, Any]], list[str]]
    ) -> None:
        done = finishing({"fedavg/seed-0": "norms were infinite"})
        shown = invoke(write())
        assert shown.exit_code == 1
        assert done == ["local/seed-0", "fedavg/seed-0", "local/seed-1", "fedavg/seed-1"]
        report = Path("runs/mine/comparison.md").read_text()
        for text in (shown.output, report):
            assert "fedavg/seed-0: failed: norms were infinite" in text.replace("\n", " ")
        assert "| fedavg | fedavg | 1 of 2 | 0.00 | - | 0.00 | 0.00 | 1 failed, 1 done | - |" in report

        again = invoke(write())
        assert again.exit_code == 1
        assert "--again fedavg/seed-0" in again.output
        finishing({})
        assert invoke(write(), "--again", "fedavg/seed-0").exit_code == 0
        assert done[4:] == ["fedavg/seed-0"]

    def test_only_restricts_what_is_done(self, finishing: Callable[[Mapping[str, Any]], list[str]]) -> None:
        done = finishing({})
        assert invoke(write(), "--only", "*/seed-1").exit_code == 0
        assert done == ["local/seed-1", "fedavg/seed-1"]
        assert "1 done" in Path("runs/mine/comparison.md").read_text()
        with pytest.raises(SettingError, match="--only 'fedpre'"):
            invoke(write(), "--only", "fedpre")

    def test_second_sweep_on_the_same_folder_is_refused(
        self, finishing: Callable[[Mapping[str, Any]], list[str]]
    ) -> None:
        done = finishing({})
        with single_instance(Path("runs/mine/.lock"), "held"):
            refused = invoke(write())
        assert refused.exit_code == 1
        assert "Another process is working on" in refused.output
        assert done == []
        assert invoke(write()).exit_code == 0

    def test_sweep_without_local_training_says_that_there_is_no_change(
        self, finishing: Callable[[Mapping[str, Any]], list[str]]
    ) -> None:
        finishing({})
        shown = invoke(write(HEAD + '[[runs]]\nstrategy = "fedavg"\n'))
        assert shown.exit_code == 0
        assert "no run of strategy local" in shown.output
