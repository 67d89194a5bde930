"""What a sweep has to do: its runs one by one, and how far each got in an earlier sweep on the same folder."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, Literal

from fmtl.engine.federated_run import LAUNCH_FILE, LOG_FILE
from fmtl.settings import RunConfig
from fmtl.sweeps.file import Sweep, SweepError
from fmtl_strategies.contract.files import write_json
from server_app.config import effective_config, parse_run_config
from server_app.strategy_source import changed_source

__all__ = ["Job", "State", "chosen", "clear", "jobs_of", "keep_scenario", "reason_of", "state_of", "states_of"]

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
    """The runs that some pattern fits.

    Args:
        jobs: all of the sweep.
        patterns: each a label (`fedavg`) or label and seed (`fedavg/seed-0`); `*` stands for any text.
        flag: where the patterns come from, for messages.

    Raises:
        SweepError: a pattern fits nothing.
    """
    known = tuple(jobs)
    for pattern in patterns:
        if not any(_fits(job, pattern) for job in known):
            labels = ", ".join(dict.fromkeys(job.label for job in known))
            raise SweepError(f"{flag} {pattern!r} fits no run of this sweep. Its labels: {labels}.")
    return tuple(job for job in known if any(_fits(job, pattern) for pattern in patterns))


def _fits(job: Job, pattern: str) -> bool:
    return fnmatchcase(job.label, pattern) or fnmatchcase(job.name, pattern)


def state_of(job: Job) -> State:
    """How far a run got; makes sure that what lies in its folder is this run and no other.

    Raises:
        SweepError: the folder holds a run with other settings, something else, or a damaged file.
    """
    if not job.folder.exists():
        return "to do"
    if not (job.folder / "config.json").is_file():
        strange = sorted(
            path.name for path in _inside(job.folder) if path.name not in _OWN_FILES and path.name[0] != "."
        )
        if strange or (job.folder / "result.json").exists():
            found = ", ".join(strange) or "a result.json"
            raise SweepError(f"{job.folder} holds {found} but no config.json, so it is no run; move it elsewhere.")
        return "to do"
    _check_same_settings(job)
    if not (job.folder / "result.json").is_file():
        return "unfinished"
    return "done" if _read(job.folder / "result.json").get("status") == "completed" else "failed"


def states_of(jobs: Iterable[Job], anew: Iterable[Job] = ()) -> dict[Job, State]:
    """How far each run got; those to be done anew count as not begun.

    Raises:
        SweepError: with a line for every folder that does not hold its run.
    """
    states: dict[Job, State] = {}
    problems: list[str] = []
    for job in jobs:
        try:
            if job in anew:
                _require_removable(job)
            states[job] = "to do" if job in anew else state_of(job)
        except SweepError as error:
            problems.append(str(error))
    if problems:
        raise SweepError("\n".join(problems))
    return states


def reason_of(job: Job) -> str:
    """Why a failed run failed."""
    return str(_read(job.folder / "result.json").get("reason") or "no reason was recorded")


def _check_same_settings(job: Job) -> None:
    config, parameters = parse_run_config(job.values)
    expected = json.loads(json.dumps(effective_config(config, parameters)))
    saved = _read(job.folder / "config.json")
    before = saved.get("run_config")
    if not isinstance(before, dict):
        raise SweepError(f"{job.folder / 'config.json'} is damaged; restore it, or remove the folder.")
    for key in sorted(expected.keys() | before.keys()):
        if expected.get(key) != before.get(key):
            raise SweepError(
                f"{job.folder} holds a run with {key} = {_shown(before, key)}; the sweep or table now says "
                f"{_shown(expected, key)}. Put the setting back, choose another folder with --out, or do the run anew "
                f"with --again {job.label} (what is there is removed)."
            )
    if (changed := changed_source(config.strategy, saved)) is not None:
        raise SweepError(
            f"{job.folder} holds a run of other code: {changed}. Put the file back, choose another folder with --out, "
            f"or do the run anew with --again {job.label} (what is there is removed)."
        )


def _shown(values: Mapping[str, Any], key: str) -> str:
    return repr(values[key]) if key in values else "nothing"


def keep_scenario(sweep: Sweep, kept: Sequence[Job]) -> None:
    """Write down what the scenario says, or make sure that it still says what it did.

    Args:
        sweep: the sweep.
        kept: runs whose folders go on being used.

    Raises:
        SweepError: a client of the scenario has changed since those runs were made.
    """
    path = sweep.out / SCENARIO_FILE
    now = json.loads(sweep.scenario.model_dump_json(exclude={"description"}))
    if kept and path.is_file():
        before = _read(path)
        difference = _difference(before, now)
        if difference:
            raise SweepError(
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
        SweepError: the folder holds files that are no run's.
    """
    removed = job.folder.with_name(f".{job.folder.name}.removed")
    shutil.rmtree(removed, ignore_errors=True)
    if not job.folder.exists():
        return
    _require_removable(job)
    job.folder.rename(removed)
    shutil.rmtree(removed)


def _require_removable(job: Job) -> None:
    if not job.folder.exists():
        return
    strange = sorted(path.name for path in _inside(job.folder) if path.name not in _OWN_FILES and path.name[0] != ".")
    if strange:
        raise SweepError(f"{job.folder} holds files that are no run's ({', '.join(strange)}); move them elsewhere.")


def _inside(folder: Path) -> list[Path]:
    if not folder.is_dir():
        raise SweepError(f"{folder} is a file; a run's folder belongs there. Move it elsewhere.")
    return list(folder.iterdir())


def _read(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise SweepError(f"{path} is damaged ({error}); restore it, or remove the folder.") from error
    if not isinstance(content, dict):
        raise SweepError(f"{path} is damaged: it holds no table; restore it, or remove the folder.")
    return content
