"""What the runs of a sweep have come to."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from fmtl.report.run_reader import Run, read_run
from fmtl.sweeps.file import Sweep
from fmtl.sweeps.plan import Job, State, jobs_of, states_of


@dataclass(frozen=True)
class Result:
    """One run.

    Attributes:
        job: which.
        state: how far it got.
        reason: why it is not done, or how far it is, where that is known.
        run: what it has written; None where it has no result.
    """

    job: Job
    state: State
    reason: str | None
    run: Run | None

    @property
    def faults(self) -> list[str]:
        """Phrases that say why the run is not done, and which clients it went on without."""
        if self.state != "done" or self.run is None:
            return [f"{self.state}{f': {self.reason}' if self.reason else ''}"]
        of = f"of {self.run.rounds} rounds (see history.jsonl)"
        return [f"client {client} missed {count} {of}" for client, count in sorted(self.run.missed.items())]


def results_of(sweep: Sweep, reasons: Mapping[str, str]) -> list[Result]:
    """Read the results of all runs, in the order of work.

    Args:
        sweep: the sweep.
        reasons: by name of the job, why runs ended without a result in this process's time.

    Raises:
        SettingError: a folder holds something else than its run.
    """
    return [
        _result(job, state, sweep.rounds, reasons.get(job.name)) for job, state in states_of(jobs_of(sweep)).items()
    ]


def _result(job: Job, state: State, rounds: int, reason: str | None) -> Result:
    if state == "to do":
        return Result(job, state, reason, None)
    run = read_run(job.folder, job.name)
    if state == "unfinished":
        return Result(job, state, f"{run.rounds} of {rounds} rounds done{f'; {reason}' if reason else ''}", None)
    return Result(job, state, run.reason, run)
