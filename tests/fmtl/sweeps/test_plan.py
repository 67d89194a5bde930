"""What a sweep has to do, and that it uses and removes no folder but those of its own runs."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from fmtl.errors import SettingError
from fmtl.sweeps.file import read_sweep
from fmtl.sweeps.perform import planned
from fmtl.sweeps.plan import clear, jobs_of, keep_scenario, state_of
from server_app.config import effective_config, parse_run_config
from server_app.run_folder import RunFolder
from tests.support.sweeps import HEAD, LINES, TINY, finish, write_sweep


@pytest.fixture(autouse=True)
def _in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_local_training_comes_first_within_every_seed() -> None:
    names = [job.name for job in jobs_of(read_sweep(write_sweep()))]
    assert names == ["local/seed-0", "fedavg/seed-0", "local/seed-1", "fedavg/seed-1"]


def test_state_is_read_from_the_folder() -> None:
    job, *others = jobs_of(read_sweep(write_sweep()))
    assert state_of(job) == "to do"
    job.folder.mkdir(parents=True)
    (job.folder / "log.txt").touch()
    (job.folder / "checkpoints").mkdir()
    assert state_of(job) == "to do"
    for other, status in zip(others, ("completed", "failed", None), strict=True):
        finish(other, status=status)
    assert [state_of(other) for other in others] == ["done", "failed", "unfinished"]


def test_finished_run_with_other_settings_is_never_mixed_in() -> None:
    for job in jobs_of(read_sweep(write_sweep())):
        finish(job)
    changed = read_sweep(write_sweep(HEAD + LINES + "settings = { quorum = 0.9 }\n"))
    with pytest.raises(SettingError) as caught:
        planned(changed)
    for part in ("local/seed-0", "local/seed-1", "quorum = 0.5", "0.9", "--again local"):
        assert part in str(caught.value)
    assert "fedavg/seed-0" not in str(caught.value)
    assert list(planned(changed, again=["local"]).values()) == ["to do", "done", "to do", "done"]


def test_folder_with_foreign_files_is_neither_used_nor_removed() -> None:
    sweep = read_sweep(write_sweep())
    first, *others = jobs_of(sweep)
    first.folder.mkdir(parents=True)
    (first.folder / "thesis.tex").touch()
    for act in (state_of, clear):
        with pytest.raises(SettingError, match=r"thesis\.tex"):
            act(first)
    for job in others:
        finish(job)
    with pytest.raises(SettingError, match=r"thesis\.tex"):
        planned(sweep, again=["*"])
    assert (first.folder / "thesis.tex").exists()
    assert all(json.loads((job.folder / "result.json").read_text())["status"] == "completed" for job in others)


def test_everything_that_a_run_leaves_can_be_removed_to_do_it_anew() -> None:
    job = jobs_of(read_sweep(write_sweep()))[0]
    run = RunFolder(job.folder)
    run.create({"run_config": effective_config(*parse_run_config(job.values))})
    run.write_unified({"encoder.stem": np.zeros(2, np.float32)})
    run.write_result({"status": "completed"})
    run.close()
    assert state_of(job) == "done"
    clear(job)
    assert not job.folder.exists()


def test_changed_scenario_is_refused_while_runs_of_the_old_one_are_there() -> None:
    Path("my.yaml").write_text(TINY.read_text())
    path = write_sweep((HEAD + LINES).replace(str(TINY), "my.yaml"))
    before = read_sweep(path)
    keep_scenario(before, [])
    keep_scenario(before, jobs_of(before))
    Path("my.yaml").write_text(TINY.read_text().replace("decoder-width: 8", "decoder-width: 4"))
    after = read_sweep(path)
    with pytest.raises(SettingError, match=r"clients\.one\.decoder_width was 8 and is 4"):
        keep_scenario(after, jobs_of(after))
    keep_scenario(after, [])
