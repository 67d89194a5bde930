"""A sweep from its plan to its comparison, with a line on screen for every run that ends."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from fmtl.engine.options import Engine
from fmtl.engine.ray_cluster import machine_cpus
from fmtl.errors import SettingError
from fmtl.sweeps.file import Sweep
from fmtl.sweeps.plan import Job, State, chosen, clear, jobs_of, keep_scenario, reason_of, state_of, states_of
from fmtl.sweeps.summary import Row, change_against_local, summarise, write_summary
from fmtl.sweeps.tasks import Outcome, do_all
from fmtl.tables import format_number, format_seconds
from fmtl_strategies.contract.files import single_instance

Show = Callable[[str], None]


@dataclass(frozen=True)
class Verdict:
    """How a sweep ended.

    Attributes:
        rows: of the summary.
        report: the file to read.
        completed: whether every run that was wanted has completed.
        reasons: by name of the job, why runs that were wanted did not complete.
    """

    rows: tuple[Row, ...]
    report: Path
    completed: bool
    reasons: Mapping[str, str]


def sweep_engine(workers: int, gpus_per_client: float = 0.0, ray_address: str | None = None) -> Engine:
    """Return the engine of a sweep: each run is one worker's, in which its clients are at work one after another.

    Args:
        workers: how many runs at once; the CPU cores are shared out among them, unless the environment variable
            OMP_NUM_THREADS says how many threads each has.
        gpus_per_client: share of a GPU for each run.
        ray_address: of a cluster that is already running; None for a private one.
    """
    given = os.environ.get("OMP_NUM_THREADS", "")
    threads = int(given) if given.isdigit() and int(given) > 0 else max(1, machine_cpus() // workers)
    return Engine("ray", workers, min(threads, machine_cpus()), gpus_per_client, ray_address)


def planned(sweep: Sweep, only: Sequence[str] = (), again: Sequence[str] = ()) -> dict[Job, State]:
    """The wanted runs in the order of work, with how far each is; arguments as for `perform`.

    Raises:
        SettingError: a pattern fits nothing, or a folder holds something else than its run.
    """
    wanted, anew = _wanted(sweep, only, again)
    return states_of(wanted, anew)


def _wanted(sweep: Sweep, only: Sequence[str], again: Sequence[str]) -> tuple[tuple[Job, ...], tuple[Job, ...]]:
    """The runs to do, and those among them to do anew."""
    jobs = jobs_of(sweep)
    wanted = chosen(jobs, only, "--only") if only else jobs
    return wanted, chosen(wanted, again, "--again")


def perform(
    sweep: Sweep, engine: Engine, show: Show, *, only: Sequence[str] = (), again: Sequence[str] = ()
) -> Verdict:
    """Do all wanted runs that are not done, and compare all results of the sweep.

    Args:
        sweep: the sweep.
        engine: how many runs at once (`workers`), what each gets, and on which Ray cluster; see `sweep_engine`.
        show: prints a line.
        only: patterns of the runs to do; none for all.
        again: patterns of the runs to do anew, whose folders are removed.

    Raises:
        SettingError: the folder cannot be used for this sweep; nothing has been started or removed.
        InUseError: another sweep works on the folder.
        SettingError: nothing can be written there.
        RunInterruptedError: a signal asked for the end.
    """
    with _held(sweep.out):
        jobs = jobs_of(sweep)
        wanted, anew = _wanted(sweep, only, again)
        states = states_of(jobs, anew)
        keep_scenario(sweep, [job for job, state in states.items() if state != "to do"])
        left = [job for job in wanted if states[job] in ("to do", "unfinished")]
        for job in left:
            if states[job] == "to do":
                clear(job)
        progress = _Progress(jobs, len(left), show)
        progress.begin({job: states[job] for job in wanted})
        do_all(left, engine, progress.ended)
        rows, comparison = summarise(sweep, progress.reasons)
        report = write_summary(sweep, rows, comparison)
        completed = all(state_of(job) == "done" for job in wanted)
        return Verdict(rows, report, completed, progress.reasons)


@dataclass
class _Progress:
    jobs: Sequence[Job]
    total: int
    show: Show
    reasons: dict[str, str] = field(default_factory=dict)
    started: float = field(default_factory=time.monotonic)
    count: int = 0

    def begin(self, wanted: dict[Job, State]) -> None:
        """Say what there is to do, and which runs failed earlier and stay as they are."""
        states = list(wanted.values())
        self.show(
            f"{len(states)} runs: {states.count('done')} done, {states.count('failed')} failed, "
            f"{states.count('unfinished')} unfinished, {states.count('to do')} to do"
        )
        for job, state in wanted.items():
            if state == "failed":
                self.show(f"{job.name} failed earlier: {reason_of(job)} (do it anew with --again {job.name})")

    def ended(self, outcome: Outcome) -> None:
        """One line: what ended, how, and what is left."""
        self.count += 1
        job = outcome.job
        width = len(str(self.total))
        if outcome.reason is not None:
            self.reasons[job.name] = outcome.reason
            text = f"{outcome.status} after {format_seconds(outcome.seconds)}: {outcome.reason}"
        else:
            change = change_against_local(job, self.jobs)
            text = format_seconds(outcome.seconds)
            text += "" if change is None else f", Δm {format_number(change, 2, signed=True)} %"
        left = self.total - self.count
        # What has been going on for a while says more than single runs, whose times differ between strategies.
        rest = (time.monotonic() - self.started) / self.count * left
        ahead = f"{left} left, about {format_seconds(rest)}" if left else "none left"
        self.show(f"[{self.count:>{width}}/{self.total}] {job.label} seed {job.seed}: {text} ({ahead})")


@contextmanager
def _held(folder: Path) -> Iterator[None]:
    """Hold the folder of a sweep, made where it does not exist, for this process."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise SettingError(f"--out {folder}: it cannot be written to ({error.strerror}); choose another.") from error
    with single_instance(folder / ".lock", f"Another process is working on {folder}; wait, or choose another --out."):
        yield
