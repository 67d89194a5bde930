"""A reproduction from its checks to its table; every scenario is a sweep that goes on where it was."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from fmtl.errors import SettingError
from fmtl.reproduce.measured import Report, measure
from fmtl.reproduce.needs import find_needs
from fmtl.reproduce.plan import Reproduction
from fmtl.sweeps.file import check_runs
from fmtl.sweeps.perform import perform, sweep_engine

Show = Callable[[str], None]


def check(work: Reproduction) -> None:
    """Make sure that everything the runs need is there.

    Raises:
        SettingError: a data set or weights file is missing or not whole, or a setting or parameter cannot be.
    """
    if problems := find_needs(work)[1]:
        raise SettingError("\n".join(problems))
    for sweep in work.sweeps.values():
        check_runs(sweep)


def perform_all(
    work: Reproduction, methods: Sequence[str], again: Sequence[str], workers: int, show: Show
) -> tuple[Report, bool]:
    """Do the runs of some methods that are not done, scenario after scenario.

    Args:
        work: the reproduction.
        methods: whose runs are wanted.
        again: those of them that are to be done anew.
        workers: how many runs at once.
        show: prints a line.

    Returns:
        The report on all methods, and whether all wanted runs have completed.

    Raises:
        SettingError: a folder holds something else than its run.
        InUseError: another process works on the folder.
        RunInterruptedError: a signal asked for the end.
    """
    wanted = {work.table.runs_of(method) for method in methods}
    anew = {work.table.runs_of(method) for method in again}
    reasons: dict[str, Mapping[str, str]] = {}
    completed = True
    for scenario, sweep in work.sweeps.items():
        labels = [run.label for run in sweep.runs if run.label in wanted]
        if not labels:
            continue
        show(f"Scenario {sweep.scenario.name}, folder {sweep.out}")
        again_there = [label for label in labels if label in anew]
        verdict = perform(sweep, sweep_engine(workers), show, only=labels, again=again_there)
        completed = completed and verdict.completed
        reasons[scenario] = verdict.reasons
    return measure(work, reasons), completed
