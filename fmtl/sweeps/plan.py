"""What a sweep has to do: its runs one by one, and how far each got in an earlier sweep on the same folder."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from fmtl.engine.federated_run import LAUNCH_FILE, LOG_FILE
from fmtl.errors import SettingError
from fmtl.report.selection import select
from fmtl.settings import RunConfig, read_json
from fmtl.sweeps.file import Sweep
from fmtl_strategies.contract.files import write_json
from server_app.config import changed_source, effective_config, parse_run_config

State = Literal["done", "failed", "unfinished", "to do"]

SCENARIO_FILE = "scenario.json"
_OWN_FILES = frozenset(
    {
        *(LAUNCH_FILE, LOG_FILE, "lock", "history.jsonl", "progress.jsonl", "tensorboard", "checkpoints", "clients"),
        *("config.json", "result.json", "unified.safetensors"),
    }
)


@dataclass(frozen=True)
class Job:
    """One run of the sweep.

    Attributes:
        label: of its line in the sweep file.
        seed: its seed.
        folder: absolute path of its run folder.
        values: complete run config but for out-dir.
    """

    label: str
    seed: int
    folder: Path
    values: RunConfig = field(compare=False)

    @property
    def name(self) -> str:
        """Label and seed, which is also its place below the sweep's folder."""
        return f"{self.label}/seed-{self.seed}"


def jobs_of(sweep: Sweep) -> tuple[Job, ...]:
    """All runs in the order of work: seed after seed, local training first, so that deltas are known early."""
    runs = sorted(sweep.runs, key=lambda run: run.strategy != "local")
    return tuple(
        Job(run.label, seed, sweep.out / run.label / f"seed-{seed}", {**run.values, "seed": seed})
        for seed in sweep.seeds
        for run in runs
    )


def chosen(jobs: Iterable[Job], patterns: Sequence[str], flag: str) -> tuple[Job, ...]:
    """The runs that some pattern fits: a label (`fedavg`), or label and seed (`fedavg/seed-0`).

    Raises:
        SettingError: a pattern fits nothing.
    """
    return select({job: (job.label, job.name) for job in jobs}, patterns, flag)


def state_of(job: Job) -> State:
    """How far a run got; makes sure that what lies in its folder is this run and no other.

    Raises:
        SettingError: the folder holds a run with other settings, something else, or a damaged file.
    """
    if not job.folder.exists():
        return "to do"
    saved = read_json(job.folder / "config.json")
    result = read_json(job.folder / "result.json")
    if saved is None:
        if strange := [*_foreign(job.folder), *([] if result is None else ["a result.json"])]:
            raise SettingError(
                f"{job.folder} holds {', '.join(strange)} but no config.json, so it is no run; move it elsewhere."
            )
        return "to do"
    _check_same_settings(job, saved)
    if result is None:
        return "unfinished"
    return "done" if result.get("status") == "completed" else "failed"


def states_of(jobs: Iterable[Job], anew: Iterable[Job] = ()) -> dict[Job, State]:
    """How far each run got; those to be done anew count as not begun.

    Raises:
        SettingError: with a line for every folder that does not hold its run.
    """
    states: dict[Job, State] = {}
    problems: list[str] = []
    for job in jobs:
        try:
            if job in anew:
                _require_removable(job)
            states[job] = "to do" if job in anew else state_of(job)
        except SettingError as error:
            problems.append(str(error))
    if problems:
        raise SettingError("\n".join(problems))
    return states


def reason_of(job: Job) -> str:
    """Why a failed run failed."""
    return str((read_json(job.folder / "result.json") or {}).get("reason") or "no reason was recorded")


def _check_same_settings(job: Job, saved: Mapping[str, Any]) -> None:
    config, parameters = parse_run_config(job.values)
    expected = json.loads(json.dumps(effective_config(config, parameters)))
    before = saved.get("run_config")
    if not isinstance(before, dict):
        raise SettingError(f"{job.folder / 'config.json'} is damaged; restore it, or remove the folder.")
    changed = [
        f"a run with {key} = {_shown(before, key)}; the sweep or table says {_shown(expected, key)}. Put the setting"
        for key in sorted(expected.keys() | before.keys())
        if expected.get(key) != before.get(key)
    ]
    if (code := changed_source(config.strategy, saved)) is not None:
        changed.append(f"a run of other code: {code}. Put the file")
    if changed:
        raise SettingError(
            f"{job.folder} holds {changed[0]} back, choose another folder with --out, or do the run anew with --again "
            f"{job.label} (what is there is removed)."
        )


def _shown(values: Mapping[str, Any], key: str) -> str:
    return repr(values[key]) if key in values else "nothing"


def keep_scenario(sweep: Sweep, kept: Sequence[Job]) -> None:
    """Write down what the scenario says, or make sure that it still says what it did.

    Args:
        sweep: the sweep.
        kept: runs whose folders go on being used.

    Raises:
        SettingError: a client of the scenario has changed since those runs were made.
    """
    path = sweep.out / SCENARIO_FILE
    now = json.loads(sweep.scenario.model_dump_json(exclude={"description"}))
    before = read_json(path) if kept else None
    if before is not None and (difference := _difference(before, now)):
        raise SettingError(
            f"scenario {sweep.scenario.name} has changed since the runs in {sweep.out} were made: {difference}. "
            f"Put it back, choose another folder with --out, or do all runs anew with --again '*'."
        )
    sweep.out.mkdir(parents=True, exist_ok=True)
    write_json(path, now)


def _difference(before: object, now: object, place: str = "") -> str:
    """The first place where two JSON values differ, as a phrase; empty where they are equal."""
    if isinstance(before, dict) and isinstance(now, dict):
        pairs = [(key, before.get(key), now.get(key)) for key in sorted(before.keys() | now.keys())]
    elif isinstance(before, list) and isinstance(now, list) and len(before) == len(now):
        named = [item.get("name", i) if isinstance(item, dict) else i for i, item in enumerate(now)]
        pairs = list(zip(map(str, named), before, now, strict=True))
    else:
        return "" if before == now else f"{place} was {before!r} and is {now!r}"
    found = (_difference(old, new, f"{place}.{key}".lstrip(".")) for key, old, new in pairs)
    return next((text for text in found if text), "")


def clear(job: Job) -> None:
    """Remove a run's folder; a process killed meanwhile leaves the old run, or none.

    Raises:
        SettingError: the folder holds files that are no run's.
    """
    removed = job.folder.with_name(f".{job.folder.name}.removed")
    shutil.rmtree(removed, ignore_errors=True)
    if not job.folder.exists():
        return
    _require_removable(job)
    job.folder.rename(removed)
    shutil.rmtree(removed)


def _require_removable(job: Job) -> None:
    if job.folder.exists() and (strange := _foreign(job.folder)):
        raise SettingError(f"{job.folder} holds files that are no run's ({', '.join(strange)}); move them elsewhere.")


def _foreign(folder: Path) -> list[str]:
    """Names of what is in a run's folder and no run's."""
    if not folder.is_dir():
        raise SettingError(f"{folder} is a file; a run's folder belongs there. Move it elsewhere.")
    return sorted(path.name for path in folder.iterdir() if path.name not in _OWN_FILES and path.name[0] != ".")
